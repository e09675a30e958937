"""Acquisition by predictions that dropout changes, spread over the clusters of the features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.strategies.clusters import clusters
from alutils.strategies.ranking import smallest
from alutils.strategies.scores import votes
from alutils.strategies.view import PoolView

UNSURE = 0.5
"""A candidate is unsure where more than this share of the passes predict another class."""


def dropquery(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The candidates in the middle of K-means clusters of those whose class dropout changes.

    DropQuery, Gupte et al., arXiv 2401.14555: of the candidates whose predicted class more than
    half of the passes change, ``budget`` clusters are made, and from each the candidate nearest to
    its mean is taken. Where no more than ``budget`` are so unsure, all of them are taken, and then
    those that most passes change, ties in a random order. Clusters that K-means leaves empty, as it
    does where features are alike, are made up for in the same way.

    The paper has 3 passes at dropout 0.75 with a mask per candidate; here they are the view's, and
    a pass keeps its mask for all candidates. As in the authors' code, features are scaled to unit
    length and a cluster's own members alone are looked at; that code also lowers the threshold
    while fewer than 25 times ``budget`` pass it, of which the paper says nothing. A study with
    ``mc_passes`` or ``dropout`` too low for passes that differ is refused before it begins.
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
    """Position of the row nearest to the mean of its cluster (K,), for each that has rows.

    ``cluster_N`` holds int64 labels; a tie is broken by ``rng``.
    """
    size_K = cluster_N.bincount()
    sum_K_D = features_N_D.new_zeros(len(size_K), features_N_D.shape[1])
    sum_K_D.index_add_(0, cluster_N, features_N_D)
    mean_K_D = sum_K_D / size_K.clamp_min(1).unsqueeze(1)
    distance_N = torch.linalg.vector_norm(features_N_D - mean_K_D[cluster_N], dim=1)
    nearest_first = smallest(distance_N, len(distance_N), rng)
    by_cluster = nearest_first[cluster_N[nearest_first].argsort(stable=True)]
    return by_cluster[(size_K.cumsum(0) - size_K)[size_K > 0]]
