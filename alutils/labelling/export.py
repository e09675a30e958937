"""Labels in file formats that other tools read: CSV, COCO, Label Studio.

A file is written under a temporary name and renamed, replacing any existing file. So is a folder,
but it never replaces another. What a killed process left behind is removed by the next export to
the same place.
"""

import io
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from alutils.folders.csv_rows import csv_writer
from alutils.labelling.entries import NONE, Answers
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite, atomic_file, sync, write_atomically
from alutils.records.store import ABANDONED_S

COLUMNS = ("image", "action", "label", "time", "asked", "guess", "shown", "model", "session")
"""Columns of the CSV: fields of the current answer."""
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine, by their paths below its document root."""


def write_csv(path: Path, answers: Answers) -> None:
    """Write one row per answered image, in the order in which they were first answered."""
    entries = answers.current.values()
    _write_csv(path, COLUMNS, ([getattr(e, column) for column in COLUMNS] for e in entries))


def write_coco(
    path: Path,
    answers: Answers,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    without: Collection[str] = (),
) -> None:
    """COCO-style JSON: ``images``, ``categories``, and one annotation per label, without a box.

    ``sizes`` has width and height (pixels) by image; images not in it get none. Ids count from 1,
    those of categories in the order of the classes. Images without a label, those in ``without``
    and classes without a label are left out.
    """
    code = {name: i for i, name in enumerate(answers.labelled_classes, 1)}
    images, annotations = [], []
    for i, (image, label) in enumerate(_labels(answers, without), 1):
        width_height = dict(zip(("width", "height"), (sizes or {}).get(image, ()), strict=False))
        images.append({"id": i, "file_name": image, **width_height})
        annotations.append({"id": i, "image_id": i, "category_id": code[label]})
    categories = [{"id": i, "name": name} for name, i in code.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    write_file(path, _json(whole))


def write_label_studio(
    path: Path, answers: Answers, root: Path, without: Collection[str] = ()
) -> None:
    """Label Studio's import JSON: one task per labelled image, with its choice.

    ``root`` is the folder that the images' names are relative to; images in ``without`` are left
    out. An image's URL begins with that folder's name, as Label Studio serves only files of a local
    storage, which must lie below its document root. The project needs the labelling interface of
    ``label_studio_interface``.
    """
    prefix = LOCAL_FILES + quote(f"{root.name}/", errors="surrogateescape")
    tasks = [
        {
            "data": {"image": prefix + quote(image, errors="surrogateescape")},
            "annotations": [{"result": [_choice(label)]}],
            "meta": {"name": image},
        }
        for image, label in _labels(answers, without)
    ]
    write_file(path, _json(tasks))


def label_studio_interface(classes: Sequence[str]) -> str:
    """The labelling interface (XML) that the tasks of ``write_label_studio`` are made for."""
    choices = "".join(f"\n    <Choice value={quoteattr(name)}/>" for name in classes)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="label" toName="image" choice="single">{choices}\n  </Choices>\n</View>\n'
    )


def write_predictions(
    path: Path,
    answers: Answers,
    names: Sequence[str],
    classes: Sequence[str],
    probs_N_C: Any,
) -> None:
    """Write a head's predictions for images without a label: class, and all class probabilities.

    ``names`` and ``probs_N_C`` are of the whole pool, ``classes`` those of the head. Images of
    none of the classes are left out; skipped ones are not.
    """
    labels, current = answers.labels, answers.current
    rows = (
        prediction_row(name, classes, probs_C)
        for name, probs_C in zip(names, probs_N_C, strict=True)
        if name not in labels and not (name in current and current[name].action == NONE)
    )
    _write_csv(path, prediction_columns(classes), rows)


def prediction_columns(classes: Sequence[str]) -> list[str]:
    """The header of a table of a head's predictions."""
    return ["image", "guess", *(f"probability of {name}" for name in classes)]


def prediction_row(image: str, classes: Sequence[str], probs_C: Any) -> list[str]:
    """The row of an image in that table."""
    return [image, classes[int(probs_C.argmax())], *(f"{float(p):.6g}" for p in probs_C)]


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically; raises ``CanNotWrite``."""
    _clear(path)
    write_atomically(Path(path), content)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name once it is complete and on disk.

    Raises ``ParameterError`` if that name is taken, and ``CanNotWrite``.
    """
    folder = Path(folder)
    taken = ParameterError(
        f"{folder} already exists, and nothing is overwritten: give another folder"
    )
    if folder.exists() or folder.is_symlink():
        raise taken
    _clear(folder)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process with the same id
    try:
        part.mkdir()
        yield part
        _sync(part)
        part.rename(folder)
        sync(folder.parent)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if folder.exists():
            raise taken from None
        raise CanNotWrite(
            f"{folder.name} can't be written ({error.strerror}): nothing of it is kept; make room, "
            "or change the permissions of its parent folder, then export again"
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Flush a folder's files and their names to disk; targets of links are left alone."""
    for place, _, files in os.walk(folder):
        for name in files:
            if not os.path.islink(path := os.path.join(place, name)):
                sync(Path(path))
        sync(Path(place))


def _clear(path: Path) -> None:
    """Remove what a killed process left beside the path of an export."""
    path = Path(path)
    for part in path.parent.glob(f"{path.name}.*.part"):
        with suppress(OSError):  # its writer has just renamed it
            if time.time() - part.lstat().st_mtime > ABANDONED_S:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _choice(label: str) -> dict[str, Any]:
    """A label as a result of Label Studio's ``Choices``."""
    return {
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [label]},
    }


def _labels(answers: Answers, without: Collection[str]) -> list[tuple[str, str]]:
    """Images with their labels, except those in ``without``."""
    return [(image, label) for image, label in answers.labels.items() if image not in without]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table row by row, but atomically; raises ``CanNotWrite``."""
    _clear(path)
    with atomic_file(Path(path)) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        table = csv_writer(text)
        table.writerow(columns)
        table.writerows(rows)
        text.detach()  # flushes it


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
