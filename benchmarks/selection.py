"""What choosing costs: seconds and memory of one round of a strategy, from features onwards.

``selection.py N BUDGET STRATEGY`` prints them as one line of JSON. Features are synthetic, of ten
overlapping classes, so that nothing but the choice is measured; probabilities and MC passes are
the product of these features and a last layer that separates the classes.
"""

import json
import sys
import time

import torch
from peak import peak_gb
from torch import Tensor

from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.cell import Cell
from alutils.strategies.own import STRATEGIES
from alutils.strategies.view import PoolView

CPU = torch.device("cpu")
FEATURES = 512
"""Features of ResNet-18 before its last layer."""
NOISE = 3.0
"""Spread within a class; the means of two classes are about 16 apart."""


def synthetic_view(
    count: int, labelled: int, seed: int = 0, device: torch.device = CPU
) -> PoolView:
    """A view of ``count`` candidates whose features need no images."""
    cell = Cell(dataset="cifar10", arm="random", seed=seed, first_labels=64)
    net = build(cell, device)
    rng = stream(seed, "synthetic")
    means_C_D = torch.randn(10, FEATURES, generator=rng).div_(2)
    with torch.no_grad():
        net.head.weight.copy_(means_C_D / 16)
    view = PoolView(
        net, torch.empty(0), torch.arange(count), torch.arange(labelled),
        mc_passes=20, dropout=0.5, clusters=12, rng=stream(seed, "mc"),
    )  # fmt: skip
    view.__dict__["embeddings_N_D"] = _features(means_C_D, count, rng).to(device)
    view.__dict__["labelled_embeddings_M_D"] = _features(means_C_D, labelled, rng).to(device)
    return view


def _features(means_C_D: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Rows (count, D), made in place: they are most of the memory."""
    rows_N_D = torch.empty(count, FEATURES)
    for part in rows_N_D.split(10_000):
        part.normal_(0, NOISE, generator=rng)
        part += means_C_D[torch.randint(10, (len(part),), generator=rng)]
    return rows_N_D.relu_()


def measure(count: int, budget: int, strategy: str) -> dict[str, float]:
    """Seconds, and the process's peak memory (GB) beyond what it held before the choice."""
    torch.set_num_threads(1)
    view = synthetic_view(count, budget)
    before = peak_gb()
    start = time.perf_counter()
    picks = STRATEGIES[strategy](view, budget, stream(0, "acquisition"))
    seconds = time.perf_counter() - start
    assert len(picks.unique()) == budget
    return {"seconds": seconds, "memory": peak_gb() - before}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
