"""Frozen features of a dataset: computed once, on all cores, kept as one verified memory map.

A dataset's features are in the data cache as ``NAME-ENCODER.npy``, float16, training set first,
with a journal next to it (``row_file``): what is missing or damaged is computed when the features
are loaded.

Float16 halves the file; its relative rounding error of 5e-4 is far below what the linear head can
use. Each chunk is computed by one thread in float32, so its bytes depend neither on the number of
threads nor on interruptions. Their last bits depend on PyTorch's version and the processor:
features from another machine are used all the same, and are told apart by their digest.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from alutils.learning import data
from alutils.learning.data import Dataset
from alutils.learning.devices import processor
from alutils.learning.encoders import Encoder, load_encoder
from alutils.learning.row_file import CHUNK_ROWS, RowFile
from alutils.paths import data_cache
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.encoders import ENCODERS, encoder_title
from alutils.threads import Item, Result, parallel_map


@dataclass(frozen=True)
class Features:
    """A dataset whose images are replaced by features, with their mean and standard deviation.

    Attributes
    ----------
    dataset : ``train_images`` and ``test_images`` are float16 (N, D), a memory map
    mean, std : of each feature over the training set, float32 (D,); std is 1 for a constant one
    digest : of all features' bytes
    """

    dataset: Dataset
    mean: Tensor
    std: Tensor
    digest: str


@cache
def load_features(name: str, encoder: str) -> Features:
    """Load a dataset's features from the data cache, after computing those that are missing.

    Images are loaded only if features are missing: training on features doesn't use them, and a
    folder's images are many times larger than its features, and each worker would read all of them
    to check them.

    Every chunk's digest is checked once per process, which reads the complete file: with 60,000
    images of 1,280 features, this takes 0.3 s if the file is in memory already, otherwise as long
    as the disk needs to read 154 MB. A complete cache is opened read-only, and may be in a
    read-only folder.

    Raises ``DataUnavailable`` if the dataset can't be obtained or the cache can't be read or
    written, and ``EncoderUnavailable`` if the encoder's weights can't be obtained.
    """
    train_labels, test_labels = data.labels(name)
    file = _row_file(name, encoder)
    content = file.read()
    if content.missing:
        images = data.load(name)
        title = f"{dataset_title(name)}: features by {encoder_title(encoder)}"
        content = file.filled(
            f"{title}: waiting for another process to compute them",
            f"{title}, {file.shape[0]:,} images",
            lambda missing: _chunks(load_encoder(encoder), images, missing),
            {"torch": torch.__version__, "processor": processor()},
        )
    rows, cut = content.tensor, len(train_labels)
    mean, std = scale(rows[:cut])
    classes = DATASETS[name].classes
    features = Dataset(name, rows[:cut], train_labels, rows[cut:], test_labels, classes)
    digests = "".join(content.digests.values())
    return Features(features, mean, std, hashlib.sha256(digests.encode()).hexdigest()[:16])


def is_cached(name: str, encoder: str) -> bool:
    """Whether all features of a dataset by an encoder are in the data cache already."""
    return not _row_file(name, encoder).read().missing


def inputs(name: str, encoder: str) -> Dataset:
    """The network's inputs for a dataset: its images, or their features by an encoder."""
    return data.load(name) if encoder == "none" else load_features(name, encoder).dataset


def features_digest(cell: Cell) -> dict[str, str]:
    """Digest of a cell's features, for its provenance; empty without an encoder."""
    if cell.encoder == "none":
        return {}
    return {"features": load_features(cell.dataset, cell.encoder).digest}


def _row_file(name: str, encoder: str) -> RowFile:
    """The file of a dataset's features by an encoder."""
    dataset = DATASETS[name]
    total = dataset.train + dataset.test
    facts = {
        "dataset": dataset.checksum,
        "encoder": ENCODERS[encoder].identity,
        "rows": total,
    }
    path = data_cache() / f"{name}-{encoder}.npy"
    return RowFile(path, facts, (total, ENCODERS[encoder].features))


def _chunks(network: Encoder, images: Dataset, starts: list[int]) -> Iterator[np.ndarray]:
    """Float16 features of the chunks that begin at ``starts``, computed ahead on all cores."""
    parts = [images.train_images, images.test_images]

    def encode(start: int) -> np.ndarray:
        with torch.inference_mode():
            return network(_rows(parts, start, start + CHUNK_ROWS)).half().numpy()

    return on_all_cores(encode, starts)


def on_all_cores(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results of a function in the items' order, computed on all cores, one PyTorch thread each.

    PyTorch's number of threads is restored afterwards.
    """
    before = torch.get_num_threads()
    try:
        yield from parallel_map(function, items, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(before)


def _rows(parts: list[Tensor], start: int, stop: int) -> Tensor:
    """Images ``start`` to ``stop`` of the training set followed by the test set."""
    train, test = parts
    cut = len(train)
    return torch.cat([train[start:stop], test[max(0, start - cut) : max(0, stop - cut)]])


def scale(rows: Tensor) -> tuple[Tensor, Tensor]:
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
