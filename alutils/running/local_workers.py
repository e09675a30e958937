"""A cluster on this machine: a scheduler and its workers, in a process of their own."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from distributed import Nanny, Scheduler, SpecCluster, Status

from alutils.protocol.parameters import StudyError
from alutils.running.placement import REMEDY, START_S, Placement, dask_settings

CLOSE_S = 30
"""Seconds that the local workers' process may take to end before it is killed."""
MEND_S = 5
"""Seconds between a local cluster's checks that all its workers are there."""
SERVE = (
    "import json, sys; fields, sys.path[:] = json.loads(sys.argv[1]); "
    "from alutils.running import local_workers; local_workers.serve(fields)"
)
"""What the process of a local cluster runs."""


@contextmanager
def local_cluster(placement: Placement) -> Iterator[str]:
    """Start a local cluster; gives its address, or raises ``StudyError`` if it can't start.

    It is a process in its own session, which an interrupt from a terminal does not reach. It ends
    with this process, however that ends, as its standard input then ends. Its workers don't import
    this process's main module, so a script needs no ``__main__`` guard.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps([asdict(placement), sys.path])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        late = threading.Timer(2 * START_S, process.kill)
        late.daemon = True
        late.start()
        kind, _, text = process.stdout.readline().strip().partition(" ")
        late.cancel()
        if kind != "address":
            raise StudyError(text or f"the local workers' process did not start: {REMEDY}")
        try:
            yield text
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(CLOSE_S)
            process.kill()


def serve(fields: dict[str, Any]) -> None:
    """Run the cluster until standard input ends, in the process that ``local_cluster`` starts.

    ``fields`` are those of its placement, as parsed from JSON. The first line of standard output is
    ``address`` and the scheduler's address, or ``error`` and the reason. What workers print goes to
    standard error, as nothing else is read from this process's output.
    """
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    placement = Placement(**fields | {"gpus": tuple(fields["gpus"])})
    try:
        with dask_settings(placement), _started(placement) as cluster:
            print(f"address {cluster.scheduler_address}", file=answer, flush=True)
            _keep_up(cluster)
    except StudyError as error:
        print(f"error {error}", file=answer, flush=True)


def _keep_up(cluster: SpecCluster) -> None:
    """Restart workers that did not come back, until standard input ends.

    A nanny replaces a worker that dies. If the new one can't start, as on an overloaded machine,
    the nanny gives up, or Dask gives up the nanny.
    """
    ended, said = threading.Event(), False
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(MEND_S):
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del cluster.workers[name]
        gone = len(cluster.worker_spec) - len(cluster.workers)
        if gone and not said:
            print(f"local workers that did not come back, started again: {gone}", file=sys.stderr)
        said = gone > 0
        if gone:
            with suppress(Exception):  # it can't start now: again at the next look
                cluster.sync(lambda: cluster)  # awaiting a cluster starts missing workers


@contextmanager
def _started(placement: Placement) -> Iterator[SpecCluster]:
    """A new cluster of ``placement.processes`` one-thread worker processes.

    The workers notice when this process is gone, however it ended, and end too (Dask's own pipe).
    """
    # All that Dask logs here is workers ended on purpose, and errors that are reported in a line.
    quiet = logging.CRITICAL
    options = {
        "nthreads": 1,
        "memory_limit": None,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "silence_logs": quiet,
        "death_timeout": START_S,
    }
    workers = {
        i: {"cls": Nanny, "options": options | _gpu_options(placement, i)}
        for i in range(placement.processes)
    }
    scheduler = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    try:
        cluster = SpecCluster(
            workers=workers, scheduler={"cls": Scheduler, "options": scheduler}, silence_logs=quiet
        )
    except (OSError, RuntimeError) as error:
        raise StudyError(
            f"the {placement.processes} local workers can't be started ({_reason(error)}): {REMEDY}"
        ) from error
    try:
        yield cluster
    finally:
        # Dask raises these if a busy machine ends a worker late; all results are written by then.
        with suppress(AssertionError, OSError, TimeoutError):
            cluster.close()


def _gpu_options(placement: Placement, i: int) -> dict[str, Any]:
    """Options that pin the ``i``-th worker to one of the local GPUs; empty if there are none."""
    if not placement.gpus:
        return {}
    gpu = placement.gpus[i % len(placement.gpus)]
    return {"env": {"CUDA_VISIBLE_DEVICES": gpu}, "resources": {"GPU": placement.share}}


def _reason(error: BaseException) -> str:
    """The first line of an error's root cause."""
    while error.__cause__:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
