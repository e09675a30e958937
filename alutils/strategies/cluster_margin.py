"""Cluster-Margin: small margins, spread over clusters."""

import torch
from torch import Tensor

from alutils.strategies.clusters import clusters
from alutils.strategies.ranking import smallest
from alutils.strategies.scores import gap
from alutils.strategies.view import PoolView

MARGIN_SHARE = 10
"""Candidates that Cluster-Margin considers per pick; its paper leaves this number open."""


def cluster_margin(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Candidates with small margins, a random one from each of their clusters in turn.

    Citovsky et al., arXiv 2107.14263: of the ``MARGIN_SHARE`` times ``budget`` smallest margins,
    a random one from each cluster, smallest cluster first, round robin. The paper clusters the
    complete pool once, by agglomerative clustering, whose memory grows with the square of the pool;
    here only the candidates with these margins are clustered, by K-means into ``budget`` clusters.
    One pass over the clusters is then enough, unless features are so alike that K-means leaves
    clusters empty.
    """
    unsure = smallest(gap(view.probs_N_C), MARGIN_SHARE * budget, rng)
    unsure = unsure[torch.randperm(len(unsure), generator=rng)]
    cluster_n = clusters(view.embeddings_N_D[unsure], budget, rng)
    order_K = smallest(cluster_n.bincount(minlength=budget).double(), budget, rng)
    within_n = torch.empty(len(unsure), dtype=torch.long)
    for k in range(budget):
        members = cluster_n == k
        within_n[members] = torch.arange(int(members.sum()))
    rank_n = within_n * budget + order_K.argsort()[cluster_n]
    return unsure[rank_n.argsort()[:budget]]
