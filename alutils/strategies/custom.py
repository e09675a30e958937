"""Calling a user's strategy apart from all else, so that it changes nothing for other arms."""

import linecache
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from alutils.learning import settings
from alutils.learning.streams import derived
from alutils.strategies.source import installed
from alutils.strategies.view import PoolView, PrivateView


class StrategyFailed(RuntimeError):
    """A strategy of a user raised an error; the message names it, and the user's line.

    That line is read where the message is shown: a worker has neither the notebook nor the files.

    Parameters
    ----------
    arm, reason : the strategy's name, and what it raised
    file, line : where the user's code was at that time; line 0 where it was not reached
    """

    def __init__(self, arm: str, reason: str, file: str = "", line: int = 0):
        super().__init__(arm, reason, file, line)

    def __str__(self) -> str:
        arm, reason, file, line = self.args
        if not line:
            return f"strategy {arm!r}: {reason}"
        where = Path(file).name if Path(file).exists() else "its cell"
        text = linecache.getline(file, line).strip()
        return f"strategy {arm!r}, line {line} of {where}{text and f', `{text}`'}: {reason}"


def ask(packed: bytes, arm: str, view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """What a packed strategy returns, asked as if it were the only one.

    It is unpacked anew, gets copies of what the view holds, and finds scikit-learn on one thread
    and the global generators on streams derived from ``rng``'s seed; they, and all settings of the
    process that decide what is computed, are put back after it. Raises ``StrategyFailed``.
    """
    device = view.images.device
    with settings.kept(), threadpool_limits(1), _seeded(rng.initial_seed(), device):
        try:
            return cloudpickle.loads(packed)(PrivateView(view), budget, rng)
        except (Exception, SystemExit) as error:
            raise StrategyFailed(arm, _first_line(error), *_users_line(error)) from None


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch; afterwards they are as they were.

    Each has a stream of its own, derived from ``seed``: none repeats what another draws, or what a
    generator with that seed does. NumPy's and torch's are the same algorithm.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        random.seed(derived(seed, "python"))
        np.random.seed(derived(seed, "numpy") % 2**32)
        torch.manual_seed(derived(seed, "torch"))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0].removesuffix(": ")


def _users_line(error: BaseException) -> tuple[str, int] | tuple[()]:
    """File and line number at which the user's own code, which is not installed, ran last."""
    users = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not installed(frame.f_globals.get("__name__", ""))
    ]
    return users[-1] if users else ()
