"""K-means clusters of features."""

import warnings
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

FEW_CLUSTERS = 50
"""Up to this many clusters, K-means uses all points in every step; above, mini-batches of 5,000."""


def clusters(features_N_D: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """K-means cluster (N,) of each row, in [0, ``count``); some clusters may be empty."""
    in_batches = min(count, len(features_N_D)) > FEW_CLUSTERS
    return torch.from_numpy(fitted(features_N_D, count, rng, in_batches).labels_).long()


def fitted(
    features_N_D: Tensor, count: int, rng: torch.Generator, in_batches: bool = False
) -> "KMeans":
    """Fit K-means to the rows, with ``count`` clusters, or one per row if there are fewer rows.

    On one thread: several would sum centroids in another order, which changes their last bits.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    settings = {
        "n_clusters": min(count, len(features_N_D)),
        "random_state": int(torch.randint(2**31 - 1, (), generator=rng)),
        "n_init": 1,
    }
    kmeans = MiniBatchKMeans(batch_size=5000, **settings) if in_batches else KMeans(**settings)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        return kmeans.fit(features_N_D.cpu().numpy())
