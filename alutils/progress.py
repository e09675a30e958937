"""What a run says while it runs."""

import time
from collections.abc import Callable

from alutils.protocol import Cell
from alutils.results import Record, Store


class Progress:
    """One line a finished round, with the time left at the pace so far."""

    def __init__(self, cells: list[Cell], store: Store, say: Callable[[str], None]):
        self.say = say
        self.total = len(cells)
        records = [store.load(cell) for cell in cells]
        self.finished = sum(record["status"] == "finished" for record in records)
        left = [sum(c.steps()[len(r["rounds"]) :]) for c, r in zip(cells, records, strict=True)]
        self.left, self.done, self.start = sum(left), 0, time.monotonic()

    def round(self, cell: Cell, record: Record) -> None:
        """Report the last round of a record."""
        done = record["rounds"][-1]
        self.left -= done["steps"]
        self.done += done["steps"]
        self.finished += record["status"] == "finished"
        shown = done.get("test_accuracy", (done["heldout_accuracy"] or [float("nan")])[-1])
        seconds = self.left * (time.monotonic() - self.start) / self.done
        arm, _ = cell.position(len(record["rounds"]) - 1)
        self.say(
            f"{cell.dataset:8}{arm:12} seed {cell.seed:<3} "
            f"round {len(record['rounds']):>3}/{cell.length:<3} {done['labels']:>6,} labels  "
            f"accuracy {100 * shown:5.2f} %  {self.finished:>3}/{self.total} cells  "
            f"{_duration(seconds)} left"
        )

    def death(self, cell: Cell, record: Record, deaths: str) -> None:
        """Report that a worker died while it computed the record's next round."""
        number = len(record["rounds"]) + 1
        self.say(f"a worker died in round {number} of {cell.name}: trying again ({deaths})")


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
