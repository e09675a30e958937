"""Acquisition of candidates whose predicted class dropout changes, spread over clusters."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.strategies.clusters import clusters
from alutils.strategies.ranking import smallest
from alutils.strategies.scores import votes
from alutils.strategies.view import PoolView

UNSURE = 0.5
"""A candidate is uncertain if more than this share of the passes change its predicted class."""


def dropquery(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The most central candidates of clusters of those whose predicted class dropout changes.

    DropQuery, Gupte et al., arXiv 2401.14555: candidates whose predicted class is changed by more
    than half of the passes are grouped into ``budget`` K-means clusters, and from each the
    candidate nearest to its mean is picked. If there are at most ``budget`` such candidates, all of
    them are picked, followed by those whose class the most passes change, with ties in random
    order. If K-means leaves clusters empty, as it does when features are alike, the missing picks
    are filled in the same way.

    The paper uses 3 passes at dropout 0.75 with one mask per candidate; here the passes are the
    view's, and a pass uses the same mask for all candidates. As in the authors' code, features are
    scaled to unit length and only a cluster's own members are considered; that code also lowers the
    threshold while fewer than 25 times ``budget`` candidates pass it, which the paper doesn't
    mention. A study whose ``mc_passes`` or ``dropout`` is too low for passes to differ is refused
    before it begins.
    """
    share_N = inconsistency(view)
    order_N = smallest(-share_N, len(view), rng)
    unsure = order_N[: int((share_N > UNSURE).sum())]
    if len(unsure) <= budget:
        return order_N[:budget]
    features = F.normalize(view.embeddings_N_D[unsure.to(view.embeddings_N_D.device)]).cpu()
    middle = unsure[central(features, clusters(features, budget, rng), rng)]
    others = order_N[~torch.isin(order_N, middle)]
    return torch.cat([middle, others])[:budget]


def inconsistency(view: PoolView) -> Tensor:
    """Share (N,) of the passes that predict another class than the pass without dropout."""
    votes_N_C = view.over_passes(votes)
    passes_N = votes_N_C.sum(1)
    kept_N = votes_N_C.gather(1, view.probs_N_C.argmax(1, keepdim=True)).squeeze(1)
    return (passes_N - kept_N) / passes_N


def central(features_N_D: Tensor, cluster_N: Tensor, rng: torch.Generator) -> Tensor:
    """Position (K,) of the row nearest to its cluster's mean, for each non-empty cluster.

    ``cluster_N`` holds int64 labels; ties are broken with ``rng``.
    """
    size_K = cluster_N.bincount()
    sum_K_D = features_N_D.new_zeros(len(size_K), features_N_D.shape[1])
    sum_K_D.index_add_(0, cluster_N, features_N_D)
    mean_K_D = sum_K_D / size_K.clamp_min(1).unsqueeze(1)
    distance_N = torch.linalg.vector_norm(features_N_D - mean_K_D[cluster_N], dim=1)
    nearest_first = smallest(distance_N, len(distance_N), rng)
    by_cluster = nearest_first[cluster_N[nearest_first].argsort(stable=True)]
    return by_cluster[(size_K.cumsum(0) - size_K)[size_K > 0]]
