"""Training a network on a labelled set, and predicting with it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor

from alutils.augmentation import crop_flip
from alutils.model import FEATURES, Net
from alutils.protocol import Protocol
from alutils.start import weights
from alutils.streams import stream

CHUNK = 500
"""Images a scoring chunk; activations of one take about 150 MB."""
ONE_CYCLE_WARM_UP = 0.25
MOMENTUM = 0.9
"""Of SGD, after Nesterov."""
MOMENTS = ("exp_avg", "exp_avg_sq")


class NotFinite(ArithmeticError):
    """The training loss, or a weight, left the real numbers."""


@dataclass(frozen=True)
class Training:
    """What one training leaves behind beside the weights."""

    steps: int
    train_accuracy: float
    heldout_accuracy: list[float]
    optimiser: torch.optim.Optimizer = field(compare=False, repr=False)


def learning_rate(protocol: Protocol, step: int, steps: int) -> float:
    """Rate at ``step`` of ``steps``: constant, one cycle, or half a cosine.

    One cycle (after Smith and Topin, arXiv 1708.07120, momentum fixed): linear from 0 to the peak
    in the first quarter, to 0 again in the rest. Cosine (Loshchilov and Hutter, arXiv 1608.03983,
    without restarts or warm-up): from the peak towards 0, step by step.
    """
    if protocol.schedule == "constant":
        return protocol.learning_rate
    done = step / steps
    if protocol.schedule == "cosine":
        return protocol.learning_rate * (1 + math.cos(math.pi * done)) / 2
    rise, fall = done / ONE_CYCLE_WARM_UP, (1 - done) / (1 - ONE_CYCLE_WARM_UP)
    return protocol.learning_rate * min(rise, fall)


def make_optimiser(net: Net, protocol: Protocol) -> torch.optim.Optimizer:
    """Adam, or SGD with Nesterov momentum, over all parameters.

    Weight decay is decoupled from Adam (AdamW; Loshchilov and Hutter, arXiv 1711.05101): a step
    shrinks a parameter by the rate times ``weight_decay``. With SGD it is the plain L2 penalty.
    Biases and batch norms are decayed as all else is.
    """
    fused = net.head.weight.device.type != "mps"
    options = {"lr": protocol.learning_rate, "weight_decay": protocol.weight_decay, "fused": fused}
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(net.parameters(), momentum=MOMENTUM, nesterov=True, **options)
    kind = torch.optim.AdamW if protocol.weight_decay else torch.optim.Adam
    return kind(net.parameters(), **options)


def train(
    net: Net,
    images: Tensor,
    labels: Tensor,
    protocol: Protocol,
    seed: int,
    round_: int,
    heldout: tuple[Tensor, Tensor] | None = None,
    state: bytes | None = None,
) -> Training:
    """Train ``net`` in place, from the weights that it has, with cross-entropy.

    Parameters
    ----------
    images, labels : uint8 (N, C, H, W) and int64 (N,), on the device of ``net``
    seed, round_ : name the random streams of batches, dropout masks and crops
    heldout : images and labels judged every ``protocol.heldout_every`` epochs
    state : of the round before (see ``pack``), whose Adam to go on from; None starts afresh

    Raises ``NotFinite`` when the loss does. An incomplete last batch is dropped.
    """
    batches = stream(seed, "batches", round_)
    masks = stream(seed, "dropout", round_)
    crops = stream(seed, "augmentation", round_)
    per_epoch = len(labels) // protocol.batch_size
    steps = per_epoch * protocol.epochs
    optimiser = make_optimiser(net, protocol)
    if state and protocol.adam_state != "fresh":
        unpack(state, optimiser)
    heldout_accuracy = []
    for epoch in range(protocol.epochs):
        net.train()
        order = torch.randperm(len(labels), generator=batches)[: per_epoch * protocol.batch_size]
        order = order.to(labels.device).view(per_epoch, protocol.batch_size)
        right = torch.zeros((), device=labels.device)
        losses = torch.zeros(per_epoch, device=labels.device)
        for i, batch in enumerate(order):
            rate = learning_rate(protocol, epoch * per_epoch + i, steps)
            keep = None
            if protocol.dropout:
                mask = dropout_mask(protocol.batch_size, protocol.dropout, masks)
                keep = mask.to(labels.device)
            shown = images[batch]
            if protocol.augmentation == "crop-flip":
                shown = crop_flip(shown, crops)
            losses[i], good = _step(net, optimiser, rate, shown, labels[batch], keep)
            right += good
        _check_losses(losses, epoch, steps)
        if heldout and protocol.heldout_every and (epoch + 1) % protocol.heldout_every == 0:
            heldout_accuracy.append(accuracy(predict(net, heldout[0]), heldout[1]))
    if not all(tensor.isfinite().all() for tensor in net.state_dict().values()):
        raise NotFinite(f"the weights are not finite after {steps:,} steps: lower learning_rate")
    net.eval()
    return Training(steps, float(right) / order.numel(), heldout_accuracy, optimiser)


def _step(
    net: Net,
    optimiser: torch.optim.Optimizer,
    rate: float,
    images: Tensor,
    labels: Tensor,
    keep: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One step on a batch: its loss, and how many of its images were right before it."""
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


def pack(optimiser: torch.optim.Optimizer | None, net: Net | None = None) -> bytes:
    """Adam's moments and step counts, a network's weights, or both, as safetensors."""
    states = optimiser.state_dict()["state"] if optimiser else {}
    tensors = {f"{i}.{key}": v.contiguous() for i, one in states.items() for key, v in one.items()}
    return save(tensors | (weights(net) if net else {}))


def unpack(state: bytes, optimiser: torch.optim.Optimizer) -> None:
    """Put what ``pack`` gave of an Adam into one over parameters of the same shapes.

    Moments get their parameter's memory layout, which the fused update takes for granted.
    """
    found = load(state)
    parameters = optimiser.param_groups[0]["params"]
    states = {
        i: {
            "step": found[f"{i}.step"],
            **{key: torch.empty_like(p).copy_(found[f"{i}.{key}"]) for key in MOMENTS},
        }
        for i, p in enumerate(parameters)
    }
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": states, "param_groups": groups})


def dropout_mask(rows: int, rate: float, rng: torch.Generator) -> Tensor:
    """Random mask (rows, 512), on the CPU, scaled so that its mean is 1."""
    return torch.empty(rows, FEATURES).bernoulli_(1 - rate, generator=rng).div_(1 - rate)


def chunks(net: Net, images: Tensor, indices: Tensor | None = None) -> Iterator[Tensor]:
    """Features (at most ``CHUNK``, 512) of the images, in their order, in eval mode.

    Where memory runs out, a chunk is halved and tried again.
    """
    net.eval()
    total = len(images if indices is None else indices)
    start, size = 0, CHUNK
    while start < total:
        part = slice(start, start + size)
        try:
            with torch.inference_mode():
                features = net.features(images[part] if indices is None else images[indices[part]])
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
            size //= 2
            continue
        yield features
        start += size


def out_of_memory(error: Exception) -> bool:
    """Whether PyTorch says in this way that host or device memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    told = str(error).lower()
    return any(one in told for one in ("can't allocate memory", "out of memory", "alloc_failed"))


def predict(net: Net, images: Tensor, indices: Tensor | None = None) -> Tensor:
    """Class probabilities (N, 10) of one deterministic pass, dropout off, on the CPU."""
    with torch.inference_mode():
        return torch.cat(
            [net.head(features).softmax(1).cpu() for features in chunks(net, images, indices)]
        )


def accuracy(probs_N_C: Tensor, labels_N: Tensor) -> float:
    """Share of right predictions, 0 to 1."""
    return (probs_N_C.argmax(1) == labels_N.cpu()).double().mean().item()


@dataclass(frozen=True)
class Reliability:
    """Predictions by confidence in equal-width bins: how many, and their sums (float64)."""

    count: Tensor
    confidence: Tensor
    right: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al., arXiv 1706.04599)."""
        return ((self.right - self.confidence).abs().sum() / self.count.sum()).item()


def reliability(probs_N_C: Tensor, labels_N: Tensor, bins: int = 15) -> Reliability:
    """The predictions of ``probs_N_C``, held against int64 ``labels_N``, by confidence."""
    confidence, predicted = probs_N_C.double().max(1)
    bin_N = (confidence * bins).long().clamp_max(bins - 1)

    def add(values_N: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.double).index_add_(0, bin_N, values_N.double())

    return Reliability(
        add(torch.ones_like(confidence)), add(confidence), add(predicted == labels_N.cpu())
    )


def judge(probs_N_C: Tensor, labels_N: Tensor, bins: int = 15) -> dict[str, float]:
    """Accuracy, mean negative log-likelihood (nats) and expected calibration error."""
    labels_N = labels_N.cpu()
    return {
        "test_accuracy": accuracy(probs_N_C, labels_N),
        "test_nll": F.nll_loss(probs_N_C.double().clamp_min(1e-12).log(), labels_N).item(),
        "test_ece": reliability(probs_N_C, labels_N, bins).error,
    }
