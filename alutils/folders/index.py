"""The index of a user's own dataset: a small file of facts, and a list with one line per image.

Both are kept in the data cache under the dataset's name, ``folder-NAME-CHECKSUM``, so that a record
or a worker needs only this name. The checksum covers the classes, the labels and contents in their
order, and how images are prepared, but not file names: a changed folder is another dataset, while
with renamed files it is the same one.
"""

import filecmp
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from alutils.folders import listing, pictures
from alutils.paths import data_cache

PREFIX = "folder-"
LIST = ".files.jsonl"
LEFT_OUT = ".left-out.csv"


@dataclass(frozen=True)
class Row:
    """An image: its file relative to the folder, its part, its label (-1: unknown), its SHA-256."""

    file: str
    part: str
    label: int
    sha256: str


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset without reading its images.

    Attributes
    ----------
    title : name of the folder or table
    folder : where the images are on this machine
    train, test : images of each part
    smallest_class : number of training images in the smallest class; 0 without labels
    classes : empty without labels
    """

    title: str
    folder: str
    train: int
    test: int
    smallest_class: int
    classes: tuple[str, ...]
    checksum: str


class NotIndexed(LookupError):
    """The cache holds no index of that name; the message says what to do."""


def facts(name: str) -> Facts:
    """Return a dataset's facts by its name; raises ``NotIndexed`` if they can't be read."""
    file = _file(name, ".facts.json")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Facts(**values | {"classes": tuple(values["classes"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotIndexed(
            f"{name} is not known in {file.parent}: give the folder's path once on this machine, "
            "or copy the files of that name from a machine that has them"
        ) from error


def rows(name: str) -> Iterator[Row]:
    """Yield the images in order, training set first; raises ``NotIndexed`` for a damaged list."""
    return _rows(name, _file(name, LIST))


def _rows(name: str, file: Path) -> Iterator[Row]:
    """Yield a dataset's images from a list of them, which may hold earlier file names."""
    expected = facts(name)
    digest = _Digest(expected.classes)
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = Row(*json.loads(line))
                digest.add(row)
                yield row
    except (OSError, ValueError, TypeError) as error:
        raise NotIndexed(f"the list of files of {name} can't be read ({error})") from error
    if digest.checksum != expected.checksum:
        raise NotIndexed(
            f"the list of files of {name} is damaged: remove it, and give the folder's path again"
        )


def lists_of(count: int, is_wanted: Callable[[list[str]], bool]) -> Iterator[tuple[str, list[Row]]]:
    """Yield every cached list of ``count`` training images whose file names are wanted.

    Each comes after the name of its dataset. ``is_wanted`` takes the file names in their order;
    lists that can't be read are skipped.
    """
    for file in sorted(data_cache().glob(f"{PREFIX}*{LIST}*")):
        name = file.name.partition(LIST)[0]
        try:
            if facts(name).train == count:
                train = [row for row in _rows(name, file) if row.part == "train"]
                if is_wanted([row.file for row in train]):
                    yield name, train
        except NotIndexed:
            continue


def left_out_file(name: str) -> Path:
    """The table of files that were left out, and why."""
    return _file(name, LEFT_OUT)


def write(path: Path, classes: tuple[str, ...], images: Iterable[Row]) -> str:
    """Write the index of a folder's or table's images, training set first; returns its name.

    If there is already a list with other file names of the same images, a copy of it is kept, for
    ledgers that were begun with those names.
    """
    digest, part = _Digest(classes), data_cache() / f".index-{os.getpid()}"
    train = dict.fromkeys(range(len(classes)), 0)
    counts = dict.fromkeys(listing.PARTS, 0)
    try:
        with part.open("w", encoding="utf-8") as lines:
            for row in images:
                digest.add(row)
                counts[row.part] += 1
                if row.part == "train" and classes:
                    train[row.label] += 1
                lines.write(json.dumps([row.file, row.part, row.label, row.sha256]) + "\n")
        name = f"{PREFIX}{_slug(path.stem)}-{digest.checksum}"
        _keep_other_names(file := _file(name, LIST), part)
        part.replace(file)
        smallest = min(train.values(), default=0)
        known = Facts(
            path.stem, str(listing.base(path)), **counts, smallest_class=smallest, classes=classes,
            checksum=digest.checksum,
        )  # fmt: skip
        part.write_text(json.dumps(asdict(known), indent=1), encoding="utf-8")
        part.replace(_file(name, ".facts.json"))
    finally:
        part.unlink(missing_ok=True)
    return name


def _keep_other_names(file: Path, new: Path) -> None:
    """Keep a copy of the old list, named by its digest, if the new one differs."""
    if file.exists() and not filecmp.cmp(file, new, shallow=False):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        shutil.copyfile(file, file.with_name(f"{file.name}.{digest}"))


class _Digest:
    """The checksum of a dataset, image by image."""

    def __init__(self, classes: tuple[str, ...]):
        self.sha256 = hashlib.sha256(json.dumps([pictures.PREPARATION, classes]).encode())

    def add(self, row: Row) -> None:
        self.sha256.update(f"{row.part} {row.label} {row.sha256}\n".encode())

    @property
    def checksum(self) -> str:
        return self.sha256.hexdigest()[:16]


def _slug(title: str) -> str:
    """A title as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "images"


def _file(name: str, ending: str) -> Path:
    return data_cache() / f"{name}{ending}"
