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
"""How long the process of local workers may take to end; then it is ended."""
MEND_S = 5
"""How often a local cluster looks whether all its workers are there."""
SERVE = (
    "import json, sys; fields, sys.path[:] = json.loads(sys.argv[1]); "
    "from alutils.running import local_workers; local_workers.serve(fields)"
)
"""What the process of a local cluster runs."""


@contextmanager
def local_cluster(placement: Placement) -> Iterator[str]:
    """The address of a new local cluster; ``StudyError`` where its workers can't be started.

    It is a process in a session of its own, which an interrupt from a terminal does not reach, and
    ends with this one, however that ends: at the end of its standard input. Its workers don't
    import this process's main module, so that a script needs no guard against being run again.
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
    """What the process that ``local_cluster`` starts does: run the cluster until its input ends.

    ``fields`` are those of its placement, as JSON has them. The first line of standard output is
    ``address`` and the scheduler's address, or ``error`` and the reason. What workers print goes to
    standard error: nobody reads this process's output but for that line.
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
    """Start workers again that did not come back, until the standard input ends.

    A nanny replaces a worker that dies. Where that can't start, as on a machine with too much to
    do, the nanny gives up, or Dask does with the nanny.
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
                cluster.sync(lambda: cluster)  # a cluster that is awaited starts what it lacks


@contextmanager
def _started(placement: Placement) -> Iterator[SpecCluster]:
    """A new cluster: one process a core, or one for each cell that a GPU takes.

    The workers notice when this process is gone, however it ended, and end too (Dask's own pipe).
    """
    # What Dask logs here is workers that are ended on purpose, or errors that are told in a line.
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
        # Dask's, when a busy machine ends a worker late; all that they computed is written.
        with suppress(AssertionError, OSError, TimeoutError):
            cluster.close()


def _gpu_options(placement: Placement, i: int) -> dict[str, Any]:
    """What pins the ``i``-th worker to one of the local GPUs; nothing where there are none."""
    if not placement.gpus:
        return {}
    gpu = placement.gpus[i % len(placement.gpus)]
    return {"env": {"CUDA_VISIBLE_DEVICES": gpu}, "resources": {"GPU": placement.share}}


def _reason(error: BaseException) -> str:
    """The first line of what was at the root of an error."""
    while error.__cause__:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
