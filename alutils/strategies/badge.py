"""BADGE: k-means++ on the gradients of the last layer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.strategies.distances import Points
from alutils.strategies.ranking import drawn, highest
from alutils.strategies.view import PoolView


def badge(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """K-means++ on the last layer's gradients, with the most likely class as the label.

    Ash et al., arXiv 1906.03671: the first pick has the gradient with the largest norm, the next
    are drawn in proportion to the squared distance to the nearest pick. A gradient is the outer
    product of the output error (C) and the features (D). Only these factors are stored, as the
    inner product of two gradients is the product of the inner products of their factors.
    """
    points = Points(view.embeddings_N_D)
    probs_N_C = view.probs_N_C.to(points.rows_N_D.device)
    errors = Points(probs_N_C - F.one_hot(probs_N_C.argmax(1), probs_N_C.shape[1]))
    squares_N = errors.squares_N * points.squares_N
    nearest_N, picks = torch.full_like(squares_N, torch.inf), [highest(squares_N, rng)]
    while len(picks) < budget:
        last = picks[-1]
        product_N = (errors.rows_N_D @ errors.rows_N_D[last]) * (
            points.rows_N_D @ points.rows_N_D[last]
        )
        nearest_N = nearest_N.minimum(squares_N + squares_N[last] - 2 * product_N).clamp_min(0)
        nearest_N[last] = 0
        picks.append(drawn(nearest_N if nearest_N.any() else _others(nearest_N, picks), rng))
    return torch.tensor(picks)


def _others(weights_N: Tensor, picks: list[int]) -> Tensor:
    """Equal weights for all that is not picked yet."""
    equal_N = torch.ones_like(weights_N)
    equal_N[picks] = 0
    return equal_N
