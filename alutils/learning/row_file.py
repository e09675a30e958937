"""An array of rows in a file that is written chunk by chunk, with a journal of its contents.

Next to ``NAME.npy`` is its journal ``NAME.jsonl``: the first line has the facts that identify the
rows, followed by one line per chunk with its first row and the first 16 hex digits of the SHA-256
of its bytes. A chunk without a line, or whose bytes don't match, counts as missing, so that an
interrupted computation is resumed and a damaged file is repaired. After a power failure, a line may
be on disk without its chunk; the digest detects this.

Other processes may have the file mapped. It is never truncated, which would kill them with SIGBUS:
a file that holds something else is replaced by renaming.
"""

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from errno import EINVAL, EOPNOTSUPP
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alutils.learning.data import DataUnavailable
from alutils.waiting import bar, exclusive_lock

CHUNK_ROWS = 128
"""Rows per chunk. A thread encodes this many images at a time, which takes about 250 MB."""


@dataclass(frozen=True)
class Content:
    """Contents of a file.

    Attributes
    ----------
    rows : (N, ...), a read-only memory map; None without a usable file
    digests : of the valid chunks, keyed by first row, in order
    missing : first rows of all other chunks
    damaged : number of missing chunks that are in the journal but whose bytes don't match
    """

    rows: np.ndarray | None
    digests: dict[int, str]
    missing: list[int]
    damaged: int

    @property
    def tensor(self) -> Tensor:
        """The rows as a tensor that must not be written to: a write would crash the process."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self.rows)


@dataclass(frozen=True)
class RowFile:
    """A file of rows, which may not be there yet, and its journal.

    Attributes
    ----------
    path : ends with ``.npy``
    facts : what identifies the rows, as JSON values; a file with other facts is not used
    shape : (N, ...)
    dtype : of the rows
    """

    path: Path
    facts: dict[str, Any]
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float16

    @property
    def journal(self) -> Path:
        return self.path.with_suffix(".jsonl")

    def read(self) -> Content:
        """Open the file read-only, check every digest, and return its contents.

        The map is not copy-on-write, as such a map has to fit into memory and swap. Raises
        ``DataUnavailable`` if the file exists but can't be read.
        """
        starts = range(0, self.shape[0], CHUNK_ROWS)
        try:
            head, *lines = self.journal.read_text().splitlines()
            rows = np.load(self.path, mmap_mode="r")
            if not self._is_of(json.loads(head), rows):
                raise ValueError("rows of something else")
            actual = dict(zip(starts, self._digests(rows), strict=True))
        except (FileNotFoundError, ValueError, EOFError):
            return Content(None, {}, list(starts), 0)
        except OSError as error:
            raise self._unavailable("read from", error) from error
        known = _finished(lines)
        journaled = [start for start in starts if start in known]
        digests = {start: known[start] for start in journaled if actual[start] == known[start]}
        missing = [start for start in starts if start not in digests]
        return Content(rows, digests, missing, len(journaled) - len(digests))

    def _digests(self, rows: np.memmap) -> Iterator[str]:
        """Digests of the file's chunks.

        Not read through the map, whose pages would add the complete file to this process's memory.
        """
        size = rows[:CHUNK_ROWS].nbytes
        with self.path.open("rb") as file:
            file.seek(rows.offset)
            while chunk := file.read(size):
                yield _digest(chunk)

    def _is_of(self, head: Any, rows: np.memmap) -> bool:
        """Whether journal and file match these facts; the journal's notes are not compared."""
        return (
            isinstance(head, dict)
            and {key: head.get(key) for key in self.facts} == self.facts
            and (rows.shape, rows.dtype) == (self.shape, self.dtype)
            and rows.offset + rows.nbytes == self.path.stat().st_size
        )

    def filled(
        self,
        waiting: str,
        doing: str,
        chunks: Callable[[list[int]], Iterable[np.ndarray]],
        notes: dict[str, Any] | None = None,
    ) -> Content:
        """Return the file's contents, with what was missing computed here or by another process.

        Parameters
        ----------
        waiting : message printed every minute while another process computes it
        doing : message printed if something is computed here
        chunks : computes the chunks that begin at the given rows, in order
        notes : see ``create``

        Raises ``DataUnavailable`` if the file can't be read, written or locked.
        """
        with self._locked(waiting):
            content = self.read()
            if content.rows is None:
                self.create(notes or {})
            if content.damaged:
                print(
                    f"{self.path.name}: computing {content.damaged} damaged chunks again",
                    file=sys.stderr,
                )
            if content.missing:
                print(doing, file=sys.stderr)
                self._fill(content.missing, chunks)
                content = self.read()
        if content.missing:
            raise DataUnavailable(
                f"{self.path} doesn't read back as it was written: check the disk"
            )
        return content

    def _fill(
        self, missing: list[int], chunks: Callable[[list[int]], Iterable[np.ndarray]]
    ) -> None:
        """Write the chunks that begin at the missing rows, with a progress bar."""
        total = self.shape[0]
        done = total - sum(min(CHUNK_ROWS, total - start) for start in missing)
        with bar(total, " images", done) as shown:
            for start, chunk in zip(missing, chunks(missing), strict=True):
                self.write(start, chunk)
                shown.update(len(chunk))

    @contextmanager
    def _locked(self, waiting: str) -> Iterator[None]:
        """Hold the file's lock; print ``waiting`` every minute while another process holds it.

        Raises ``DataUnavailable`` if the lock file can't be written.
        """
        with ExitStack() as stack:
            with self._writing():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive_lock(self.path.with_suffix(".lock"), waiting))
            yield

    def create(self, notes: dict[str, Any]) -> None:
        """Create a file without chunks, replacing any existing one; call it with the lock held.

        ``notes`` are stored with the facts in the journal, for human readers. Disk space is
        reserved; raises ``DataUnavailable`` if the disk is full.
        """
        part = self.path.with_suffix(".part")
        with self._writing():
            try:
                np.lib.format.open_memmap(part, "w+", self.dtype, self.shape)
                _reserve(part)
                part.replace(self.path)
            finally:
                part.unlink(missing_ok=True)
            self.journal.write_text(json.dumps(self.facts | notes))

    def write(self, start: int, chunk: np.ndarray) -> None:
        """Write a chunk of rows at row ``start``, then its line in the journal.

        The position is counted from the end of the file, as a header precedes the rows. The write
        doesn't go through a memory map, where a disk that is full despite the reservation would
        cause SIGBUS; here it raises ``DataUnavailable``.
        """
        with self._writing():
            with self.path.open("r+b") as file:
                file.seek((start - self.shape[0]) * chunk[0].nbytes, os.SEEK_END)
                file.write(chunk.tobytes())
            with self.journal.open("a") as lines:
                lines.write("\n" + json.dumps([start, _digest(chunk.tobytes())]))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unavailable("written into", error) from error

    def _unavailable(self, how: str, error: OSError) -> DataUnavailable:
        return DataUnavailable(
            f"{self.path.name} can't be {how} {self.path.parent} ({error.strerror or error}): "
            "make room, change its permissions, or name another folder in ALUTILS_DATA"
        )


def _finished(lines: list[str]) -> dict[int, str]:
    """Digests in a journal's lines by first row."""
    known = {}
    for line in lines:
        try:
            start, digest = json.loads(line)
        except ValueError:  # the last line of a computation that was killed
            continue
        known[start] = digest
    return known


def _reserve(path: Path) -> None:
    """Allocate a sparse file's blocks on disk, if operating system and file system support it."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (EINVAL, EOPNOTSUPP):
                raise


def _digest(chunk: bytes) -> str:
    return hashlib.sha256(chunk).hexdigest()[:16]
