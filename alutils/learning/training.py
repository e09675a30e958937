"""Training a network on a labelled set."""

import math
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.learning.augmentation import crop_flip
from alutils.learning.carried_state import unpack
from alutils.learning.network import Classifier
from alutils.learning.scoring import accuracy, predict
from alutils.learning.streams import stream
from alutils.protocol.cell import Cell, Protocol

ONE_CYCLE_WARM_UP = 0.25
MOMENTUM = 0.9
"""Of SGD with Nesterov momentum."""


class NotFinite(ArithmeticError):
    """The training loss or a weight is not finite."""


@dataclass(frozen=True)
class Training:
    """Result of one training run, besides the weights."""

    steps: int
    train_accuracy: float
    heldout_accuracy: list[float]
    optimiser: torch.optim.Optimizer = field(compare=False, repr=False)


def learning_rate(protocol: Protocol, step: int, steps: int) -> float:
    """Learning rate at ``step`` of ``steps``: constant, one cycle, or half a cosine.

    One cycle (after Smith and Topin, arXiv 1708.07120, with fixed momentum): linear from 0 to the
    peak in the first quarter, then linear back to 0. Cosine (Loshchilov and Hutter, arXiv
    1608.03983, without restarts or warm-up): from the peak towards 0, updated every step.
    """
    if protocol.schedule == "constant":
        return protocol.learning_rate
    done = step / steps
    if protocol.schedule == "cosine":
        return protocol.learning_rate * (1 + math.cos(math.pi * done)) / 2
    rise, fall = done / ONE_CYCLE_WARM_UP, (1 - done) / (1 - ONE_CYCLE_WARM_UP)
    return protocol.learning_rate * min(rise, fall)


def make_optimiser(net: Classifier, protocol: Protocol) -> torch.optim.Optimizer:
    """Adam, or SGD with Nesterov momentum, over all parameters.

    With Adam, weight decay is decoupled (AdamW; Loshchilov and Hutter, arXiv 1711.05101): a step
    shrinks a parameter by a fraction, learning rate times ``weight_decay``. With SGD, it is a plain
    L2 penalty. It applies to all parameters, including biases and those of batch norm.
    """
    fused = net.head.weight.device.type != "mps"
    options = {"lr": protocol.learning_rate, "weight_decay": protocol.weight_decay, "fused": fused}
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(net.parameters(), momentum=MOMENTUM, nesterov=True, **options)
    kind = torch.optim.AdamW if protocol.weight_decay else torch.optim.Adam
    return kind(net.parameters(), **options)


def train(
    net: Classifier,
    images: Tensor,
    labels: Tensor,
    cell: Cell,
    round_: int,
    heldout: tuple[Tensor, Tensor] | None = None,
    state: bytes | None = None,
) -> Training:
    """Train ``net`` in place, as the cell specifies, starting from its current weights.

    Parameters
    ----------
    images, labels : uint8 (N, C, H, W), or features (N, D), and int64 (N,), on ``net``'s device
    round_ : with the cell's seed, determines the streams of batches, dropout masks and crops
    heldout : images and labels evaluated every ``cell.heldout_every`` epochs
    state : of the previous round (see ``pack``), to continue from its Adam; None starts afresh

    Raises ``NotFinite`` if the loss or a weight is not finite. An incomplete last batch is dropped.
    """
    batches = stream(cell.seed, "batches", round_)
    masks = stream(cell.seed, "dropout", round_)
    crops = stream(cell.seed, "augmentation", round_)
    per_epoch = len(labels) // cell.batch_size
    steps = per_epoch * cell.epochs
    optimiser = make_optimiser(net, cell)
    if state and cell.adam_state != "fresh":
        unpack(state, optimiser)
    heldout_accuracy = []
    for epoch in range(cell.epochs):
        net.train()
        order = torch.randperm(len(labels), generator=batches)[: per_epoch * cell.batch_size]
        order = order.to(labels.device).view(per_epoch, cell.batch_size)
        right = torch.zeros((), device=labels.device)
        losses = torch.zeros(per_epoch, device=labels.device)
        for i, batch in enumerate(order):
            rate = learning_rate(cell, epoch * per_epoch + i, steps)
            keep = None
            if cell.dropout:
                mask = dropout_mask(cell.batch_size, net.head.in_features, cell.dropout, masks)
                keep = mask.to(labels.device)
            shown = images[batch]
            if cell.augmentation == "crop-flip":
                shown = crop_flip(shown, crops)
            losses[i], good = _step(net, optimiser, rate, shown, labels[batch], keep)
            right += good
        _check_losses(losses, epoch, steps)
        if heldout and cell.heldout_every and (epoch + 1) % cell.heldout_every == 0:
            heldout_accuracy.append(accuracy(predict(net, heldout[0]), heldout[1]))
    if not all(tensor.isfinite().all() for tensor in net.state_dict().values()):
        raise NotFinite(f"the weights are not finite after {steps:,} steps: lower learning_rate")
    net.eval()
    return Training(steps, float(right) / order.numel(), heldout_accuracy, optimiser)


def _step(
    net: Classifier,
    optimiser: torch.optim.Optimizer,
    rate: float,
    images: Tensor,
    labels: Tensor,
    keep: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Take one step on a batch; return its loss and number of correct predictions before it."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    logits = net(images, keep)
    loss = F.cross_entropy(logits, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach(), (logits.detach().argmax(1) == labels).sum()


def _check_losses(losses: Tensor, epoch: int, steps: int) -> None:
    """Raise ``NotFinite`` for the first loss of an epoch that is not finite."""
    if not (finite := losses.isfinite()).all():
        step = epoch * len(losses) + int((~finite).nonzero()[0]) + 1
        raise NotFinite(
            f"the loss is {losses[~finite][0]:g} at step {step:,} of {steps:,} "
            f"(epoch {epoch + 1}): lower learning_rate, or set precision to fp32"
        )


def dropout_mask(rows: int, features: int, rate: float, rng: torch.Generator) -> Tensor:
    """Random mask (rows, features), on the CPU, scaled so that its mean is 1."""
    if bernoulli_is_uniform():
        drawn = torch.empty(rows, features, dtype=torch.float64).uniform_(generator=rng)
        keep = (drawn < 1 - rate).to(torch.float32)
    else:
        keep = torch.empty(rows, features).bernoulli_(1 - rate, generator=rng)
    return keep.div_(1 - rate)


@cache
def bernoulli_is_uniform() -> bool:
    """Whether ``bernoulli_`` compares the float64 numbers of ``uniform_`` with the probability.

    It does, except with MKL on Intel processors. ``bernoulli_`` draws them one by one; drawing all
    of them at once gives the same masks in half the time.
    """
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    uniform = torch.empty(256, dtype=torch.float64).uniform_(generator=one) < 0.5
    return torch.equal(uniform, torch.empty(256).bernoulli_(0.5, generator=other).bool())
