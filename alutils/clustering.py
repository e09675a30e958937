"""Acquisition by clusters of the features."""

import heapq
import warnings

import torch
from torch import Tensor

from alutils.pool import PoolView
from alutils.ranking import smallest

FEW_CLUSTERS = 50
"""Clusters up to which K-means sees all points in every step; beyond, mini-batches of 5,000."""
MOST_CLUSTERS, SMALL_CLUSTER, NEIGHBOURS = 500, 5, 20
"""TypiClust's bounds, its authors' values."""
MARGIN_SHARE = 10
"""Candidates that Cluster-Margin looks at for each one that it picks; its paper leaves it open."""


def kmeans(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Boundary points of a K-means clustering of the features: the poster's own method.

    The smallest difference between the Euclidean distances to the second-closest centroid and to
    the closest one, its own.
    """
    distances_N_K = _centroid_distances(view, rng)
    if distances_N_K.shape[1] < 2:  # one candidate alone
        return torch.arange(budget)
    own, second = distances_N_K.topk(2, dim=1, largest=False).values.unbind(1)
    return smallest(second - own, budget, rng)


def kmeans_centre(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The smallest distance to a centroid of that clustering: a control for its boundary points."""
    return smallest(_centroid_distances(view, rng).min(1).values, budget, rng)


def _centroid_distances(view: PoolView, rng: torch.Generator) -> Tensor:
    """Euclidean distances (N, K) of the features to the K centroids."""
    from sklearn.cluster import KMeans

    state = int(torch.randint(2**31 - 1, (), generator=rng))
    features_N_D = view.embeddings_N_D.cpu().numpy()
    fit = KMeans(min(view.clusters, len(view)), n_init=1, random_state=state).fit(features_N_D)
    return torch.from_numpy(fit.transform(features_N_D))


def clusters(features_N_D: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """K-means cluster (N,) of each row, from 0 to below ``count``; some may be empty."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    settings = {
        "n_clusters": min(count, len(features_N_D)),
        "random_state": int(torch.randint(2**31 - 1, (), generator=rng)),
        "n_init": 1,
    }
    few = settings["n_clusters"] <= FEW_CLUSTERS
    algorithm = KMeans(**settings) if few else MiniBatchKMeans(batch_size=5000, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        return torch.from_numpy(algorithm.fit_predict(features_N_D.cpu().numpy())).long()


def typiclust(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The most typical candidates of clusters without labels, the largest clusters first.

    Hacohen et al., arXiv 2202.02794: as many K-means clusters of candidates and labelled images as
    there will be labels, at most ``MOST_CLUSTERS``. Always the cluster with the fewest labelled or
    picked, then the largest; those of up to ``SMALL_CLUSTER`` images come last. Typical is a small
    mean distance to the ``NEIGHBOURS`` nearest candidates of the cluster, ranked once a cluster.
    """
    features = [view.embeddings_N_D, view.labelled_embeddings_M_D]
    count = min(len(features[1]) + budget, MOST_CLUSTERS)
    cluster = clusters(torch.cat(features), count, rng)
    of_candidate_N, of_labelled_M = cluster.split([len(part) for part in features])
    size_K, left_K = cluster.bincount(minlength=count), of_candidate_N.bincount(minlength=count)
    labelled_K, ties_K = (
        of_labelled_M.bincount(minlength=count),
        torch.randperm(count, generator=rng),
    )
    rows = torch.stack([size_K <= SMALL_CLUSTER, labelled_K, -size_K, ties_K], dim=1).tolist()
    queue = [(*row, k) for k, row in enumerate(rows) if left_K[k]]
    heapq.heapify(queue)
    typical: dict[int, list[int]] = {}
    picks: list[int] = []
    while len(picks) < budget:
        small, labelled, size, tie, k = heapq.heappop(queue)
        if k not in typical:
            members = (of_candidate_N == k).nonzero().squeeze(1)
            typical[k] = members[_typical(view.embeddings_N_D[members], rng)].tolist()
        picks.append(typical[k].pop(0))
        if typical[k]:
            heapq.heappush(queue, (small, labelled + 1, size, tie, k))
    return torch.tensor(picks)


def _typical(features_N_D: Tensor, rng: torch.Generator) -> Tensor:
    """All positions in a cluster, the most typical first."""
    return smallest(mean_distance(features_N_D), len(features_N_D), rng)


def mean_distance(features_N_D: Tensor) -> Tensor:
    """Mean distance (N,) to the nearest ``NEIGHBOURS`` others: the inverse of typicality."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(NEIGHBOURS, len(features_N_D) - 1)
    if not neighbours:
        return torch.zeros(1)
    centred_N_D = features_N_D - features_N_D.mean(0)  # scikit-learn squares norms, which rounds
    fit = NearestNeighbors(n_neighbors=neighbours).fit(centred_N_D.cpu().numpy())
    return torch.from_numpy(fit.kneighbors()[0].mean(1))


def cluster_margin(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Candidates of small margin, a random one from each of their clusters.

    Citovsky et al., arXiv 2107.14263: of the ``MARGIN_SHARE`` times ``budget`` smallest margins,
    a random one from each cluster, the smallest cluster first, and round again. The paper clusters
    the whole pool once, by agglomeration, whose memory grows with its square; here the candidates
    of these margins alone are, by K-means into ``budget`` clusters. So one round takes one from
    each, and more rounds are for features so alike that K-means leaves clusters empty.
    """
    first, second = view.probs_N_C.topk(2, dim=1).values.unbind(1)
    unsure = smallest(first - second, MARGIN_SHARE * budget, rng)
    unsure = unsure[torch.randperm(len(unsure), generator=rng)]
    cluster_n = clusters(view.embeddings_N_D[unsure], budget, rng)
    order_K = smallest(cluster_n.bincount(minlength=budget).double(), budget, rng)
    turn_n = torch.empty(len(unsure), dtype=torch.long)
    for k in range(budget):
        members = cluster_n == k
        turn_n[members] = torch.arange(int(members.sum()))
    place_n = turn_n * budget + order_K.argsort()[cluster_n]
    return unsure[place_n.argsort()[:budget]]
