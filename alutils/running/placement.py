"""Where cells are computed, and how Dask is set up there."""

from dataclasses import dataclass

import dask
from dask.system import CPU_COUNT

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    # Large tensors from the heap, not from fresh pages each step: 10 % faster steps on the CPU.
    "MALLOC_MMAP_MAX_": 0,
    "MALLOC_TRIM_THRESHOLD_": 2**32,
    "MALLOC_TOP_PAD_": 2**28,
    # A task's error reaches its client; everything else that is logged is about ended workers.
    "DASK_LOGGING__DISTRIBUTED": "critical",
}
"""Environment variables of every local worker."""
START_S = 120
"""Seconds that a local worker may take to start before it is ended and replaced."""
REMEDY = "free memory and processes, or start fewer workers with WORKERS=1"
"""What helps where local workers can't be started."""
SETTINGS = {
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    "distributed.worker.multiprocessing-method": "spawn",
    # The engine counts a worker's death against the cell that it ran, so the scheduler need not.
    "distributed.scheduler.allowed-failures": 0,
    # Dask's profiler, which samples a hundred times a second, slows training on busy cores.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    # An optimiser's state travels with its task.
    "distributed.admin.large-graph-warning-threshold": "100MB",
    # A suspended run continues where it stopped.
    "distributed.scheduler.worker-ttl": None,
    # Dask gives up a local worker that is away for longer, even one that is just starting.
    "distributed.deploy.lost-worker-timeout": f"{START_S}s",
}
"""Dask's settings, of a cluster and its clients."""
PROFILER_OFF = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False"
"""What switches Dask's profiler off in workers that are started by hand."""


@dataclass(frozen=True)
class Placement:
    """Where cells are to be computed.

    Parameters
    ----------
    scheduler : address of a running Dask scheduler; empty for local worker processes
    device : the study's device: auto, cpu, cuda or mps
    workers : local processes; 0 for one per core, or one per cell that the GPUs take
    gpus : CUDA's names of the local GPUs
    cells_per_gpu : how many cells share a GPU, here or on the cluster
    """

    scheduler: str = ""
    device: str = "cpu"
    workers: int = 0
    gpus: tuple[str, ...] = ()
    cells_per_gpu: int = 1

    @property
    def processes(self) -> int:
        """Local worker processes."""
        return self.workers or len(self.gpus) * self.cells_per_gpu or CPU_COUNT

    @property
    def share(self) -> float:
        """Share of a GPU that a cell takes; rounded down, so that the sum never exceeds one GPU."""
        return int(1e6 / self.cells_per_gpu) / 1e6


def dask_settings(placement: Placement) -> dask.config.set:
    """A context with ``SETTINGS`` on top of Dask's other settings.

    With a given scheduler, the others are the user's, which it may need (TLS, time-outs). A local
    cluster ignores the user's Dask configuration: the others are Dask's defaults.
    """
    before = {} if placement.scheduler else dask.config.merge(*dask.config.defaults)
    return dask.config.set(before | SETTINGS)
