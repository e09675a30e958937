"""State passed from one round to the next: weights, optimiser state, and predictions."""

import torch
from safetensors.torch import load, save
from torch import Tensor

from alutils.learning.network import Classifier, build
from alutils.protocol.cell import Cell

SHRINK, PERTURB = 0.4, 0.1
"""Factors for the previous weights and for freshly initialised ones: the defaults of the code that
Ash and Adams published with arXiv 1910.08475 (``JordanAsh/warm_start``), for ResNet-18 and Adam."""
PREFIX = "weights."


def weights(net: Classifier) -> dict[str, Tensor]:
    """A network's weights and batch-norm statistics under the names that ``warm_start`` reads."""
    return {PREFIX + key: value.contiguous() for key, value in net.state_dict().items()}


def warm_start(net: Classifier, state: bytes, cell: Cell, round_: int) -> None:
    """Set the initial weights of a new ``net`` from the previous round's, in place.

    ``state`` comes from that round (see ``pack``). If ``cell.start`` is "warm", its weights and
    batch-norm statistics are copied. Otherwise, it is "shrink-perturb" (Ash and Adams, arXiv
    1910.08475), which multiplies each parameter by ``SHRINK`` and adds ``PERTURB`` times that of
    another network; batch-norm statistics start afresh, as in the authors' code. The other network
    is drawn again every round, the same one for every arm.
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
    """Serialise Adam's moments and step counts, weights and predictions as safetensors.

    What is None is left out.
    """
    states = optimiser.state_dict()["state"] if optimiser else {}
    tensors = {f"{i}.{key}": v.contiguous() for i, of in states.items() for key, v in of.items()}
    tensors |= weights(net) if net else {}
    return save(tensors | ({} if probs_N_C is None else {PREDICTIONS: probs_N_C.contiguous()}))


def predictions(state: bytes) -> Tensor:
    """The predictions (N, C) that ``pack`` was given."""
    return load(state)[PREDICTIONS]


def unpack(state: bytes, optimiser: torch.optim.Optimizer) -> None:
    """Load the Adam state from ``pack`` into an Adam over parameters of the same shapes.

    Moments get their parameter's memory layout, which the fused update relies on.
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
