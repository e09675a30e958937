"""How cost grows with the pool: time and memory of scoring and selecting N candidates.

``growth.py DATASET N STRATEGY`` prints them as one line of JSON. The candidates are real images,
repeated, so that images take the same memory whatever N is.
"""

import json
import sys

import torch
from peak import peak_gb

from alutils.learning import data
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.cell import Cell
from alutils.running.round import Clock
from alutils.strategies.own import STRATEGIES
from alutils.strategies.view import PoolView


def measure(dataset: str, count: int, strategy: str) -> dict[str, float]:
    """Seconds, and the process's peak memory (GB) beyond images and (N, 10) results."""
    torch.set_num_threads(1)
    cell = Cell(dataset=dataset, arm=strategy, seed=0, first_labels=64, precision="bf16")
    images = data.load(dataset).train_images
    images.flatten()[::1024].sum()  # touch every page, so that all images are in memory
    net = build(cell, torch.device("cpu"))
    candidates = torch.arange(count) % len(images)
    clock = Clock()
    view = PoolView(
        net, images, candidates, candidates[:0], 20, 0.5, 12, stream(0, "mc"),
        scoring=lambda: clock("seconds_score"),
    )  # fmt: skip
    budget = count // 100
    with clock("seconds_select"):
        picks = STRATEGIES[strategy](view, budget, stream(0, "acquisition"))
    assert len(picks.unique()) == budget
    results = count * 10 * 4 / 2**30
    return {
        "scoring": clock.spent["seconds_score"],
        "selecting": clock.spent["seconds_select"],
        "memory": peak_gb() - images.nbytes / 2**30 - results,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
