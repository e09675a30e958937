"""What a run reports: one line per round; in JupyterLab, one display updated in place."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from IPython.display import Pretty, ProgressBar, display

from alutils.protocol.cell import Cell
from alutils.records.record import Record
from alutils.records.store import Store
from alutils.running.workload import by_cost, step_cost, work
from alutils.waiting import in_jupyterlab

Say = Callable[[str], None]
SHOWN = 8
"""Lines that the display in JupyterLab keeps."""


@contextmanager
def progress_reporter(say: Say | None) -> Iterator[Say]:
    """The function that a run reports its lines with.

    That is ``say`` if given; else, in JupyterLab, a display that is updated in place, and otherwise
    ``print``.
    """
    if say or not in_jupyterlab():
        yield say or print
        return
    live = Live()
    try:
        yield live
    finally:
        live.close()


class Live:
    """A bar and the last lines, in one display; ``close`` keeps only the last line."""

    def __init__(self):
        self.lines: deque[str] = deque(maxlen=SHOWN)
        self.bar = ProgressBar(1000)
        self.bar.display()
        self.text = display(Pretty(""), display_id=True)

    def __call__(self, line: str) -> None:
        """Show a line under those before it."""
        self.lines.append(line)
        self.text.update(Pretty("\n".join(self.lines)))

    def advance(self, share: float) -> None:
        """Set the bar to a fraction of the total, 0 to 1."""
        self.bar.progress = round(1000 * share)

    def close(self) -> None:
        """Keep only the last line."""
        self.lines = deque([*self.lines][-1:], maxlen=SHOWN)
        self.text.update(Pretty("\n".join(self.lines)))


class Progress:
    """One line per finished round, with the time left at the pace so far."""

    def __init__(self, cells: list[Cell], store: Store, say: Say):
        self.say = say
        self.total = len(cells)
        self.finished = sum(map(store.is_complete, cells))
        groups = by_cost(cells).values()
        self.left = sum(step_cost(group[0]) * work(group, store).steps for group in groups)
        self.each = {cell.name: step_cost(cell) * work([cell], store).steps for cell in cells}
        self.done, self.start = 0.0, time.monotonic()

    def elsewhere(self, cells: Iterable[Cell]) -> None:
        """Count cells that another run has finished since this one began."""
        for cell in cells:
            self.finished += 1
            self.left = max(0.0, self.left - self.each[cell.name])

    def round(self, cell: Cell, record: Record, sharing: int = 1) -> None:
        """Report the last round of a record, whose training ``sharing`` cells share."""
        done = record["rounds"][-1]
        spent = step_cost(cell) * done["steps"] / sharing
        self.left -= spent
        self.done += spent
        self.finished += record["status"] == "finished"
        shown = done.get("test_accuracy", (done["heldout_accuracy"] or [float("nan")])[-1])
        seconds = self.left * (time.monotonic() - self.start) / self.done
        arm, _ = cell.position(len(record["rounds"]) - 1)
        self.say(
            f"{cell.dataset:7} {arm:12} seed {cell.seed:<3} "
            f"round {len(record['rounds']):>3}/{cell.length:<3} {done['labels']:>6,} labels  "
            f"accuracy {100 * shown:5.2f} %  {self.finished:>3}/{self.total} cells  "
            f"{duration(seconds)} left"
        )
        if isinstance(self.say, Live):
            self.say.advance(self.done / (self.done + self.left))

    def death(self, cell: Cell, record: Record, deaths: str) -> None:
        """Report that a worker died while it computed the record's next round."""
        number = len(record["rounds"]) + 1
        self.say(f"a worker died in round {number} of {cell.name}: trying again ({deaths})")


def duration(seconds: float) -> str:
    """Hours and minutes."""
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
