"""CoreSet: the points farthest from all that is labelled."""

import torch
from torch import Tensor

from alutils.strategies.distances import Points
from alutils.strategies.ranking import highest
from alutils.strategies.view import PoolView


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
