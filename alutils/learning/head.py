"""A linear head on the frozen features of an encoder."""

import torch
from torch import Tensor, nn


class FeatureNet(nn.Module):
    """Standardised features, dropout, and one linear layer: what is trained on an encoder.

    It takes the place of ``Net``, so training, scoring and strategies stay the same: what they call
    images are then rows of features, float16 (B, D). The features' mean and standard deviation,
    (D,) each, are computed over the training set, without its labels.
    """

    def __init__(self, mean: Tensor, std: Tensor, classes: int):
        super().__init__()
        self.head = nn.Linear(len(mean), classes)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def features(self, rows: Tensor) -> Tensor:
        """Standardised features, float32 (B, D)."""
        return (rows.to(torch.float32) - self.mean) / self.std

    def forward(self, rows: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits (B, C); ``keep`` (B, D) is the dropout mask, None switches dropout off."""
        features = self.features(rows)
        return self.head(features if keep is None else features * keep)
