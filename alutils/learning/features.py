"""Frozen features of a dataset: computed once, on all cores, kept as one verified memory map.

A dataset's features lie in the data cache as ``NAME-ENCODER.npy``, float16, the training set
first, and beside it ``NAME-ENCODER.jsonl``, which says in its first line what they are features
of, and in a line a chunk the SHA-256 of the chunk's bytes. A chunk that has no line, or whose
bytes are others, is computed when the features are loaded: so an interrupted computation goes on,
and a damaged file mends itself.

Float16 halves the file: its rounding, 5e-4 of a value, is far below what the linear head can use.
Each chunk is computed by one thread in float32, so that its bytes depend on neither the number of
threads nor on what was interrupted.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from dask.system import CPU_COUNT
from torch import Tensor
from tqdm import tqdm

from alutils.learning import data
from alutils.learning.data import Dataset
from alutils.learning.encoders import Encoder, load_encoder
from alutils.paths import data_cache
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.encoders import ENCODERS, encoder_title

CHUNK = 128
"""Images that are encoded at once; a thread needs about 250 MB for them."""


@dataclass(frozen=True)
class Features:
    """A dataset whose images are replaced by their features, and the scale of these.

    Attributes
    ----------
    dataset : ``train_images`` and ``test_images`` are float16 (N, D), a memory map
    mean, std : of every feature over the training set, float32 (D,); a constant one has std 1
    digest : of all features' bytes
    """

    dataset: Dataset
    mean: Tensor
    std: Tensor
    digest: str


@cache
def load_features(name: str, encoder: str) -> Features:
    """Features of a dataset by an encoder, from the data cache, or computed into it first.

    Raises ``DataUnavailable`` where the dataset can't be had or the cache not be written,
    ``EncoderUnavailable`` where the encoder's weights can't be had.
    """
    images = data.load(name)
    file = data_cache() / f"{name}-{encoder}.npy"
    title = f"{dataset_title(name)}: features by {encoder_title(encoder)}"
    with data.alone(file.with_suffix(".lock"), title):
        try:
            digests = _complete(file, images, encoder, title)
        except OSError as error:
            raise data.DataUnavailable(
                f"the features of {dataset_title(name)} can't be written into {file.parent} "
                f"({error.strerror or error}): make room, change its rights, or name another "
                "folder in ALUTILS_DATA"
            ) from error
    rows = torch.from_numpy(np.load(file, mmap_mode="c"))
    cut = len(images.train_images)
    mean, std = _scale(rows[:cut])
    features = replace(images, train_images=rows[:cut], test_images=rows[cut:])
    return Features(features, mean, std, hashlib.sha256("".join(digests).encode()).hexdigest()[:16])


def inputs(name: str, encoder: str) -> Dataset:
    """What a network is given of a dataset: its images, or their features by an encoder."""
    return data.load(name) if encoder == "none" else load_features(name, encoder).dataset


def features_digest(cell: Cell) -> dict[str, str]:
    """Digest of the features that a cell is trained on, for its provenance; empty without any."""
    if cell.encoder == "none":
        return {}
    return {"features": load_features(cell.dataset, cell.encoder).digest}


def _complete(file: Path, images: Dataset, encoder: str, title: str) -> list[str]:
    """Compute what the file lacks; returns the digest of every chunk, in order."""
    parts = [images.train_images, images.test_images]
    total, width = sum(map(len, parts)), ENCODERS[encoder].features
    journal = file.with_suffix(".jsonl")
    facts = {
        "dataset": DATASETS[images.name].checksum,
        "encoder": ENCODERS[encoder].identity,
        "rows": total,
    }
    known = _known(file, journal, facts, (total, width))
    starts = range(0, total, CHUNK)
    if not known:
        np.lib.format.open_memmap(file, "w+", np.float16, (total, width)).flush()
        journal.write_text(json.dumps(facts))
    rows = np.load(file, mmap_mode="r+")
    damaged = [s for s in known if _digest(rows[s : s + CHUNK]) != known[s]]
    if damaged:
        print(f"{file.name}: {len(damaged)} damaged chunks are computed again", file=sys.stderr)
    missing = [start for start in starts if start not in known or start in set(damaged)]
    if missing:
        print(f"{title}, {total:,} images", file=sys.stderr)
        known |= _encode(rows, parts, missing, load_encoder(encoder), journal)
    return [known[start] for start in starts]


def _known(file: Path, journal: Path, facts: dict, shape: tuple[int, int]) -> dict[int, str]:
    """Digests of finished chunks by their first row; none where the file is of something else."""
    try:
        head, *lines = journal.read_text().splitlines()
        if json.loads(head) != facts or np.load(file, mmap_mode="r").shape != shape:
            return {}
    except (FileNotFoundError, ValueError, EOFError):
        return {}
    known = {}
    for line in lines:
        try:
            start, digest = json.loads(line)
        except ValueError:  # the last line of a computation that was killed
            continue
        known[start] = digest
    return known


def _encode(
    rows: np.ndarray, parts: list[Tensor], missing: list[int], network: Encoder, journal: Path
) -> dict[int, str]:
    """Fill the missing chunks of ``rows``, each with its line in the journal; their digests.

    After a power cut a line may be on the disk before its chunk: the digest then tells.
    """
    digests = {}
    done = len(rows) - sum(min(CHUNK, len(rows) - start) for start in missing)
    bar = tqdm(total=len(rows), initial=done, unit=" images", disable=None, leave=False)
    with bar, journal.open("a") as lines:
        for start, chunk in _chunks(network, parts, missing):
            rows[start : start + CHUNK] = chunk
            digests[start] = _digest(chunk)
            lines.write("\n" + json.dumps([start, digests[start]]))
            lines.flush()
            bar.update(len(chunk))
    rows.flush()
    return digests


def _chunks(
    network: Encoder, parts: list[Tensor], starts: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """First row and float16 features of every chunk, on all cores, a few chunks ahead."""

    def one_thread() -> None:
        torch.set_num_threads(1)

    def encode(start: int) -> np.ndarray:
        with torch.inference_mode():
            return network(_rows(parts, start, start + CHUNK)).half().numpy()

    with _threads_restored(), ThreadPoolExecutor(CPU_COUNT, initializer=one_thread) as pool:
        ahead = 2 * CPU_COUNT
        waiting = [(start, pool.submit(encode, start)) for start in starts[:ahead]]
        for start in [*starts[ahead:], *[None] * len(waiting)]:
            first, chunk = waiting.pop(0)
            yield first, chunk.result()
            if start is not None:
                waiting.append((start, pool.submit(encode, start)))


@contextmanager
def _threads_restored() -> Iterator[None]:
    """PyTorch's number of threads is the same afterwards, whatever was set meanwhile."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rows(parts: list[Tensor], start: int, stop: int) -> Tensor:
    """Images ``start`` to ``stop`` of the training set followed by the test set."""
    train, test = parts
    cut = len(train)
    return torch.cat([train[start:stop], test[max(0, start - cut) : max(0, stop - cut)]])


def _digest(chunk: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(chunk).data).hexdigest()[:16]


def _scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every column, in float64, chunk by chunk."""
    total = torch.zeros(rows.shape[1], dtype=torch.double)
    squares = torch.zeros_like(total)
    for chunk in rows.split(4_096):
        values = chunk.double()
        total += values.sum(0)
        squares += values.square().sum(0)
    mean = total / len(rows)
    std = (squares / len(rows) - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return mean.float(), std.float()
