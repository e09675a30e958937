"""Trainings in the background, one after another, so that answering never waits for one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import torch

from alutils.labelling.batches import TrainingResult, snapshot, train_and_choose
from alutils.labelling.entries import TAKEN_OVER, TURNS, Entry
from alutils.labelling.pool import FeaturePool
from alutils.labelling.settings import Settings


class Trainings:
    """The trainings of one ledger by number, each computed once, by one thread.

    Training ``number`` uses the first ``number`` times ``batch`` turns, whenever it runs: the lines
    of a ledger up to there never change.

    Parameters
    ----------
    pool, settings : what is labelled, and how images are chosen
    entries : the ledger's lines, of which more may be added later
    say : called with a message about a failed training
    """

    def __init__(
        self,
        pool: FeaturePool,
        settings: Settings,
        entries: Sequence[Entry],
        say: Callable[[str], None],
    ):
        self.pool, self.settings, self.entries, self.say = pool, settings, entries, say
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="training")
        self._batches: dict[int, Future[TrainingResult]] = {}
        self._looks: dict[int, Future[TrainingResult]] = {}
        self._failed: set[int] = set()

    def start(self, number: int) -> Future[TrainingResult]:
        """The training of that number, started if it was not before."""
        if number not in self._batches:
            self._batches[number] = self._worker.submit(self._compute, number, True)
        return self._batches[number]

    def begin(self, number: int) -> None:
        """Start the training of that number; if no thread can run it, report that once."""
        try:
            self.start(number)
        except RuntimeError as error:
            self._say_failed(number, error)

    def warm_up(self) -> None:
        """Have the worker import what a process's first optimiser needs, which takes seconds."""
        self._worker.submit(torch.optim.Adam, [torch.zeros(1)])

    def get(self, number: int) -> TrainingResult:
        """Wait for a training and return its result; raises what it raised."""
        return self.start(number).result()

    def is_running(self, number: int) -> bool:
        """Whether the training of that number was started and is not finished."""
        return number in self._batches and not self._batches[number].done()

    def latest(self, due: int, above: int = -1, wait: bool = False) -> TrainingResult | None:
        """The latest finished training with a number above ``above`` and up to ``due``, or None.

        With ``wait``, unfinished ones are waited for. A failed one is reported once.
        """
        for number in range(due, above, -1):
            future = self.start(number) if wait else self._batches.get(number)
            if future is None or not (wait or future.done()):
                continue
            if (error := future.exception()) is None:
                return future.result()
            self._say_failed(number, error)
        return None

    def look_back(self) -> None:
        """Compute what stopping rules read of earlier trainings, without choosing images.

        They run one by one, so that a training that is needed waits for at most one of them.
        Trainings are left out if all answers from there to the next one were taken over, so that no
        image was asked for by them.
        """
        for number in self._asked_by(range(1, max(self._batches))):
            if number not in self._looks and number not in self._batches:
                with suppress(RuntimeError):  # closed meanwhile
                    self._looks[number] = self._worker.submit(self._look, number)
                return

    def known(self) -> list[TrainingResult]:
        """The finished trainings that have a head, by number."""
        futures = self._looks | self._batches
        done = [futures[i] for i in sorted(futures) if futures[i].done()]
        batches = [future.result() for future in done if not _fails(future)]
        return [batch for batch in batches if batch.head]

    def wait(self) -> None:
        """Wait until nothing is being computed."""
        while waiting := [
            f for f in (*self._batches.values(), *self._looks.values()) if not f.done()
        ]:
            waiting[0].exception()

    def close(self) -> None:
        """Start no more trainings, and wait for the running one."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _asked_by(self, numbers: Iterable[int]) -> Iterator[int]:
        """Trainings after which, before the next one, some answer was not taken over."""
        size = self.settings.batch
        turns = [entry.asked for entry in self.entries if entry.action in TURNS]
        for number in numbers:
            if any(asked != TAKEN_OVER for asked in turns[number * size : (number + 1) * size]):
                yield number

    def _say_failed(self, number: int, error: BaseException) -> None:
        if number not in self._failed:
            self._failed.add(number)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.say(f"training {number} failed ({reason}): the previous model stays in use")

    def _look(self, number: int) -> TrainingResult:
        try:
            return self._compute(number, False)
        finally:
            self.look_back()  # before this one is over, so that ``wait`` sees the next

    def _compute(self, number: int, choose: bool) -> TrainingResult:
        entries = tuple(self.entries)
        now = snapshot(self.pool, self.settings, entries, number)
        return train_and_choose(self.pool, self.settings, now, choose)


def _fails(future: Future[TrainingResult]) -> bool:
    """Whether a finished training has no result."""
    return future.cancelled() or future.exception() is not None
