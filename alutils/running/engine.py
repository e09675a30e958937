"""Runs cells, round by round, on a Dask cluster; the client alone writes records.

A task is one round: a worker gets cells and their history and returns the next round. So if a
worker dies or a run is killed, only the rounds in progress are lost.
"""

import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from distributed import Future, KilledWorker, wait
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError
from filelock import FileLock

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import StudyError
from alutils.records.record import PLACE, Record, final, place_of
from alutils.records.store import StateLost, Store
from alutils.running.checks import SelfCheckFailed
from alutils.running.cluster import cluster
from alutils.running.placement import Placement
from alutils.running.progress import Progress, Say
from alutils.running.workers import Workers
from alutils.strategies.custom import StrategyFailed
from alutils.strategies.own import BrokenContract
from alutils.waiting import Waiting

MAX_WORKER_DEATHS = 3
"""Worker deaths that a cell may have in one round; one more, and it fails."""
MAX_MISSED_CHECKS = 3
"""Checks in a row at which a job's worker may be missing before another gets the job."""
POLL_S = 1.0
"""Seconds between checks whether another run has released a cell, or workers have joined."""
FETCH_S = 60.0
"""Seconds to wait for a finished round to arrive, before checking on its worker."""
FETCHES = 10
"""Waits in a row for one round, from a worker that is there, before its cell fails."""
CELL_ERRORS = (ArithmeticError, BrokenContract, SelfCheckFailed, StrategyFailed)
"""Errors of a round that another worker would raise as well."""
CONNECTION_ERRORS = (CancelledError, CommClosedError, ClosedClientError)
"""What Dask raises when the scheduler is gone."""
Task = Callable[..., tuple[list[dict[str, Any]], dict[str, Any], bytes | None]]


class RunFailed(StudyError):
    """Some cells failed; the message names them. What finished is kept."""


@dataclass
class Job:
    """Cells that wait for the same next round, with their records and locks.

    ``worker`` computes that round; ``missed`` counts the checks at which the worker was missing,
    and ``late`` how often the round did not arrive within ``FETCH_S``. ``tried`` are the workers on
    which this round failed, ``without`` those on which any round of these cells failed.
    """

    cells: list[Cell]
    records: list[Record] = field(default_factory=list)
    locks: list[FileLock] = field(default_factory=list)
    deaths: int = 0
    worker: str = ""
    missed: int = 0
    late: int = 0
    tried: set[str] = field(default_factory=set)
    without: set[str] = field(default_factory=set)

    def lock(self, store: Store) -> list[Cell]:
        """Lock the cells and read their records; returns the cells that the job gives up.

        These are held by another run or, if several cells share their first round, have been given
        a round by another run in the meantime. Cells that another run has finished are dropped.
        """
        cells, self.cells, taken = self.cells, [], []
        for cell in cells:
            if (lock := store.hold(cell)) is None:
                taken.append(cell)
                continue
            try:
                record = store.recover(cell)
            except BaseException:
                lock.release()
                raise
            moved_on = len(cells) > 1 and record["rounds"]
            if record["status"] == "finished" or moved_on:
                lock.release()
                taken += [cell] if record["status"] != "finished" else []
                continue
            self.cells.append(cell)
            self.records.append(record)
            self.locks.append(lock)
        return taken

    def release(self) -> None:
        """Release the locks of the cells."""
        for lock in self.locks:
            lock.release()

    def apart(self) -> list["Job"]:
        """A job for each of the cells, to try the same round again."""
        rows = zip(self.cells, self.records, self.locks, strict=True)
        return [replace(self.of(*row), tried=set(self.tried)) for row in rows]

    def of(self, cell: Cell, record: Record, lock: FileLock) -> "Job":
        """A job for the next round of one of the cells, which avoids the same workers."""
        return Job([cell], [record], [lock], without=set(self.without))

    def pick(self, free: list[str], able: set[str]) -> str:
        """A free worker among those ``able`` to take cells; empty if all that qualify are busy.

        Workers on which no round of these cells failed qualify; if there are none, those on which
        this round did not fail; if there are none either, all.
        """
        avoided = next((bad for bad in (self.without, self.tried) if able - bad), set())
        return next((worker for worker in free if worker not in avoided), "")


def run(
    cells: list[Cell],
    task: Task,
    store: Store,
    code: dict[str, Any],
    placement: Placement,
    say: Say = print,
) -> None:
    """Finish every cell's record; raise ``RunFailed`` if some cells fail.

    Raises ``ParameterError`` if no scheduler answers; ``StudyError`` if local workers can't start,
    if no worker is suitable, if the scheduler is lost, or if there has been no worker for long;
    ``CanNotWrite`` if a record can't be written, and ``CanNotLock`` if a cell can't be locked. What
    was finished is kept.

    Parameters
    ----------
    store : where the records are kept, locked and written
    task : ``(cells, history, state) -> (a round per cell, provenance, state)``, sent to the
        workers; ``state`` is what a round passes to the next besides its record, or None
    code : the commit (``provenance.commit``), added to each record's provenance
    placement : where to compute: a running Dask scheduler's workers, or a local cluster
    say : called with one line per finished round
    """
    unfinished = store.unfinished(cells)
    if not unfinished:
        return
    progress = Progress(cells, store, say)
    _allow_files()
    try:
        with cluster(placement, say) as workers:
            study_run = Run(workers, task, store, code, progress, unfinished)
            study_run.to_the_end()
    except CONNECTION_ERRORS as error:
        raise StudyError(
            "the scheduler is gone; all finished rounds are kept: run the same command again"
        ) from error
    if failures := study_run.failures:
        raise RunFailed(f"{len(failures)} of {len(cells)} cells failed: {'; '.join(failures)}")


class Run:
    """One call of ``run``: waiting jobs, running jobs, and failed cells."""

    def __init__(
        self,
        workers: Workers,
        task: Task,
        store: Store,
        code: dict[str, Any],
        progress: Progress,
        cells: list[Cell],
    ):
        self.workers, self.task, self.store = workers, task, store
        self.code, self.progress = code, progress
        self.order = {cell.name: position for position, cell in enumerate(cells)}
        self.waiting = _jobs(cells, store)
        self.running: dict[Future, Job] = {}
        self.failures: list[str] = []
        self.slots: dict[str, int] = {}
        self.looked = -POLL_S
        self.wait_for_others = Waiting(progress.say)

    def to_the_end(self) -> None:
        """Submit, collect and write until no job is left."""
        try:
            while self.waiting or self.running:
                if time.monotonic() - self.looked >= POLL_S:
                    self.looked, self.slots = time.monotonic(), self.workers.slots()
                    self._take_back()
                self._submit()
                self._tell_held()
                if not self.running:
                    time.sleep(POLL_S)
                    continue
                for future in self._done():
                    if self._collect(future, self.running[future]):
                        del self.running[future]
        finally:
            for job in [*self.running.values(), *self.waiting]:
                job.release()
            with suppress(*CONNECTION_ERRORS, OSError, TimeoutError):
                self.workers.client.cancel(list(self.running), force=True)

    def _submit(self) -> None:
        """Send the next jobs to free workers; a cell that another run holds waits.

        The study's first cells go first, whatever finishes first: so seed after seed is completed.
        A job is sent to one chosen worker, so that a worker's death counts only against the job
        that it ran.
        """
        busy = Counter(job.worker for job in self.running.values())
        slots = self.slots.items()
        free = [worker for worker, count in slots for _ in range(count - busy[worker])]
        held: list[Job] = []
        try:
            while free and self.waiting:
                job = self.waiting.pop(0)
                try:
                    if not job.locks:
                        held += self._lock(job)
                    if job.cells and not (worker := job.pick(free, self._able())):
                        held.append(job)
                    elif job.cells:
                        free.remove(worker)
                        self._send(job, worker)
                except BaseException:
                    job.release()
                    raise
        finally:
            self._queue(held)

    def _lock(self, job: Job) -> list[Job]:
        """Lock a job's cells; returns jobs for those that it gives up."""
        cells, taken = job.cells, job.lock(self.store)
        left = {cell.name for cell in (*job.cells, *taken)}
        self.progress.elsewhere(cell for cell in cells if cell.name not in left)
        return _jobs(taken, self.store)

    def _able(self) -> set[str]:
        """The workers that take cells; others, such as those without a GPU, may take none."""
        return {worker for worker, count in self.slots.items() if count}

    def _queue(self, jobs: Iterable[Job]) -> None:
        """Let jobs wait, in the order of the study's cells."""
        for job in jobs:
            insort(self.waiting, job, key=lambda job: self.order[job.cells[0].name])

    def _tell_held(self) -> None:
        """Say who holds the remaining cells, if free workers have nothing else to wait for."""
        if self.running or not self.waiting or not any(self.slots.values()):
            self.wait_for_others.end()
            return
        cells = [cell for job in self.waiting for cell in job.cells]
        more = f", and {len(cells) - 1} more" if cells[1:] else ""
        self.wait_for_others.go_on(
            f"waiting for cells held by another run: {cells[0].name} "
            f"({self.store.holder(cells[0])}){more}; this run continues when that one ends (a "
            "notebook's run ends when its kernel is shut down)"
        )

    def _send(self, job: Job, worker: str) -> None:
        """Have a worker compute a job's next round."""
        job.worker, job.missed, job.late = worker, 0, 0
        try:
            state = self.store.load_state(job.cells[0], job.records[0])
        except StateLost as error:
            self._fail(job, str(error))
            return
        future = self.workers.submit(worker, self.task, job.cells, job.records[0]["rounds"], state)
        self.running[future] = job

    def _take_back(self) -> None:
        """Take back jobs whose worker has disappeared: another worker gets them (see ``_died``)."""
        for future, job in list(self.running.items()):
            job.missed = 0 if job.worker in self.slots or future.done() else job.missed + 1
            if job.missed > MAX_MISSED_CHECKS:
                future.cancel(force=True)
                self._died(job)
                del self.running[future]

    def _done(self) -> list[Future]:
        """Futures that are finished, failed or lost; waits up to ``POLL_S`` for the first."""
        try:
            return list(wait([*self.running], POLL_S, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            return []

    def _collect(self, future: Future, job: Job) -> bool:
        """Write what a worker returned, and queue the cells that have a next round.

        Returns whether the job is settled. It is not if a worker has finished a round but died
        before it was fetched: Dask then waits for that worker, until ``_take_back``.
        """
        try:
            rounds, provenance, state = future.result(timeout=FETCH_S)
        except CONNECTION_ERRORS:
            raise
        except KilledWorker:
            self._died(job)
            return True
        except Exception as error:  # whatever the task raised belongs to its cells, not to the run
            if isinstance(error, OSError) and future.status != "error":
                return self._late(job)
            self._refused(job, error)
            return True
        more = []
        for cell, record, lock, done in zip(job.cells, job.records, job.locks, rounds, strict=True):
            deaths = record["provenance"].get("worker_deaths", 0) + job.deaths
            _append(cell, record, done, provenance | self.code | {"worker_deaths": deaths})
            self.store.save_state(cell, record, state)
            self.store.save(cell, record)
            self.store.drop_states(cell, record)
            self.progress.round(cell, record, len(job.cells))
            if record["status"] == "finished":
                lock.release()
            else:
                more.append(job.of(cell, record, lock))
        self._queue(more)
        return True

    def _late(self, job: Job) -> bool:
        """Wait again for a finished round that is late; after too many waits, its cells fail."""
        job.late += 1
        reason = f"the round of {job.cells[0].name} can't be fetched from {job.worker}"
        if job.late < FETCHES:
            self.progress.say(f"{reason}: trying again ({job.late} of {FETCHES})")
            return False
        self._fail(job, f"{reason}: this machine must reach the addresses of all workers")
        return True

    def _died(self, job: Job) -> None:
        """Count a worker's death; the job is tried again, or fails after too many deaths."""
        job.deaths += 1
        self.looked = -POLL_S  # its worker is still among the slots
        if job.deaths > MAX_WORKER_DEATHS:
            self._fail(job, f"{job.deaths} workers died on it")
        else:
            self.progress.death(
                job.cells[0], job.records[0], f"{job.deaths} of {MAX_WORKER_DEATHS}"
            )
            self._queue([job])

    def _refused(self, job: Job, error: Exception) -> None:
        """Try a failed round on another worker, unless the cell itself is at fault.

        A worker may lack its GPU, its disk or the data, so that every cell fails on it.
        """
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        job.tried.add(job.worker)
        job.without.add(job.worker)
        others = self._able() - job.tried
        if isinstance(error, CELL_ERRORS) or len(job.tried) > 1 or not others:
            self._fail(job, reason)
            return
        name, number = job.cells[0].name, len(job.records[0]["rounds"]) + 1
        self.progress.say(
            f"{name}, round {number} failed on {job.worker} ({reason}): trying another worker"
        )
        self._queue([job])

    def _fail(self, job: Job, reason: str) -> None:
        """Note in the record that its cell failed, and why; its rounds are kept.

        If several cells share the round, only one may be at fault, so each is tried by itself.
        """
        if len(job.cells) > 1:
            self._queue(job.apart())
            return
        cell, record = job.cells[0], job.records[0]
        self.store.save(cell, record | {"status": "failed", "final": {"error": reason}})
        self.failures.append(f"{cell.name}, round {len(record['rounds']) + 1}: {reason}")
        job.release()


def _allow_files() -> None:
    """Let this process open as many files as the system allows: every cell that runs has a lock."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows, which has no such limit

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _jobs(cells: list[Cell], store: Store) -> list[Job]:
    """A job per group of cells without a round that differ only in the arm, and per other cell."""
    jobs: dict[str, Job] = {}
    for cell in cells:
        key = cell.name if store.facts(cell).rounds else cell.without_arm.name
        jobs.setdefault(key, Job([])).cells.append(cell)
    return list(jobs.values())


def _append(cell: Cell, record: Record, done: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Add a round to the record, with where and by which commit it was computed."""
    before = record["provenance"]
    if record["rounds"]:
        for key, fact in (("earlier_places", place_of), ("earlier_commits", _code)):
            earlier = before.get(key, [])
            if fact(before) != fact(provenance) and fact(before) not in earlier:
                before[key] = [*earlier, fact(before)]
    for key in set(PLACE) - provenance.keys():  # what was true only of earlier rounds
        before.pop(key, None)
    record["rounds"].append(done)
    whole = len(record["rounds"]) == cell.length
    record["status"] = "finished" if whole else "running"
    record["final"] = final(record) if whole else {}
    seconds = sum(value for key, value in done.items() if key.startswith("seconds_"))
    record["provenance"] |= provenance | {
        "wall_seconds": round(record["provenance"]["wall_seconds"] + seconds, 3)
    }


def _code(provenance: dict[str, Any]) -> str:
    """The commit that computed the rounds and, in brackets, what was changed on top of it."""
    commit, changed = provenance.get("commit", "unknown"), provenance.get("changed_since_commit")
    return f"{commit} ({', '.join(changed)} changed)" if changed else commit
