"""CoreSet: the points farthest from all that is labelled."""

import torch
from torch import Tensor

from alutils.strategies.distances import Points, nearest
from alutils.strategies.ranking import highest
from alutils.strategies.view import PoolView


def coreset(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Greedy k-centre: always the candidate farthest from everything labelled or picked.

    Sener and Savarese, arXiv 1708.00489, with distances between features. The first pick is random
    if nothing is labelled.
    """
    points = Points(view.embeddings_N_D)
    nearest_N = nearest(points, Points(view.labelled_embeddings_M_D))
    picks: list[int] = []
    for _ in range(budget):
        picks.append(highest(nearest_N, rng))
        distance_N = points.squared_distances(points[picks[-1:]]).squeeze(1)
        nearest_N = nearest_N.minimum(distance_N)
        nearest_N[picks[-1]] = -1
    return torch.tensor(picks)
