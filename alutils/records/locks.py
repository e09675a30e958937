"""Locks that end with their process, each with a note beside it that says who holds it."""

import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alutils.protocol.parameters import StudyError
from alutils.records import files


class CanNotLock(StudyError):
    """A lock can't be acquired, so two processes could write the same file."""


def try_lock(file: Path, refusal: str, remedy: str) -> FileLock | None:
    """Acquire a lock and note that this process holds it; None if somebody else does.

    Raises ``CanNotLock`` with ``refusal``, the reason in brackets, and ``remedy`` (on a full disk:
    to make room). It does so on a file system without locks, too: an ordinary file used as a lock
    would outlast its process.
    """
    lock = FileLock(file, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        reason = getattr(error, "strerror", None) or error
        raise CanNotLock(f"{refusal} ({reason}): {files.remedy_for(error, remedy)}") from error
    with suppress(OSError):  # it serves a message alone
        since = time.strftime("%Y-%m-%d %H:%M")
        _note(file).write_text(f"process {os.getpid()} on {platform.node()}, since {since}")
    return lock


def holder(file: Path) -> str:
    """The holder of a lock that is held: process, machine, and since when."""
    try:
        return _note(file).read_text()
    except (OSError, ValueError):
        return "an unknown process"


def _note(file: Path) -> Path:
    return file.with_suffix(".holder")
