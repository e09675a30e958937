"""Where rounds are computed: a local cluster of one-thread workers, or a running scheduler."""

import asyncio
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import cloudpickle
import dask
from dask.system import CPU_COUNT
from dask.utils import funcname
from distributed import Client, Future, Nanny, Scheduler, Security, SpecCluster, Status, rpc
from distributed.comm import CommClosedError

from alutils.paths import PACKAGE
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.waiting import Waiting

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    # Large tensors from the heap, not from fresh pages each step: 10 % faster steps on the CPU.
    "MALLOC_MMAP_MAX_": 0,
    "MALLOC_TRIM_THRESHOLD_": 2**32,
    "MALLOC_TOP_PAD_": 2**28,
    # What goes wrong in a task reaches its client; the rest is workers that are ended.
    "DASK_LOGGING__DISTRIBUTED": "critical",
}
CONNECT_S = 10
"""How long to look for a scheduler."""
JOIN_S = 60
"""How long a scheduler may be without a worker, when a run begins, before that is an error."""
LEFT_S = {"local": 300, "scheduler": 3600}
"""How long a run goes on without any worker: its local ones, or those of a given scheduler."""
BLINK_S = 10
"""How long no worker may be there before a run says so: one that died is replaced within it."""
START_S = 120
"""How long a local worker may take to start; then it is ended, and another one started."""
CLOSE_S = 30
"""How long the process of local workers may take to end; then it is ended."""
MEND_S = 5
"""How often a local cluster looks whether all its workers are there."""
REMEDY = "free memory and processes, or ask for fewer with WORKERS=1"
"""What helps where local workers can't be started."""
SETTINGS = {
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    "distributed.worker.multiprocessing-method": "spawn",
    # A death is counted by cell, not by the scheduler.
    "distributed.scheduler.allowed-failures": 0,
    # Dask's watch over itself, a hundred times a second, slows training on busy cores.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    # An optimiser's state travels with its task.
    "distributed.admin.large-graph-warning-threshold": "100MB",
    # A run that was suspended goes on where it was.
    "distributed.scheduler.worker-ttl": None,
    # Dask gives a local worker up that is away for longer, even one that is just starting.
    "distributed.deploy.lost-worker-timeout": f"{START_S}s",
}
"""Dask's, of a cluster and its clients."""
PROFILER_OFF = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False"
"""What switches that watch off in workers that are started by hand."""
SERVE = (
    "import json, sys; place, sys.path[:] = json.loads(sys.argv[1]); "
    "from alutils.running import cluster; cluster._serve(place)"
)
"""What the process of a local cluster runs."""
SHARED = "ALUTILS_CLUSTER"
"""Environment variable that tells child processes of the local cluster of ``shared``."""


@dataclass(frozen=True)
class Placement:
    """Where cells are to be computed.

    ``gpus`` are the local ones by CUDA's names, ``cells_per_gpu`` how many cells share one, there
    or on the cluster; ``workers`` local processes, 0 for one a core or a GPU's share.
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
        """Part of a GPU that a cell takes; rounded down, so that the shares never exceed it."""
        return int(1e6 / self.cells_per_gpu) / 1e6


class Workers:
    """The workers of a cluster that can take cells; each is checked once, when it is first seen.

    A worker must run the same alutils, torch and Python as this process does, and have a ``GPU``
    resource where cells are for GPUs: with ``device = "cuda"``, and with ``"auto"`` wherever a
    worker offers it. ``resources`` is what a cell takes of it.
    """

    def __init__(self, client: Client, place: Placement, say: Callable[[str], None]):
        self.client, self.place, self.say = client, place, say
        self.checked: dict[str, str] = {}
        self.resources: dict[str, float] = {}
        self.waiting = Waiting(say, quiet_s=BLINK_S)
        self._first_look()

    def slots(self) -> dict[str, int]:
        """How many cells each worker takes at a time, by its address.

        Raises ``StudyError`` when there are workers, and none that fits, and when there has been
        none that takes cells for ``LEFT_S``; until then it is said that one is waited for.
        """
        there = self._there()
        self._check(there)
        fit = {name: self._slots(there[name]) for name in there if not self.checked.get(name, "?")}
        if there and not fit and all(map(self.checked.get, there)):
            raise StudyError("; ".join(self.checked[name] for name in there))
        if any(fit.values()):
            self.waiting.end()
        else:
            self._wait()
        return fit

    def _wait(self) -> None:
        """Tell that no worker takes cells; ``StudyError`` where that has lasted too long."""
        limit = LEFT_S["scheduler" if self.place.scheduler else "local"]
        if self.place.scheduler:
            kind, remedy = "worker", f"start some with {self._command(bool(self.resources))}"
        else:
            kind, remedy = "local worker", REMEDY
        waited = self.waiting.go_on(
            f"no {kind} is left: waiting up to {limit / 60:.0f} minutes for one to come; {remedy}"
        )
        if waited > limit:
            raise StudyError(
                f"no {kind} has come for {limit / 60:.0f} minutes; all finished rounds are kept: "
                f"{remedy}, then run the same command again"
            )

    def submit(self, worker: str, task: Callable, *given: Any) -> Future:
        """Have a worker call ``task``.

        It travels packed: what Dask's scheduler unpacks, it would have to import torch for.
        """
        return self.client.submit(
            _call, cloudpickle.dumps(task), *given, key=f"{funcname(task)}-{uuid.uuid4()}",
            workers=[worker], resources=self.resources,
        )  # fmt: skip

    def _first_look(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=JOIN_S)
        except TimeoutError:
            raise StudyError(
                f"{self.place.scheduler} has no worker: start some with {self._command()}"
                if self.place.scheduler
                else f"no local worker was there within {JOIN_S} s: {REMEDY}"
            ) from None
        there = self._there()
        self._check(there)
        if wrong := [reason for reason in self.checked.values() if reason]:
            raise StudyError("; ".join(wrong))
        if self._for_gpus(there):
            self.resources = {"GPU": self.place.share}

    def _for_gpus(self, there: dict[str, Any]) -> bool:
        """Whether cells need a GPU; ``StudyError`` where they do and no worker offers one."""
        device = self.place.device
        offered = any(facts["resources"].get("GPU") for facts in there.values())
        if offered or device in ("cpu", "mps"):
            return offered and device in ("cuda", "auto")
        if device == "cuda":
            raise StudyError(
                "device = 'cuda', but no worker offers the resource GPU: start one for each GPU "
                f"with {self._command(gpu=True)}"
            )
        if any(self.client.run(_sees_gpu, workers=list(there)).values()):
            raise StudyError(
                "there are GPUs, but no worker offers the resource GPU: start one for each with "
                f"{self._command(gpu=True)}, or set device: cpu"
            )
        return False

    def _check(self, there: dict[str, Any]) -> None:
        """Compare the versions of workers that are new; those that leave are forgotten."""
        self.checked = {name: reason for name, reason in self.checked.items() if name in there}
        new = [name for name in there if name not in self.checked]
        if not new:
            return
        own = versions()
        for name, found in self.client.run(versions, workers=new, on_error="return").items():
            if isinstance(found, OSError):
                continue  # it is leaving again
            self.checked[name] = _difference(name, found, own)
            if self.checked[name] and len(self.checked) > len(new):
                self.say(f"not used: {self.checked[name]}")

    def _there(self) -> dict[str, Any]:
        """The scheduler's workers; ``CommClosedError`` when it is gone."""
        identity = self.client.scheduler_info(n_workers=-1)
        if "workers" not in identity:  # Dask's client notes that quietly
            raise CommClosedError("the scheduler is gone")
        return identity["workers"]

    def _slots(self, facts: dict[str, Any]) -> int:
        shares = facts["resources"].get("GPU", 0) / self.place.share if self.resources else 1e9
        return min(facts["nthreads"], int(shares + 1e-3))

    def _command(self, gpu: bool = False) -> str:
        pinned, offer = ("CUDA_VISIBLE_DEVICES=0 ", " --resources GPU=1") if gpu else ("", "")
        return (
            f"`{PROFILER_OFF} {pinned}dask worker {self.place.scheduler} --nthreads 1 "
            f"--memory-limit 0{offer}`"
        )


@cache
def versions() -> dict[str, str]:
    """What must be equal wherever a study is computed; alutils by its source, read once."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return {
        "alutils": f"{version('alutils')} ({digest.hexdigest()[:8]})",
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


@contextmanager
def cluster(place: Placement, say: Callable[[str], None] = print) -> Iterator[Workers]:
    """The workers of a scheduler, or of a local cluster of one-thread worker processes.

    The local cluster is that of ``shared`` where a parent process has one for this place. Raises
    ``StudyError`` when there is no scheduler, or no worker that fits.
    """
    with _settings(place), ExitStack() as stack:
        client = stack.enter_context(_client(place, stack))
        with suppress(KeyError, ValueError):  # a link as the user's Dask writes it, if that can be
            say(f"dashboard: {client.dashboard_link}")
        yield Workers(client, place, say)


def _settings(place: Placement) -> dask.config.set:
    """``SETTINGS`` over the user's, which a given scheduler may need (TLS, time-outs).

    A local cluster takes nothing from the user's Dask configuration: they are over Dask's defaults.
    """
    before = {} if place.scheduler else dask.config.merge(*dask.config.defaults)
    return dask.config.set(before | SETTINGS)


def reach(scheduler: str) -> None:
    """Raise ``ParameterError`` where no Dask scheduler answers at the address.

    Bounded whatever answers there: Dask's client waits for ever for another service's handshake.
    """

    async def greet() -> None:
        security = Security().get_connection_args("client")
        async with rpc(scheduler, timeout=CONNECT_S, connection_args=security) as service:
            found = await asyncio.wait_for(service.identity(), 2 * CONNECT_S)
        if found["type"] != "Scheduler":
            raise ValueError(f"a Dask {found['type'].lower()} answers there")

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has an event loop already
            thread.submit(asyncio.run, greet()).result()
    except Exception as error:  # whatever another service's answer makes of Dask's reader
        reason = (str(error) or "no Dask scheduler answers there").splitlines()[0]
        raise ParameterError(
            f"scheduler = {scheduler!r} can't be reached ({reason}): start one with `dask "
            "scheduler`, and give its address as tcp://HOST:8786"
        ) from None


@contextmanager
def shared(place: Placement) -> Iterator[None]:
    """A local cluster for all that child processes compute at this place, until the end.

    So the notebooks of a run need not start workers, and import torch in them, one after another.
    """
    with _own(place) as address:
        os.environ[SHARED] = f"{address} {place} {versions()}"
        try:
            yield
        finally:
            os.environ.pop(SHARED, None)


@contextmanager
def _own(place: Placement) -> Iterator[str]:
    """The address of a new local cluster; ``StudyError`` where its workers can't be started.

    It is a process in a session of its own, which an interrupt from a terminal does not reach, and
    ends with this one, however that ends: at the end of its standard input. Its workers don't
    import this process's main module, so that a script needs no guard against being run again.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps([asdict(place), sys.path])],
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


def _serve(place: dict[str, Any]) -> None:
    """Have the cluster that ``_own`` asks for; tell its address, or in a line why not.

    What workers print goes where errors go: nobody reads this process's output but for that line.
    """
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    place = Placement(**place | {"gpus": tuple(place["gpus"])})
    try:
        with _settings(place), _local(place) as local:
            print(f"address {local.scheduler_address}", file=told, flush=True)
            _keep_up(local)
    except StudyError as error:
        print(f"error {error}", file=told, flush=True)


def _keep_up(local: SpecCluster) -> None:
    """Start workers again that did not come back, until the standard input ends.

    A nanny replaces a worker that dies. Where that can't start, as on a machine with too much to
    do, the nanny gives up, or Dask does with the nanny.
    """
    ended, told = threading.Event(), False
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(MEND_S):
        for name, nanny in list(local.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del local.workers[name]
        gone = len(local.worker_spec) - len(local.workers)
        if gone and not told:
            print(f"local workers that did not come back, started again: {gone}", file=sys.stderr)
        told = gone > 0
        if gone:
            with suppress(Exception):  # it can't start now: again at the next look
                local.sync(lambda: local)  # a cluster that is awaited starts what it lacks


def _shared(place: Placement) -> str:
    """Address of the local cluster that a parent process has for this place, or nothing.

    Where the code was changed since that was started, it is not for this process.
    """
    address, _, its = os.environ.get(SHARED, "").partition(" ")
    return address if its == f"{place} {versions()}" else ""


@contextmanager
def _local(place: Placement) -> Iterator[SpecCluster]:
    """A new cluster: one process a core, or one for each cell that a GPU takes.

    The workers notice when this process is gone, however it ended, and end too (Dask's own pipe).
    """
    quiet = logging.CRITICAL  # what it logs is meant, workers that are ended, or told in a line
    options = {
        "nthreads": 1,
        "memory_limit": None,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "silence_logs": quiet,
        "death_timeout": START_S,
    }
    workers = {
        i: {"cls": Nanny, "options": options | _pinned(place, i)} for i in range(place.processes)
    }
    scheduler = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    try:
        local = SpecCluster(
            workers=workers, scheduler={"cls": Scheduler, "options": scheduler}, silence_logs=quiet
        )
    except (OSError, RuntimeError) as error:
        raise StudyError(
            f"the {place.processes} local workers can't be started ({_reason(error)}): {REMEDY}"
        ) from error
    try:
        yield local
    finally:
        # Dask's, when a busy machine ends a worker late; all that they computed is written.
        with suppress(AssertionError, OSError, TimeoutError):
            local.close()


def _reason(error: BaseException) -> str:
    """The first line of what was at the root of an error."""
    while error.__cause__:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _pinned(place: Placement, i: int) -> dict[str, Any]:
    if not place.gpus:
        return {}
    gpu = place.gpus[i % len(place.gpus)]
    return {"env": {"CUDA_VISIBLE_DEVICES": gpu}, "resources": {"GPU": place.share}}


def _client(place: Placement, stack: ExitStack) -> Client:
    """A client of the place's scheduler, or of a local cluster: a parent's, or one for ``stack``.

    A parent's whose process has died is replaced.
    """
    if place.scheduler:
        return _connected(place.scheduler)
    if address := _shared(place):
        with suppress(ParameterError):
            return _connected(address)
    return _connected(stack.enter_context(_own(place)))


def _connected(scheduler: str) -> Client:
    reach(scheduler)
    return Client(scheduler, timeout=CONNECT_S)


def _difference(worker: str, found: Any, own: dict[str, str]) -> str:
    """What a worker lacks of this process's versions, in words; nothing: an empty string."""
    remedy = "install there what is installed here (the same commit, requirements.lock)"
    if isinstance(found, Exception):
        return f"worker {worker} can't import alutils ({found}): {remedy}"
    wrong = [f"{key} {found[key]}, here {own[key]}" for key in own if found[key] != own[key]]
    return f"worker {worker} has {', '.join(wrong)}: {remedy}" if wrong else ""


def _call(packed: bytes, *given: Any) -> Any:
    """Call what was packed; what would end the worker, as ``sys.exit`` does, is an error of it."""
    try:
        return cloudpickle.loads(packed)(*given)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
