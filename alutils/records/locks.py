"""Locks that go with their process, each with a note beside it that says who has it."""

import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alutils.protocol.parameters import StudyError
from alutils.records import files


class CanNotLock(StudyError):
    """A lock can't be had, so that two processes could write the same file."""


def hold(file: Path, refusal: str, remedy: str) -> FileLock | None:
    """A lock, acquired, and noted as this process's; None where somebody else has it.

    Raises ``CanNotLock`` with ``refusal``, the reason in brackets, and ``remedy`` (or to make room,
    on a full disk), also on a file system without locks: a file in the place of one would outlast
    its process.
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
    """Who has a lock while somebody does: process, machine, and since when."""
    try:
        return _note(file).read_text()
    except (OSError, ValueError):
        return "an unknown process"


def _note(file: Path) -> Path:
    return file.with_suffix(".holder")
