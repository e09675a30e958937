"""Runs cells, round by round, on a Dask cluster; the client alone writes records.

A task is one round: a worker gets cells and their history and gives back the next round. So a
worker that dies, or a run that is killed, costs the rounds in flight and no more.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, KilledWorker, LocalCluster, wait
from filelock import FileLock, Timeout

from alutils.parameters import StudyError
from alutils.protocol import Cell
from alutils.results import Record, Store

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Large tensors from the heap, not from fresh pages each step: 10 % faster steps on the CPU.
    "MALLOC_MMAP_MAX_": 0,
    "MALLOC_TRIM_THRESHOLD_": 2**32,
    "MALLOC_TOP_PAD_": 2**28,
    "DASK_LOGGING__DISTRIBUTED": "error",
}
DEATHS = 3
"""Workers that a cell may lose; with the next one it has failed."""
PATIENCE = 3
"""Looks in a row at which a job's worker is missing before the job is given to another."""
POLL_S = 1.0
"""How often a run looks whether another run has let go of a cell, or workers have joined."""

Task = Callable[..., tuple[list[dict[str, Any]], dict[str, Any], bytes | None]]


class RunFailed(StudyError):
    """Some cells failed; the message names them. What finished is kept."""


@dataclass
class Job:
    """Cells that await the same next round, with their records and locks.

    ``worker`` computes it; ``missed`` counts the looks at which that worker was not there.
    """

    cells: list[Cell]
    records: list[Record] = field(default_factory=list)
    locks: list[FileLock] = field(default_factory=list)
    deaths: int = 0
    worker: str = ""
    missed: int = 0


def run(
    cells: list[Cell],
    task: Task,
    store: Store,
    facts: dict[str, Any],
    workers: int = 0,
    scheduler: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Bring every cell's record to its end; raise ``RunFailed`` when some can't be.

    Parameters
    ----------
    task : ``(cells, history, state) -> (a round per cell, provenance, state)``, sent to the
        workers; ``state`` is what a round hands on to the next beside its record, or None
    facts : what the client knows of the run, added to each record's provenance
    workers : local worker processes, 0 for one a core; unused with a scheduler
    scheduler : address of a running Dask scheduler; without one, a local cluster is started
    say : gets one line a finished round
    """
    waiting = deque(_jobs([cell for cell in cells if not store.finished(cell)], store))
    if not waiting:
        return
    progress = Progress(cells, store, say)
    failures: list[str] = []
    running: dict[Any, Job] = {}
    with cluster(workers, scheduler) as client:
        try:
            while waiting or running:
                _submit(client, task, store, waiting, running)
                if not running:
                    time.sleep(POLL_S)
                    continue
                waiting.extendleft(_left_alone(client, running))
                for future in _done(running):
                    more = _collect(future, running[future], store, facts, progress, failures)
                    del running[future]
                    waiting.extendleft(reversed(more))
        finally:
            client.cancel(list(running), force=True)
            for job in [*running.values(), *waiting]:
                _release(job)
    if failures:
        raise RunFailed(f"{len(failures)} of {len(cells)} cells failed: {'; '.join(failures)}")


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

    def death(self, job: Job) -> None:
        """Report that a worker died while it computed a job's round."""
        self.say(
            f"a worker died in round {len(job.records[0]['rounds']) + 1} of {job.cells[0].name}: "
            f"trying again ({job.deaths} of {DEATHS})"
        )


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _jobs(cells: list[Cell], store: Store) -> list[Job]:
    """Cells without a round go together where only their arm differs; others each alone."""
    jobs: dict[str, Job] = {}
    for cell in cells:
        key = cell.name if store.load(cell)["rounds"] else cell.twin.name
        jobs.setdefault(key, Job([])).cells.append(cell)
    return list(jobs.values())


def _submit(client: Client, task: Task, store: Store, waiting: deque, running: dict) -> None:
    """Send the next jobs to free workers; a cell that another run holds waits.

    A job is for one worker, so that a worker's death counts against the job that it ran alone.
    """
    busy = Counter(job.worker for job in running.values())
    free = [w for w, slots in client.nthreads().items() for _ in range(slots - busy[w])]
    for _ in range(len(waiting)):
        if not free:
            return
        job = waiting.popleft()
        taken = [] if job.locks else _lock(job, store)
        if taken:
            waiting.extend(_jobs(taken, store))
        if job.cells:
            job.worker, job.missed = free.pop(0), 0
            history, state = (
                job.records[0]["rounds"],
                store.load_state(job.cells[0], job.records[0]),
            )
            future = client.submit(
                task, job.cells, history, state, pure=False, workers=[job.worker]
            )
            running[future] = job


def _left_alone(client: Client, running: dict) -> list[Job]:
    """Jobs whose worker is gone without a word, taken back; the others stay as they are."""
    there, back = client.nthreads(), []
    for future, job in list(running.items()):
        job.missed = 0 if job.worker in there or future.done() else job.missed + 1
        if job.missed > PATIENCE:
            future.cancel(force=True)
            back.append(running.pop(future))
    return back


def _lock(job: Job, store: Store) -> list[Cell]:
    """Lock the job's cells and read their records; returns the cells that another run holds.

    What another run has finished or moved on meanwhile leaves the job.
    """
    cells, job.cells, taken = job.cells, [], []
    for cell in cells:
        lock = store.lock(cell)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            taken.append(cell)
            continue
        record = store.load(cell)
        moved_on = job.records and len(record["rounds"]) != len(job.records[0]["rounds"])
        if record["status"] == "finished" or moved_on:
            lock.release()
            taken += [cell] if moved_on and record["status"] != "finished" else []
            continue
        job.cells.append(cell)
        job.records.append(record)
        job.locks.append(lock)
    return taken


def _done(running: dict) -> list[Any]:
    try:
        return list(wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _collect(
    future: Any,
    job: Job,
    store: Store,
    facts: dict[str, Any],
    progress: Progress,
    failures: list[str],
) -> list[Job]:
    """Write what a worker gave back; returns the jobs that go on."""
    try:
        rounds, provenance, state = future.result()
    except CancelledError:
        raise StudyError(
            "the scheduler is gone; all finished rounds are kept: run the same command again"
        ) from None
    except KilledWorker as error:
        job.deaths += 1
        if job.deaths <= DEATHS:
            progress.death(job)
            return [job]
        return _fail(job, store, f"{job.deaths} workers died on it ({error})", failures)
    except Exception as error:  # whatever the task raised belongs to its cells, not to the run
        return _fail(job, store, f"{type(error).__name__}: {error}", failures)
    more = []
    for cell, record, lock, done in zip(job.cells, job.records, job.locks, rounds, strict=True):
        _append(cell, record, done, provenance | facts | {"worker_deaths": job.deaths})
        store.save_state(cell, record, state)
        store.save(cell, record)
        store.drop_states(cell, record)
        progress.round(cell, record)
        if record["status"] == "finished":
            lock.release()
        else:
            more.append(Job([cell], [record], [lock], job.deaths))
    return more


def _fail(job: Job, store: Store, reason: str, failures: list[str]) -> list[Job]:
    """Note in the records that their cells failed, and why; the rounds they have stay."""
    for cell, record in zip(job.cells, job.records, strict=True):
        store.save(cell, record | {"status": "failed", "final": {"error": reason}})
        failures.append(f"{cell.name}, round {len(record['rounds']) + 1}: {reason}")
    _release(job)
    return []


def _append(cell: Cell, record: Record, done: dict[str, Any], provenance: dict[str, Any]) -> None:
    record["rounds"].append(done)
    whole = len(record["rounds"]) == cell.length
    record["status"] = "finished" if whole else "running"
    keys = ("labels", "test_accuracy", "heldout_accuracy")
    record["final"] = {key: done[key] for key in keys if key in done} if whole else {}
    seconds = sum(value for key, value in done.items() if key.startswith("seconds_"))
    record["provenance"] |= provenance | {
        "wall_seconds": round(record["provenance"]["wall_seconds"] + seconds, 3)
    }


def _release(job: Job) -> None:
    for lock in job.locks:
        lock.release()


@contextmanager
def cluster(workers: int = 0, scheduler: str = "") -> Iterator[Client]:
    """A client of the scheduler, or of a local cluster of one-thread worker processes.

    Workers notice when this process is gone, however it ended, and end too (Dask's own pipe).
    """
    if scheduler:
        with Client(scheduler, timeout=10) as client:
            yield client
        return
    for part in ("nanny", "scheduler"):  # they warn of what is meant: workers that are ended
        logging.getLogger(f"distributed.{part}").setLevel(logging.ERROR)
    settings = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.worker.multiprocessing-method": "spawn",
        # A death is counted here, by cell, not by the scheduler.
        "distributed.scheduler.allowed-failures": 0,
        # An optimiser's state travels with its task.
        "distributed.admin.large-graph-warning-threshold": "100MB",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            memory_limit=None,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
