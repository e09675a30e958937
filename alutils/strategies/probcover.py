"""ProbCover: points whose balls cover the most candidates not covered yet."""

import torch
from torch import Tensor

from alutils.strategies import distances
from alutils.strategies.clusters import clusters
from alutils.strategies.distances import Points, nearest
from alutils.strategies.ranking import highest
from alutils.strategies.view import PoolView

PURITY = 0.95
"""Share of ProbCover's balls that hold points of one cluster only, as in its paper."""
SAMPLE = 1000
"""Balls on which that share is estimated."""


def probcover(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Always the candidate whose ball holds the most candidates that no ball holds yet.

    Yehuda et al., arXiv 2205.11320; labelled images have balls too. The radius is from ``radius``.
    A candidate's count is stored, and decreased as others are covered, so every pair is evaluated
    at most twice and no graph is stored: time grows with the square of the pool, memory does not.
    """
    points = Points(view.embeddings_N_D)
    reach = radius(points, view.probs_N_C.shape[1], rng) ** 2
    is_open_N = nearest(points, Points(view.labelled_embeddings_M_D)) >= reach
    counts_N = _count(points, is_open_N, reach)
    picks: list[int] = []
    for _ in range(budget):
        picks.append(highest(counts_N, rng))
        distance_N = points.squared_distances(points[picks[-1:]]).squeeze(1)
        covered_N = is_open_N & (distance_N < reach)
        counts_N -= _count(points, covered_N, reach)
        is_open_N &= ~covered_N
        counts_N[picks[-1]] = -len(points)
    return torch.tensor(picks)


def _count(points: Points, marked_N: Tensor, reach: float) -> Tensor:
    """How many marked points (N,) lie within the squared distance ``reach`` of each."""
    counts_N = torch.zeros(len(points), dtype=torch.int32, device=marked_N.device)
    marked = points[marked_N.nonzero().squeeze(1)].blocks()
    for part, count in zip(points.blocks(), counts_N.split(distances.BLOCK), strict=True):
        for block in marked:
            count += (part.squared_distances(block) < reach).sum(1, dtype=torch.int32)
    return counts_N


def radius(points: Points, classes: int, rng: torch.Generator) -> float:
    """The largest radius at which a share ``PURITY`` of the balls hold points of one cluster only.

    This is the paper's rule, with as many K-means clusters as classes. A ball is pure up to the
    distance from its centre to the nearest point of another cluster, so the radius is a quantile of
    these distances, here over ``SAMPLE`` random centres.
    """
    cluster_N = clusters(points.rows_N_D, classes, rng).to(points.rows_N_D.device)
    centres = torch.randperm(len(points), generator=rng)[:SAMPLE].to(cluster_N.device)
    centre = points[centres]
    nearest_S = torch.full_like(centre.squares_N, torch.inf)
    for part, cluster in zip(points.blocks(), cluster_N.split(distances.BLOCK), strict=True):
        distance_S_B = centre.squared_distances(part)
        distance_S_B[cluster_N[centres].unsqueeze(1) == cluster] = torch.inf
        nearest_S = nearest_S.minimum(distance_S_B.min(1).values)
    return nearest_S.sqrt().sort().values[int((1 - PURITY) * len(nearest_S))].item()
