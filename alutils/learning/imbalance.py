"""Class imbalance: which training images are kept so that some classes are rare."""

from collections.abc import Sequence

import torch
from torch import Tensor

from alutils.learning.streams import stream
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS


def kept_mask(cell: Cell, labels_N: Tensor) -> Tensor:
    """Mask (N,) of the training images that a cell's protocol keeps; with imbalance 1, all."""
    if cell.imbalance == 1:
        return torch.ones(len(labels_N), dtype=torch.bool)
    return long_tail_mask(labels_N, DATASETS[cell.dataset].long_tail(cell.imbalance), cell.seed)


def long_tail_mask(labels_N: Tensor, counts: Sequence[int], seed: int) -> Tensor:
    """Mask (N,) that keeps ``counts`` images per class, with the counts assigned at random.

    The seed determines which class gets which count, so that no class is the rare one for all
    seeds, and which of its images are kept: those kept at a smaller count are among those kept at a
    larger one.
    """
    places = torch.randperm(len(counts), generator=stream(seed, "imbalance", "classes"))
    order = torch.randperm(len(labels_N), generator=stream(seed, "imbalance", "images"))
    labels_in_order = labels_N[order]
    left = torch.zeros(len(labels_N), dtype=torch.bool)
    for label, count in zip(places.tolist(), counts, strict=True):
        left[order[labels_in_order == label][:count]] = True
    return left
