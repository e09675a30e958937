"""Clusters of features, and how dense they lie."""

import warnings
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

FEW_CLUSTERS = 50
"""Clusters up to which K-means sees all points in every step; beyond, mini-batches of 5,000."""


def clusters(features_N_D: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """K-means cluster (N,) of each row, from 0 to below ``count``; some may be empty."""
    in_batches = min(count, len(features_N_D)) > FEW_CLUSTERS
    return torch.from_numpy(fitted(features_N_D, count, rng, in_batches).labels_).long()


def fitted(
    features_N_D: Tensor, count: int, rng: torch.Generator, in_batches: bool = False
) -> "KMeans":
    """K-means of the rows, into ``count`` clusters or one for each row.

    On one thread: several add up centroids in another order, and so to other last bits.
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
