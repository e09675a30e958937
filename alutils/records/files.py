"""Files that are written whole or not at all."""

import os
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import count
from pathlib import Path

from alutils.protocol.parameters import StudyError


class CanNotWrite(StudyError):
    """A file can't be written, for want of space or rights."""


def write_whole(path: Path, content: bytes) -> None:
    """All of a file or nothing of it: a temporary one, flushed to the disk, then renamed.

    Raises ``CanNotWrite``; the file that was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        remedy = "make room" if error.errno in (ENOSPC, EDQUOT, EFBIG) else "change its rights"
        raise CanNotWrite(
            f"{path.name} can't be written ({error.strerror}): what was written before is kept; "
            f"{remedy}, then run the same command again"
        ) from error
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk, where that can be done."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unused(path: Path) -> Path:
    """The path, or the first one like it that no file has yet."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
