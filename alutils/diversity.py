"""Acquisition by diversity: picks far from each other, or that cover the pool.

Distances are Euclidean, taken as matrix products in blocks: no N x N or N x M matrix is held.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.clustering import clusters
from alutils.pool import PoolView
from alutils.ranking import drawn, highest

BLOCK = 2048
"""Rows and columns of a block of distances (16 MB)."""
PURITY = 0.95
"""Share of ProbCover's balls that hold one cluster alone, as in its paper."""
SAMPLE = 1000
"""Balls by which that share is judged."""


class Points:
    """Rows of features (N, D) with their squared norms; ``ValueError`` where one is not finite."""

    def __init__(self, rows_N_D: Tensor, squares_N: Tensor | None = None):
        if squares_N is None:
            squares_N = torch.linalg.vector_norm(rows_N_D, dim=1).square()
        if not torch.isfinite(squares_N).all():
            raise ValueError("a feature is not finite")
        self.rows_N_D, self.squares_N = rows_N_D, squares_N

    def __len__(self) -> int:
        return len(self.rows_N_D)

    def __getitem__(self, which: slice | list[int] | Tensor) -> "Points":
        return Points(self.rows_N_D[which], self.squares_N[which])

    def blocks(self) -> list["Points"]:
        """The same points in parts; no row is copied."""
        return [self[start : start + BLOCK] for start in range(0, len(self), BLOCK)]

    def squared_distances(self, others: "Points") -> Tensor:
        """Squared distances (N, K) to K other points."""
        rows_N_D, others_K_D = self.rows_N_D, others.rows_N_D
        sums_N_K = torch.addmm(others.squares_N, rows_N_D, others_K_D.T, alpha=-2)
        return sums_N_K.add_(self.squares_N.unsqueeze(1)).clamp_min_(0)


def coreset(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """K-centre, greedily: always the candidate farthest from all that is labelled or picked.

    Sener and Savarese, arXiv 1708.00489; the distance is that of the features. The first pick is
    random where nothing is labelled.
    """
    points = Points(view.embeddings_N_D)
    nearest_N = _nearest(points, Points(view.labelled_embeddings_M_D))
    picks: list[int] = []
    for _ in range(budget):
        picks.append(highest(nearest_N, rng))
        distance_N = points.squared_distances(points[picks[-1:]]).squeeze(1)
        nearest_N = nearest_N.minimum(distance_N)
        nearest_N[picks[-1]] = -1
    return torch.tensor(picks)


def _nearest(points: Points, others: Points) -> Tensor:
    """Squared distance (N,) to the nearest of the others; infinite where there are none."""
    blocks = others.blocks()
    found = []
    for part in points.blocks():
        nearest = torch.full_like(part.squares_N, torch.inf)
        for block in blocks:
            nearest = nearest.minimum(part.squared_distances(block).min(1).values)
        found.append(nearest)
    return torch.cat(found)


def badge(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """K-means++ on the gradients that the likeliest labels would give the last layer.

    Ash et al., arXiv 1906.03671: the first pick has the longest gradient, the next are drawn in
    proportion to the squared distance from the nearest pick. A gradient is the outer product of
    the output's error (C) and the features (D); only these factors are held, as the product of two
    gradients is the product of their factors' products.
    """
    points = Points(view.embeddings_N_D)
    probs_N_C = view.probs_N_C.to(points.rows_N_D.device)
    errors = Points(probs_N_C - F.one_hot(probs_N_C.argmax(1), probs_N_C.shape[1]))
    squares_N = errors.squares_N * points.squares_N
    nearest_N, picks = torch.full_like(squares_N, torch.inf), [highest(squares_N, rng)]
    while len(picks) < budget:
        one = picks[-1]
        product_N = (errors.rows_N_D @ errors.rows_N_D[one]) * (
            points.rows_N_D @ points.rows_N_D[one]
        )
        nearest_N = nearest_N.minimum(squares_N + squares_N[one] - 2 * product_N).clamp_min(0)
        nearest_N[one] = 0
        picks.append(drawn(nearest_N if nearest_N.any() else _others(nearest_N, picks), rng))
    return torch.tensor(picks)


def _others(weights_N: Tensor, picks: list[int]) -> Tensor:
    """Equal weights for all that is not picked yet."""
    equal_N = torch.ones_like(weights_N)
    equal_N[picks] = 0
    return equal_N


def probcover(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Always the candidate whose ball holds the most candidates that no ball holds yet.

    Yehuda et al., arXiv 2205.11320; labelled images have balls too. The radius is ``radius``'s.
    A candidate's count is kept and lowered as others are covered, so that every pair is looked at
    at most twice and no graph is held: time grows with the square of the pool, memory does not.
    """
    points = Points(view.embeddings_N_D)
    reach = radius(points, view.probs_N_C.shape[1], rng) ** 2
    is_open_N = _nearest(points, Points(view.labelled_embeddings_M_D)) >= reach
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
    for part, count in zip(points.blocks(), counts_N.split(BLOCK), strict=True):
        for block in marked:
            count += (part.squared_distances(block) < reach).sum(1, dtype=torch.int32)
    return counts_N


def radius(points: Points, classes: int, rng: torch.Generator) -> float:
    """The largest radius at which ``PURITY`` of the balls hold one cluster alone.

    The paper's rule, with as many K-means clusters as classes. A ball is pure up to its centre's
    distance to the nearest point of another cluster, so the radius is a quantile of these
    distances, here over ``SAMPLE`` random centres.
    """
    cluster_N = clusters(points.rows_N_D, classes, rng).to(points.rows_N_D.device)
    centres = torch.randperm(len(points), generator=rng)[:SAMPLE].to(cluster_N.device)
    centre = points[centres]
    nearest_S = torch.full_like(centre.squares_N, torch.inf)
    for part, cluster in zip(points.blocks(), cluster_N.split(BLOCK), strict=True):
        distance_S_B = centre.squared_distances(part)
        distance_S_B[cluster_N[centres].unsqueeze(1) == cluster] = torch.inf
        nearest_S = nearest_S.minimum(distance_S_B.min(1).values)
    return nearest_S.sqrt().sort().values[int((1 - PURITY) * len(nearest_S))].item()
