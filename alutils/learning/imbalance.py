"""Which training images are left where classes are to be rare."""

from collections.abc import Sequence

import torch
from torch import Tensor

from alutils.learning.streams import stream
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS


def kept_mask(cell: Cell, labels_N: Tensor) -> Tensor:
    """Mask (N,) of the training images that a cell's protocol leaves; nothing is drawn for all."""
    if cell.imbalance == 1:
        return torch.ones(len(labels_N), dtype=torch.bool)
    return thinned(labels_N, DATASETS[cell.dataset].long_tail(cell.imbalance), cell.seed)


def thinned(labels_N: Tensor, counts: Sequence[int], seed: int) -> Tensor:
    """Mask (N,) of as many images of every class as ``counts`` has for its place.

    The seed draws which class has which place, so that over seeds no class is always the rare one,
    and which of its images stay: at a smaller count some of those at a larger one.
    """
    places = torch.randperm(len(counts), generator=stream(seed, "imbalance", "classes"))
    order = torch.randperm(len(labels_N), generator=stream(seed, "imbalance", "images"))
    labels_in_order = labels_N[order]
    left = torch.zeros(len(labels_N), dtype=torch.bool)
    for label, count in zip(places.tolist(), counts, strict=True):
        left[order[labels_in_order == label][:count]] = True
    return left
