"""The workers of a cluster: which of them take cells, how many, and how a task gets to them."""

import hashlib
import platform
import uuid
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

import cloudpickle
from dask.utils import funcname
from distributed import Client, Future
from distributed.comm import CommClosedError

from alutils.paths import PACKAGE
from alutils.protocol.parameters import StudyError
from alutils.running.placement import PROFILER_OFF, REMEDY, Placement
from alutils.waiting import Waiting

JOIN_S = 60
"""Seconds to wait for a scheduler's first worker when a run begins; then that is an error."""
LEFT_S = {"local": 300, "scheduler": 3600}
"""Seconds that a run without any worker waits for one, local or of a given scheduler."""
BLINK_S = 10
"""Seconds without a worker before a run says so: one that died is replaced within this time."""


class Workers:
    """The workers of a cluster that can take cells; each is checked once, when it is first seen.

    A worker must have the same versions as this process (``versions``), and a ``GPU`` resource if
    cells are computed on GPUs: with ``device = "cuda"``, and with ``"auto"`` if any worker offers
    it. ``resources`` is what a cell takes of it. ``checked`` maps a worker's address to the reason
    why it takes no cells, or to an empty string if it does.
    """

    def __init__(self, client: Client, placement: Placement, say: Callable[[str], None]):
        self.client, self.placement, self.say = client, placement, say
        self.checked: dict[str, str] = {}
        self.told: set[str] = set()
        self.resources: dict[str, float] = {}
        self.waiting = Waiting(say, quiet_s=BLINK_S)
        self._first_look()

    def slots(self) -> dict[str, int]:
        """How many cells each worker takes at a time, by its address.

        Raises ``StudyError`` if there are workers but none is suitable, or if there has been none
        that takes cells for ``LEFT_S``; until then, a message says that the run waits for one.
        """
        joined = self._joined()
        self._check(joined)
        fit = {name: self._slots(joined[name]) for name in joined if self.checked.get(name) == ""}
        if joined and not fit and all(map(self.checked.get, joined)):
            raise StudyError("; ".join(self.checked[name] for name in joined))
        if any(fit.values()):
            self.waiting.end()
        else:
            self._wait()
        return fit

    def _wait(self) -> None:
        """Say that no worker takes cells; raise ``StudyError`` if that has lasted too long."""
        limit = LEFT_S["scheduler" if self.placement.scheduler else "local"]
        if self.placement.scheduler:
            kind, remedy = "worker", f"start some with {self._command(bool(self.resources))}"
        else:
            kind, remedy = "local worker", REMEDY
        waited = self.waiting.go_on(
            f"no {kind} is left: waiting up to {limit / 60:.0f} minutes for one to join; {remedy}"
        )
        if waited > limit:
            raise StudyError(
                f"no {kind} has joined for {limit / 60:.0f} minutes; all finished rounds are kept: "
                f"{remedy}, then run the same command again"
            )

    def submit(self, worker: str, task: Callable, *arguments: Any) -> Future:
        """Have a worker call ``task``.

        It is sent as pickled bytes: else Dask's scheduler would unpickle it and import torch.
        """
        return self.client.submit(
            _call, cloudpickle.dumps(task), *arguments, key=f"{funcname(task)}-{uuid.uuid4()}",
            workers=[worker], resources=self.resources,
        )  # fmt: skip

    def _first_look(self) -> None:
        """Wait for the first worker, check all that joined, decide what a cell takes of one."""
        try:
            self.client.wait_for_workers(1, timeout=JOIN_S)
        except TimeoutError:
            raise StudyError(
                f"{self.placement.scheduler} has no worker: start some with {self._command()}"
                if self.placement.scheduler
                else f"no local worker started within {JOIN_S} s: {REMEDY}"
            ) from None
        joined = self._joined()
        self._check(joined)
        able = {name: facts for name, facts in joined.items() if not self.checked.get(name)}
        if joined and not able:
            raise StudyError("; ".join(self.checked[name] for name in joined))
        if self._for_gpus(able):
            self.resources = {"GPU": self.placement.share}

    def _for_gpus(self, joined: dict[str, Any]) -> bool:
        """Whether cells need a GPU; raises ``StudyError`` if they do and no worker offers one."""
        device = self.placement.device
        offered = any(facts["resources"].get("GPU") for facts in joined.values())
        if offered or device in ("cpu", "mps"):
            return offered and device in ("cuda", "auto")
        if device == "cuda":
            raise StudyError(
                "device = 'cuda', but no worker offers the resource GPU: start one for each GPU "
                f"with {self._command(gpu=True)}"
            )
        if any(self.client.run(_sees_gpu, workers=list(joined)).values()):
            raise StudyError(
                "there are GPUs, but no worker offers the resource GPU: start one for each with "
                f"{self._command(gpu=True)}, or set device: cpu"
            )
        return False

    def _check(self, joined: dict[str, Any]) -> None:
        """Compare the versions of new workers; those that left are forgotten.

        A worker that does not fit is reported if others do; if none does, that is an error.
        """
        self.checked = {name: reason for name, reason in self.checked.items() if name in joined}
        new = [name for name in joined if name not in self.checked]
        if not new:
            return
        here = versions()
        for name, there in self.client.run(versions, workers=new, on_error="return").items():
            if isinstance(there, OSError):
                continue  # it is leaving again
            self.checked[name] = _difference(name, there, here)
        if not all(map(self.checked.get, joined)):
            for name, reason in self.checked.items():
                if reason and name not in self.told:
                    self.told.add(name)
                    self.say(f"not used: {reason}")

    def _joined(self) -> dict[str, Any]:
        """What the scheduler knows of its workers, by address.

        Raises ``CommClosedError`` if the scheduler is gone, which Dask's client only logs.
        """
        identity = self.client.scheduler_info(n_workers=-1)
        if "workers" not in identity:
            raise CommClosedError("the scheduler is gone")
        return identity["workers"]

    def _slots(self, facts: dict[str, Any]) -> int:
        """How many cells a worker takes at a time: one per thread, limited by its GPU's shares."""
        shares = facts["resources"].get("GPU", 0) / self.placement.share if self.resources else 1e9
        return min(facts["nthreads"], int(shares + 1e-3))

    def _command(self, gpu: bool = False) -> str:
        """What to type for a worker of the given scheduler."""
        pinned, offer = ("CUDA_VISIBLE_DEVICES=0 ", " --resources GPU=1") if gpu else ("", "")
        return (
            f"`{PROFILER_OFF} {pinned}dask worker {self.placement.scheduler} --nthreads 1 "
            f"--memory-limit 0{offer}`"
        )


@cache
def versions() -> dict[str, str]:
    """Versions that must match wherever a study is computed; alutils by its source, read once."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return {
        "alutils": f"{version('alutils')} ({digest.hexdigest()[:8]})",
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def _difference(worker: str, there: Any, here: dict[str, str]) -> str:
    """How a worker's versions differ from this process's, in words; empty if they don't."""
    remedy = "install there what is installed here (the same commit, requirements.lock)"
    if isinstance(there, Exception):
        return f"worker {worker} can't import alutils ({there}): {remedy}"
    wrong = [f"{key} {there[key]}, here {here[key]}" for key in here if there[key] != here[key]]
    return f"worker {worker} has {', '.join(wrong)}: {remedy}" if wrong else ""


def _call(packed: bytes, *arguments: Any) -> Any:
    """Call a pickled task; what would end the worker, such as ``sys.exit``, becomes its error."""
    try:
        return cloudpickle.loads(packed)(*arguments)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
