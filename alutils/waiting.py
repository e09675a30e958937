"""What is shown while a run waits or works: messages every minute, and bars."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

AGAIN_S = 60
"""Seconds between two messages of the same wait."""


def bar(total: int, unit: str, initial: int = 0, **options: Any) -> tqdm:
    """A progress bar on a terminal and in JupyterLab; elsewhere, as in a log, it is not shown."""
    disable = False if in_jupyterlab() else None
    return tqdm(total=total, initial=initial, unit=unit, disable=disable, leave=False, **options)


def in_jupyterlab() -> bool:
    """Whether this is a notebook's kernel in JupyterLab.

    Its server names the notebook in the environment of the kernel, papermill does not.
    """
    return "JPY_SESSION_NAME" in os.environ


class Waiting:
    """Says what a run waits for: after ``quiet_s`` seconds, and every ``AGAIN_S`` from then on."""

    def __init__(self, say: Callable[[str], None], quiet_s: float = 0.0):
        self.say, self.quiet_s = say, quiet_s
        self.end()

    def end(self) -> None:
        """End the wait, as what was waited for is there."""
        self.since: float | None = None

    def go_on(self, line: str) -> float:
        """Begin or go on with the wait that ``line`` describes; returns its seconds so far."""
        now = time.monotonic()
        if self.since is None:
            self.since, self.due = now, now + self.quiet_s
        if now >= self.due:
            self.say(line)
            self.due = now + AGAIN_S
        return now - self.since


@contextmanager
def exclusive_lock(lock_file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock; ``waiting`` is said every minute while another process has it.

    Raises ``OSError``, also on a file system without locks.
    """
    lock = FileLock(lock_file, fallback_to_soft=False)
    while True:
        try:
            lock.acquire(timeout=AGAIN_S)
            break
        except Timeout:
            print(waiting, file=sys.stderr)
    try:
        yield
    finally:
        lock.release()
