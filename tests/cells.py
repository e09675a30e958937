"""Cells for tests that need no study, and an encoder for tests that need no weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alutils.protocol.cell import Cell
from alutils.protocol.encoders import ENCODERS


def a_cell(dataset: str = "mnist", seed: int = 0, **changes) -> Cell:
    """A random cell of the poster's protocol, with changes to it."""
    fields = {"dataset": dataset, "arm": "random", "seed": seed, "first_labels": 64} | changes
    return Cell(**fields)


class StubEncoder(nn.Module):
    """Random projections of grey images of 28 pixels to as many features as the encoder has.

    Counts its images.
    """

    def __init__(self, name: str = "efficientnet-lite0"):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.weights = torch.rand(28 * 28, ENCODERS[name].features, generator=rng)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        small = F.adaptive_avg_pool2d(images.float().mean(1), 28)
        return small.flatten(1) / 255 @ self.weights
