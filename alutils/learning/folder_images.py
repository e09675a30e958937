"""Images of a folder: decoded once, on all cores, kept as one verified memory map.

They are in the data cache as ``NAME-images.npy``, uint8 (N, 3, S, S), training set first, with a
journal next to it (``row_file``): what is missing or damaged is decoded from the folder when they
are loaded. Once the map is complete, the folder is no longer needed.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alutils.folders import index, pictures, scan
from alutils.folders.index import Row
from alutils.learning import data
from alutils.learning.data import DataUnavailable
from alutils.learning.row_file import CHUNK_ROWS, RowFile
from alutils.paths import data_cache
from alutils.threads import parallel_map


def load_folder(name: str) -> dict[str, Tensor]:
    """Images and labels of both parts, as in ``Dataset``.

    Every chunk's digest is checked once per process, which reads the complete file. Raises
    ``DataUnavailable`` if the index or the cache can't be read or written, or if an image to be
    decoded is missing or has changed since it was indexed.
    """
    facts, (train_labels, test_labels) = _facts(name), data.labels(name)
    file = _row_file(name, facts)
    content = file.read()
    if content.missing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd files
            content = file.filled(
                f"{facts.title}: waiting for another process to decode its images",
                f"{facts.title}: decoding {file.shape[0]:,} images",
                lambda missing: _decoded(name, Path(facts.folder), missing),
            )
    images, cut = content.tensor, facts.train
    return {
        "train_images": images[:cut], "train_labels": train_labels,
        "test_images": images[cut:], "test_labels": test_labels,
    }  # fmt: skip


def load_labels(name: str) -> tuple[Tensor, Tensor]:
    """Labels of the training and test sets, -1 if unknown; only the index is read.

    Raises ``DataUnavailable`` if the index can't be read.
    """
    cut = _facts(name).train
    try:
        labels = np.fromiter((row.label for row in index.rows(name)), np.int64)
    except index.NotIndexed as error:
        raise DataUnavailable(str(error)) from error
    return torch.from_numpy(labels[:cut]), torch.from_numpy(labels[cut:])


def _facts(name: str) -> index.Facts:
    try:
        return index.facts(name)
    except index.NotIndexed as error:
        raise DataUnavailable(str(error)) from error


def _row_file(name: str, facts: index.Facts) -> RowFile:
    total = facts.train + facts.test
    shape = (total, 3, pictures.SIZE, pictures.SIZE)
    about = {"dataset": facts.checksum, "rows": total}
    return RowFile(data_cache() / f"{name}-images.npy", about, shape, np.uint8)


def _decoded(name: str, folder: Path, missing: list[int]) -> Iterator[np.ndarray]:
    """Decoded images of the chunks that begin at ``missing``, computed ahead on all cores."""

    def decode(rows: list[Row]) -> np.ndarray:
        return np.stack([_picture(folder, row) for row in rows])

    return parallel_map(decode, _chunks(index.rows(name), set(missing)))


def _chunks(rows: Iterable[Row], missing: set[int]) -> Iterator[list[Row]]:
    """Rows of the missing chunks, chunk by chunk."""
    chunk: list[Row] = []
    for number, row in enumerate(rows):
        if number % CHUNK_ROWS == 0 and chunk:
            yield chunk
            chunk = []
        if number - number % CHUNK_ROWS in missing:
            chunk.append(row)
    if chunk:
        yield chunk


def _picture(folder: Path, row: Row) -> np.ndarray:
    """Decode an image; a file that fails or has changed is scanned again next time."""
    try:
        with (folder / row.file).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == row.sha256:
                file.seek(0)
                return pictures.picture(file)
            reason = "changed since it was scanned"
    except (OSError, pictures.Unusable) as error:
        reason = getattr(error, "strerror", None) or str(error)
    scan.invalidate(row.file)
    raise DataUnavailable(
        f"{row.file!r} of {folder}: {reason}: put it back, or give the folder's path again"
    )
