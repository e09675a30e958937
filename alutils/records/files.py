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
    """A file can't be written, for want of space or rights."""


def write_whole(path: Path, content: bytes) -> None:
    """All of a file or nothing of it, as ``whole_file``."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill: a temporary one, flushed to the disk, then renamed.

    Raises ``CanNotWrite``; after that, and after an error amid filling it, the file that was there
    stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            to_disk(file.fileno())
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


def remedy_for(error: OSError, otherwise: str = "change its rights") -> str:
    """What helps where nothing can be written: room where there is none."""
    return "make room" if error.errno in (ENOSPC, EDQUOT, EFBIG) else otherwise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def to_disk(descriptor: int) -> None:
    """Wait until the disk has what was written; raises ``OSError``.

    On macOS ``fsync`` leaves it in the disk's cache, which another call empties where the file
    system has it.
    """
    if F_FULLFSYNC is not None:
        with suppress(OSError):
            fcntl(descriptor, F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk, where that can be done."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            to_disk(descriptor)
        finally:
            os.close(descriptor)


def unused(path: Path) -> Path:
    """The path, or the first one like it that no file has yet."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
