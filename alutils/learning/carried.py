"""What a round hands on to the next: weights, the optimiser's state, and predictions."""

import torch
from safetensors.torch import load, save
from torch import Tensor

from alutils.learning.network import Classifier, build
from alutils.protocol.cell import Cell

SHRINK, PERTURB = 0.4, 0.1
"""Share of the weights before, and of freshly drawn ones: the defaults of the code that Ash and
Adams published with arXiv 1910.08475 (``JordanAsh/warm_start``), there for ResNet-18 and Adam."""
PREFIX = "weights."


def weights(net: Classifier) -> dict[str, Tensor]:
    """A network's weights and batch-norm statistics under the names that ``restart`` reads."""
    return {PREFIX + key: value.contiguous() for key, value in net.state_dict().items()}


def restart(net: Classifier, state: bytes, cell: Cell, round_: int) -> None:
    """Put into a new ``net``, in place, the weights that its training starts from.

    ``state`` is what the round before handed on (see ``pack``). A warm start takes all of it.
    Shrink and perturb (Ash and Adams, arXiv 1910.08475) takes each parameter times ``SHRINK``, and
    adds that of another network times ``PERTURB``; batch-norm statistics start afresh, as they do
    in the authors' code. That other network is drawn anew every round, the same for every arm.
    """
    before = {
        key.removeprefix(PREFIX): value
        for key, value in load(state).items()
        if key.startswith(PREFIX)
    }
    if cell.start == "warm":
        net.load_state_dict(before)
        return
    device = net.head.weight.device
    other = build(cell, device, ("perturbation", round_))
    with torch.no_grad():
        for (name, parameter), noise in zip(
            net.named_parameters(), other.parameters(), strict=True
        ):
            parameter.copy_(before[name]).mul_(SHRINK).add_(noise, alpha=PERTURB)


MOMENTS = ("exp_avg", "exp_avg_sq")
PREDICTIONS = "predictions"


def pack(
    optimiser: torch.optim.Optimizer | None,
    net: Classifier | None = None,
    probs_N_C: Tensor | None = None,
) -> bytes:
    """Adam's moments and step counts, a network's weights, predictions, as safetensors.

    Each is left out where it is None.
    """
    states = optimiser.state_dict()["state"] if optimiser else {}
    tensors = {f"{i}.{key}": v.contiguous() for i, of in states.items() for key, v in of.items()}
    tensors |= weights(net) if net else {}
    return save(tensors | ({} if probs_N_C is None else {PREDICTIONS: probs_N_C.contiguous()}))


def predictions(state: bytes) -> Tensor:
    """The predictions (N, C) that ``pack`` was given."""
    return load(state)[PREDICTIONS]


def unpack(state: bytes, optimiser: torch.optim.Optimizer) -> None:
    """Put what ``pack`` gave of an Adam into one over parameters of the same shapes.

    Moments get their parameter's memory layout, which the fused update takes for granted.
    """
    tensors = load(state)
    parameters = optimiser.param_groups[0]["params"]
    states = {
        i: {
            "step": tensors[f"{i}.step"],
            **{key: torch.empty_like(p).copy_(tensors[f"{i}.{key}"]) for key in MOMENTS},
        }
        for i, p in enumerate(parameters)
    }
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": states, "param_groups": groups})
