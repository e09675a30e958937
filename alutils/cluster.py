"""Where rounds are computed: a local cluster of one-thread workers, or a running scheduler."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

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
