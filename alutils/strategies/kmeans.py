"""The poster's boundary points between clusters, and cluster centres as a control."""

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from alutils.strategies.clusters import fitted
from alutils.strategies.ranking import smallest
from alutils.strategies.view import PoolView


def kmeans(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Boundary points of a K-means clustering of the features: the poster's own method.

    The smallest difference between the Euclidean distances to the second-closest centroid and to
    the closest one, its own.
    """
    distances_N_K = _centroid_distances(view, rng)
    if distances_N_K.shape[1] < 2:  # one candidate alone
        return torch.arange(budget)
    closest, second = distances_N_K.topk(2, dim=1, largest=False).values.unbind(1)
    return smallest(second - closest, budget, rng)


def kmeans_centre(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The smallest distance to a centroid of that clustering: a control for its boundary points."""
    return smallest(_centroid_distances(view, rng).min(1).values, budget, rng)


def _centroid_distances(view: PoolView, rng: torch.Generator) -> Tensor:
    """Euclidean distances (N, K) of the features to the K centroids, float32, all held at once.

    If computed in blocks of rows, their last bits could depend on where a block ends.
    """
    fit = fitted(view.embeddings_N_D, view.clusters, rng)
    with threadpool_limits(1):  # as in ``fitted``
        return torch.from_numpy(fit.transform(view.embeddings_N_D.cpu().numpy()))
