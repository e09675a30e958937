"""Calling a user's strategy in isolation, so that it changes nothing for other arms."""

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

from alutils.learning import process_settings
from alutils.learning.streams import derived
from alutils.strategies.source import installed
from alutils.strategies.view import PoolView, PrivateView


class StrategyFailed(RuntimeError):
    """A user's strategy raised an error; the message names the error and the line of user code.

    That line is read where the message is shown: a worker has neither the notebook nor the files.

    Parameters
    ----------
    arm, reason : the strategy's name, and what it raised
    file, line : position in the user's code when it failed; line 0 if the code was not reached
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
    """Call a packed strategy as if it were the only one, and return its result.

    The strategy is unpickled for each call and gets copies of what the view holds. During the call,
    scikit-learn runs on one thread, and the global random generators are seeded from ``rng``'s
    seed; both, and all process-wide settings that affect results, are restored afterwards. Raises
    ``StrategyFailed`` if the strategy raises an error.
    """
    device = view.images.device
    with (
        process_settings.restored_afterwards(),
        threadpool_limits(1),
        _seeded(rng.initial_seed(), device),
    ):
        try:
            return cloudpickle.loads(packed)(PrivateView(view), budget, rng)
        except (Exception, SystemExit) as error:
            raise StrategyFailed(arm, _first_line(error), *_users_line(error)) from None


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch, and restore them afterwards.

    Each gets its own seed derived from ``seed``, so that none repeats the draws of another, or of a
    generator seeded with ``seed`` itself: NumPy's and torch's use the same algorithm.
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
    """File and line of the innermost frame in the user's own code, which is not installed."""
    users = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not installed(frame.f_globals.get("__name__", ""))
    ]
    return users[-1] if users else ()
