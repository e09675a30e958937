"""Prediction with a network in bounded memory, and metrics of the predictions."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.learning.network import Classifier

SCORING_BATCH = 500
"""Images that are scored at once; their activations take about 150 MB."""
BINS = 15
"""Number of equal-width confidence bins, for the calibration error and the diagnostics."""


def feature_batches(
    net: Classifier, images: Tensor, indices: Tensor | None = None
) -> Iterator[Tensor]:
    """Features (at most ``SCORING_BATCH``, D) of the images, in their order, in eval mode.

    If memory runs out, the batch is halved and retried; ``net.halved_to`` then holds the smallest
    size used, because the last bits of the results may depend on it.
    """
    net.eval()
    total = len(images if indices is None else indices)
    start, size = 0, SCORING_BATCH
    while start < total:
        part = slice(start, start + size)
        try:
            with torch.inference_mode():
                features = net.features(images[part] if indices is None else images[indices[part]])
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
            size //= 2
            net.halved_to = min(size, getattr(net, "halved_to", size))
            continue
        yield features
        start += size


def out_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch says that host or device memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    message = str(error).lower()
    return any(
        text in message for text in ("can't allocate memory", "out of memory", "alloc_failed")
    )


def predict(net: Classifier, images: Tensor, indices: Tensor | None = None) -> Tensor:
    """Class probabilities (N, C) of one deterministic pass, dropout off, on the CPU."""
    with torch.inference_mode():
        return torch.cat(
            [
                net.head(features).softmax(1).cpu()
                for features in feature_batches(net, images, indices)
            ]
        )


def accuracy(probs_N_C: Tensor, labels_N: Tensor) -> float:
    """Share of correct predictions, 0 to 1."""
    return (probs_N_C.argmax(1) == labels_N.cpu()).double().mean().item()


@dataclass(frozen=True)
class Reliability:
    """Per equal-width confidence bin: predictions, summed confidence, correct ones (float64)."""

    count: Tensor
    confidence: Tensor
    right: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al., arXiv 1706.04599)."""
        return ((self.right - self.confidence).abs().sum() / self.count.sum()).item()


def reliability(probs_N_C: Tensor, labels_N: Tensor) -> Reliability:
    """Bin the predictions ``probs_N_C`` by confidence and compare them with int64 ``labels_N``."""
    confidence, predicted = probs_N_C.double().max(1)
    bin_N = (confidence * BINS).long().clamp_max(BINS - 1)

    def add(values_N: Tensor) -> Tensor:
        return torch.zeros(BINS, dtype=torch.double).index_add_(0, bin_N, values_N.double())

    return Reliability(
        add(torch.ones_like(confidence)), add(confidence), add(predicted == labels_N.cpu())
    )


def evaluate(probs_N_C: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Accuracy, mean negative log-likelihood (nats) and expected calibration error."""
    labels_N = labels_N.cpu()
    return {
        "test_accuracy": accuracy(probs_N_C, labels_N),
        "test_nll": F.nll_loss(probs_N_C.double().clamp_min(1e-12).log(), labels_N).item(),
        "test_ece": reliability(probs_N_C, labels_N).error,
    }
