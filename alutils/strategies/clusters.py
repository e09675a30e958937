"""Clusters of features, and how dense they lie."""

import warnings

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

FEW_CLUSTERS = 50
"""Clusters up to which K-means sees all points in every step; beyond, mini-batches of 5,000."""


def clusters(features_N_D: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """K-means cluster (N,) of each row, from 0 to below ``count``; some may be empty.

    On one thread: several add up centroids in another order, and so to other last bits.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    settings = {
        "n_clusters": min(count, len(features_N_D)),
        "random_state": int(torch.randint(2**31 - 1, (), generator=rng)),
        "n_init": 1,
    }
    few = settings["n_clusters"] <= FEW_CLUSTERS
    algorithm = KMeans(**settings) if few else MiniBatchKMeans(batch_size=5000, **settings)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        return torch.from_numpy(algorithm.fit_predict(features_N_D.cpu().numpy())).long()
