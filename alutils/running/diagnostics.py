"""What a record has beyond accuracy: picks, a map of the pool, and the last network's errors.

Everything here is returned as plain lists of rounded numbers, ready to be written into a round.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from alutils.learning.network import Classifier
from alutils.learning.scoring import feature_batches, predict, reliability

GALLERY = 20
"""Picks of a round that are described one by one."""
MAPPED = 1_000
"""Fixed pool images on the map."""
ROC_POINTS = 101


def gallery(net: Classifier, images: Tensor, labels: Tensor, picks: Tensor) -> dict[str, list]:
    """The first picks: dataset index, true class, and the model's two likeliest classes."""
    shown = picks[:GALLERY]
    probability, likely = predict(net, images, shown).topk(2, dim=1)
    return {
        "index": shown.tolist(),
        "truth": labels[shown.to(labels.device)].tolist(),
        "likeliest": likely[:, 0].tolist(),
        "second": likely[:, 1].tolist(),
        "likeliest_probability": _rounded(probability[:, 0], 4),
        "second_probability": _rounded(probability[:, 1], 4),
    }


class PoolMap:
    """Features of fixed pool images, projected on their first two principal components."""

    def __init__(self, net: Classifier, images: Tensor, indices: Tensor):
        from sklearn.decomposition import PCA

        self.net, self.images, self.indices = net, images, indices
        features_N_D = self._features(indices)
        self.fit = PCA(2, svd_solver="covariance_eigh").fit(features_N_D)
        self.x, self.y = self._project(features_N_D)

    def marking(self, marked: Tensor) -> dict[str, list]:
        """The map as lists, with the coordinates of the marked dataset indices on it."""
        marked = marked[:GALLERY]
        marked_x, marked_y = self._project(self._features(marked)) if len(marked) else ([], [])
        return {
            "index": self.indices.tolist(),
            "x": self.x,
            "y": self.y,
            "marked": marked.tolist(),
            "marked_x": marked_x,
            "marked_y": marked_y,
            "variance": _rounded(self.fit.explained_variance_ratio_, 4),
        }

    def _features(self, indices: Tensor) -> np.ndarray:
        return (
            torch.cat(list(feature_batches(self.net, self.images, indices))).cpu().double().numpy()
        )

    def _project(self, features_N_D: np.ndarray) -> tuple[list, list]:
        coordinates_N_2 = self.fit.transform(features_N_D)
        return _rounded(coordinates_N_2[:, 0], 2), _rounded(coordinates_N_2[:, 1], 2)


def closing(probs_N_C: Tensor, labels_N: Tensor) -> dict[str, list]:
    """How a network errs on images with known labels.

    ``bin_count``, ``bin_confidence`` and ``bin_accuracy`` are of 15 equal-width confidence bins
    (means in the bin, 0 if it is empty); ``confusion`` counts by true (rows) and predicted class;
    ``auroc`` is of each class against the rest, and ``roc`` its true-positive rate at 101 equally
    spaced false-positive rates.
    """
    from sklearn.metrics import auc, confusion_matrix, roc_curve

    classes = range(probs_N_C.shape[1])
    bins = reliability(probs_N_C, labels_N)
    filled = bins.count.clamp_min(1)
    probs, truth = probs_N_C.double().numpy(), labels_N.cpu().numpy()
    curves = [roc_curve(truth == c, probs[:, c]) for c in classes]
    grid = np.linspace(0, 1, ROC_POINTS)
    return {
        "bin_count": bins.count.long().tolist(),
        "bin_confidence": _rounded(bins.confidence / filled, 4),
        "bin_accuracy": _rounded(bins.right / filled, 4),
        "confusion": confusion_matrix(truth, probs.argmax(1), labels=list(classes)).tolist(),
        "auroc": _rounded([auc(fpr, tpr) for fpr, tpr, _ in curves], 5),
        "roc": [_rounded(np.interp(grid, fpr, tpr), 4) for fpr, tpr, _ in curves],
    }


def _rounded(values: Any, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
