"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import count
from pathlib import Path
from typing import BinaryIO

from alutils.protocol.parameters import StudyError

try:
    from fcntl import F_FULLFSYNC, fcntl
except ImportError:  # of any other system than macOS
    F_FULLFSYNC = None


class CanNotWrite(StudyError):
    """A file can't be written, for lack of space or permissions."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all (see ``atomic_file``)."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing: a temporary one, flushed to the disk, then renamed.

    Raises ``CanNotWrite`` if that fails. After this or any other error, the previous file is kept.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            flush_to_disk(file.fileno())
        part.replace(path)
    except OSError as error:
        _remove(part)
        raise CanNotWrite(
            f"{path.name} can't be written ({error.strerror}): what was written before is kept; "
            f"{remedy_for(error)}, then run the same command again"
        ) from error
    except BaseException:
        _remove(part)
        raise
    sync(path.parent)


def remedy_for(error: OSError, otherwise: str = "change its permissions") -> str:
    """What to do about a failed write: make room on a full disk, ``otherwise`` in other cases."""
    return "make room" if error.errno in (ENOSPC, EDQUOT, EFBIG) else otherwise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def flush_to_disk(descriptor: int) -> None:
    """Wait until what was written is on the disk; raises ``OSError`` if that fails.

    On macOS, ``fsync`` leaves it in the disk's cache. ``F_FULLFSYNC`` flushes that too, on file
    systems that support it.
    """
    if F_FULLFSYNC is not None:
        with suppress(OSError):
            fcntl(descriptor, F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk, if that is possible."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            flush_to_disk(descriptor)
        finally:
            os.close(descriptor)


def unused(path: Path) -> Path:
    """The path, or if it exists, the first of its numbered variants (``-2`` on) that doesn't."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
