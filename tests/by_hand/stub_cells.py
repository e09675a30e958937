"""What the engine itself costs: 1,000 cells that train nothing, on two workers; run by hand.

``python -m tests.by_hand.stub_cells [CELLS]`` prints milliseconds a cell, and the memory of the
process that is client and scheduler as cells finish. A second call must submit nothing.
"""

import os
import sys
import tempfile
import time

import psutil

from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.running import engine
from alutils.running.placement import Placement
from tests.running.tasks import stub
from tests.running.test_engine import never


def main(count: int) -> None:
    """Run the cells and print what was measured."""
    store, process, finished, begin = Store("stub"), psutil.Process(), 0, 0.0
    store.prepare()
    cells = [
        Cell(dataset="digits", arm="random", seed=seed, first_labels=128, rounds=1, figure="stub")
        for seed in range(count)
    ]

    def say(line: str) -> None:
        nonlocal finished, begin
        if "accuracy" not in line:
            return
        finished += 1
        if finished == 1:
            begin = time.perf_counter()
        if finished % (max(1, count // 10)) == 0:
            memory = process.memory_info().rss / 2**20
            spent = 1000 * (time.perf_counter() - begin) / (finished - 1)
            print(f"{finished:>6} cells: {spent:5.1f} ms a cell, {memory:,.0f} MB", flush=True)

    engine.run(cells, stub, store, {}, Placement(workers=2), say)
    again = time.perf_counter()
    engine.run(cells, never, store, {}, Placement(workers=2), say)
    print(f"a second call: nothing submitted, {time.perf_counter() - again:.1f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.environ["ALUTILS_OUTPUTS"] = place
        main(int(*sys.argv[1:] or [1000]))
