"""Where a round's training starts: from the seed's weights, or from those of the round before."""

import torch
from safetensors.torch import load
from torch import Tensor

from alutils.model import Net, build
from alutils.protocol import Protocol

SHRINK, PERTURB = 0.4, 0.1
"""Share of the weights before, and of freshly drawn ones: the defaults of the code that Ash and
Adams published with arXiv 1910.08475 (``JordanAsh/warm_start``), there for ResNet-18 and Adam."""
PREFIX = "weights."


def weights(net: Net) -> dict[str, Tensor]:
    """A network's weights and batch-norm statistics under the names that ``restart`` reads."""
    return {PREFIX + key: value.contiguous() for key, value in net.state_dict().items()}


def restart(
    net: Net, state: bytes, protocol: Protocol, dataset: str, seed: int, round_: int
) -> None:
    """Put into a new ``net``, in place, the weights that its training starts from.

    ``state`` is what the round before handed on (see ``train.pack``). A warm start takes all of it.
    Shrink and perturb (Ash and Adams, arXiv 1910.08475) takes each parameter times ``SHRINK``, and
    adds that of another network times ``PERTURB``; batch-norm statistics start afresh, as they do
    in the authors' code. That other network is drawn anew every round, the same for every arm.
    """
    before = {
        key.removeprefix(PREFIX): value
        for key, value in load(state).items()
        if key.startswith(PREFIX)
    }
    if protocol.start == "warm":
        net.load_state_dict(before)
        return
    device = net.head.weight.device
    other = build(protocol, dataset, seed, device, ("perturbation", round_))
    with torch.no_grad():
        for (name, parameter), noise in zip(
            net.named_parameters(), other.parameters(), strict=True
        ):
            parameter.copy_(before[name]).mul_(SHRINK).add_(noise, alpha=PERTURB)
