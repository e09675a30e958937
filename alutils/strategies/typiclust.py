"""TypiClust: the most typical image of each uncovered cluster."""

import heapq

import torch
from torch import Tensor

from alutils.strategies.clusters import clusters
from alutils.strategies.ranking import smallest
from alutils.strategies.view import PoolView

MOST_CLUSTERS, SMALL_CLUSTER, NEIGHBOURS = 500, 5, 20
"""TypiClust's bounds, its authors' values."""


def typiclust(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The most typical candidates of clusters without labels, the largest clusters first.

    Hacohen et al., arXiv 2202.02794: candidates and labelled images are grouped into as many
    K-means clusters as there will be labels, at most ``MOST_CLUSTERS``. Each pick comes from the
    cluster with the fewest images labelled or picked, the largest of these first; clusters of up to
    ``SMALL_CLUSTER`` images come last. A typical candidate has a small mean distance to its
    ``NEIGHBOURS`` nearest candidates in the cluster; candidates are ranked once per cluster.
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
            apart = mean_distance(view.embeddings_N_D[members])
            typical[k] = members[smallest(apart, len(members), rng)].tolist()
        picks.append(typical[k].pop(0))
        if typical[k]:
            heapq.heappush(queue, (small, labelled + 1, size, tie, k))
    return torch.tensor(picks)


def mean_distance(features_N_D: Tensor) -> Tensor:
    """Mean distance (N,) to the nearest ``NEIGHBOURS`` others: the inverse of typicality."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(NEIGHBOURS, len(features_N_D) - 1)
    if not neighbours:
        return torch.zeros(1)
    centred_N_D = features_N_D - features_N_D.mean(0)  # scikit-learn squares norms: keep them small
    fit = NearestNeighbors(n_neighbors=neighbours).fit(centred_N_D.cpu().numpy())
    return torch.from_numpy(fit.kneighbors()[0].mean(1))
