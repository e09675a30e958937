"""A linear head on the frozen features of an encoder."""

import torch
from torch import Tensor, nn

aten = torch.ops.aten
MEAN, NONE_IGNORED = 1, -100
"""How aten's loss is reduced, and the label that it leaves out, as torch's own calls have it."""


class FeatureNet(nn.Module):
    """Standardised features, dropout, and one linear layer: what is trained on an encoder.

    It stands where the network does, so that training, scoring and strategies are the same: what
    they call images are rows of features, float16 (B, D). Their mean and standard deviation, (D,)
    each, are those of the training set, whose labels that takes no part of.
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

    @torch.no_grad()
    def backward(
        self, rows: Tensor, labels: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of labels (B,), and logits (B, C); sets the layer's gradients.

        These are autograd's, bit for bit, by the operations that it would call: of a step on so
        small a model its graph takes a fifth to a third.
        """
        x = self.features(rows) if keep is None else self.features(rows).mul_(keep)
        logits = self.head(x)
        log_probs = logits.log_softmax(1)
        loss, weight = aten.nll_loss_forward(log_probs, labels, None, MEAN, NONE_IGNORED)
        gradient = aten.nll_loss_backward(
            torch.ones_like(loss), log_probs, labels, None, MEAN, NONE_IGNORED, weight
        )
        gradient = aten._log_softmax_backward_data(gradient, log_probs, 1, log_probs.dtype)
        self.head.weight.grad, self.head.bias.grad = gradient.t().mm(x), gradient.sum(0)
        return loss, logits
