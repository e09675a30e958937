"""The datasets: what must be known of each before it is loaded."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from alutils.folders import index, listing, pictures


@dataclass(frozen=True)
class DatasetFacts:
    """What must be known of a dataset before it is loaded."""

    train: int
    smallest_class: int
    """Number of training images in the smallest class."""
    test: int
    channels: int
    size: int
    title: str
    checksum: str
    classes: tuple[str, ...]
    figure: int | None = None
    """Number of the poster's figure that compares arms on it; None where there is none."""
    colour: str = "#8c0800"
    marker: str = "X"
    crops: bool = False
    """Whether an image keeps its class when it is mirrored or cropped at the edge."""

    def long_tail(self, imbalance: float) -> list[int]:
        """Images of each class in a thinned training set, from the most frequent to the rarest.

        Class k of C keeps n * imbalance^(-k / (C - 1)), rounded down, as in long-tailed CIFAR (Cui
        et al., arXiv 1901.05555). n is the size of the smallest class of the full training set, so
        that the profile is the same whichever classes are rare.
        """
        last = len(self.classes) - 1
        return [int(self.smallest_class / imbalance ** (k / last)) for k in range(last + 1)]

    def kept_count(self, imbalance: float) -> int:
        """Number of training images that an imbalance leaves; 1 leaves all."""
        return self.train if imbalance == 1 else sum(self.long_tail(imbalance))


class Datasets(dict[str, DatasetFacts]):
    """Facts by name; those of a folder's images are read from the data cache at first use.

    Raises ``NotIndexed`` for the name of a folder that the cache doesn't know.
    """

    def __missing__(self, name: str) -> DatasetFacts:
        if not name.startswith(index.PREFIX):
            raise KeyError(name)
        facts = index.facts(name)
        self[name] = DatasetFacts(
            train=facts.train, smallest_class=facts.smallest_class, test=facts.test, channels=3,
            size=pictures.SIZE, title=_plain(facts.title), checksum=facts.checksum,
            classes=facts.classes,
        )  # fmt: skip
        return self[name]


def _plain(title: str) -> str:
    """A folder's name without characters that Markdown, HTML or a figure may read as markup."""
    words = re.sub(r"[\\`*<>{}\[\]$|#~&]", " ", title).split()
    return " ".join(words).strip("_") or "images"


DIGITS = tuple("0123456789")
DATASETS = Datasets({
    "mnist": DatasetFacts(
        60_000, 5_421, 10_000, 1, 28, "MNIST", "cd2ab9d0a0830519", DIGITS, 4, "#0173b2", "o"
    ),
    "fashion-mnist": DatasetFacts(
        60_000, 6_000, 10_000, 1, 28, "Fashion-MNIST", "a2839b338cd08cf9",
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    ),
    "cifar10": DatasetFacts(
        50_000, 5_000, 10_000, 3, 32, "CIFAR-10", "90cb3c5af89c3fab",
        (
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
        3, "#d55e00", "s", crops=True,
    ),
    "digits": DatasetFacts(1_437, 141, 360, 1, 28, "digits", "2729f24308ade0e3", DIGITS),
})  # fmt: skip


def dataset_title(name: str) -> str:
    """A dataset's name as it is shown."""
    return DATASETS[name].title


def resolve_dataset(value: str) -> str:
    """Return the name of the dataset that a parameter gives by name, or by path (folder or table).

    A value is a path if it contains a separator, ends like a table, begins with ``~``, or is a
    folder in the working directory. The images there are scanned, which takes a while the first
    time (``folders.scan``). Raises ``ValueError`` if they are not a dataset that can be studied.
    """
    if value in DATASETS:
        return value
    if _is_path(value):
        from alutils.folders.scan import scan

        value = scan(Path(value))
    try:
        if value.startswith(index.PREFIX):
            DATASETS[value]
    except index.NotIndexed as error:
        raise ValueError(str(error)) from error
    return value


def _is_path(value: str) -> bool:
    return (
        value.startswith("~")
        or "/" in value
        or os.sep in value
        or value.lower().endswith(listing.TABLES)
        or os.path.isdir(value)
    )


DatasetName = Annotated[str, AfterValidator(resolve_dataset)]
"""A dataset's name; a parameter of this type may be a path, which becomes the name."""
