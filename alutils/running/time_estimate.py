"""How long a run will take, from a few timed steps."""

import time
from collections.abc import Iterable

from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.running.progress import duration
from alutils.running.workload import by_cost, step_cost, work

STEPS, IMAGES = 20, 2_000
"""Training steps and scored images that are timed; fewer with the 3x3 stem, as they cost more."""
LONG = 2_000
"""Steps from which a run says how long it will take; 2.5 minutes at 75 ms on one worker."""
NOT_COUNTED = "without the time for choosing (over half as much again on an encoder's features)"
"""What no time estimate includes; on features, none to most of an arm's time in kept records."""


def measure(cell: Cell, device: str) -> tuple[float, float] | None:
    """Seconds per training step and per scored image, on one worker of this machine.

    None if the cell's training diverges in the few steps that are timed, which have a shorter
    schedule than its own. This process's settings and memory are left as they were.
    """
    from alutils.learning import process_settings
    from alutils.learning.training import NotFinite
    from alutils.running.round import forget_images

    try:
        with process_settings.restored_afterwards():
            return _measure(cell, device)
    except NotFinite:
        return None
    finally:
        forget_images()


def _measure(cell: Cell, device: str) -> tuple[float, float]:
    from alutils.learning import scoring
    from alutils.learning.devices import make_deterministic
    from alutils.running.round import CurrentRound

    cost = max(1, step_cost(cell))
    steps = max(2, int(STEPS / cost))
    first = min(cell.schedule_of_labels()[0], steps // 2 * cell.batch_size)
    fields = {"arm": "random", "labels_of": "", "label_counts": (), "sequence": ()}
    fields |= {"first_labels": first, "rounds": 1}
    per_epoch = first // cell.batch_size
    timed = cell.model_copy(update=fields | {"epochs": -(-steps // per_epoch), "heldout_every": 0})
    current = CurrentRound(timed, [], make_deterministic(device))
    current.train(None)
    begin = time.perf_counter()
    steps = current.train(None).steps
    middle = time.perf_counter()
    images = min(int(IMAGES / cost), len(current.images))
    scoring.predict(current.net, current.images[:images])
    return (middle - begin) / steps, (time.perf_counter() - middle) / images


def remaining_work(cells: Iterable[Cell], store: Store, device: str, processes: int) -> str:
    """What is left of a run, in one line, with its hours if it is long and computed here.

    ``processes`` local workers share it; 0 if it is computed elsewhere. The hours are left out if
    some of it can't be timed.
    """
    cells = list(cells)
    left = work(cells, store)
    rest = f"to do: {left.cells:,} cells, {left.rounds:,} rounds, {left.steps:,} steps"
    if left.steps < LONG or not processes:
        return rest
    hours = 0.0
    for group in by_cost(cells).values():
        if (todo := work(group, store)).steps:
            if (seconds := measure(group[0], device)) is None:
                return rest
            hours += todo.hours(*seconds)
    noun = "worker" if processes == 1 else "workers"
    time_left = duration(3600 * hours / processes)
    return f"{rest}; about {time_left} with {processes} {noun}, {NOT_COUNTED}"
