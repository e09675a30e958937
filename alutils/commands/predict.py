"""Classify new images with a head that notebook 11 exported, as CSV."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from alutils.folders import listing
from alutils.folders.csv_rows import csv_writer
from alutils.protocol.encoders import ENCODERS
from alutils.protocol.parameters import ParameterError, StudyError, check_choice
from alutils.records.files import CanNotWrite
from alutils.waiting import bar


class NothingPredicted(StudyError):
    """None of the files is an image that can be read."""


def predict(head: str, images: list[str]) -> None:
    """Write one row per image to standard output, in the format of an export's ``predictions.csv``.

    ``head`` is an exported folder; ``images`` are files, or folders with everything in them. Files
    that aren't usable images are reported on standard error. Raises ``ParameterError`` if a path
    can't be read, ``HeadDamaged``, ``EncoderUnavailable``, and ``NothingPredicted``.
    """
    from alutils.labelling.export import prediction_columns, prediction_row
    from alutils.labelling.predictions import predictions
    from alutils.labelling.saved_head import load_head

    files = list(chain.from_iterable(map(_files, images)))
    if not files:
        raise ParameterError(f"IMAGES = {', '.join(images)} has no file: give other paths")
    saved = load_head(Path(head))
    check_choice("encoder of the head", saved.encoder, ENCODERS, ParameterError)
    classes, left_out = saved.head.classes, 0
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    writer = csv_writer(sys.stdout)
    try:
        with _written():
            writer.writerow(prediction_columns(classes))
        with bar(len(files), " images") as shown:
            for one in predictions(saved, files):
                if one.probs_C is None:
                    print(f"{one.file} is left out: {one.problem}", file=sys.stderr)
                    left_out += 1
                else:
                    with _written():
                        writer.writerow(prediction_row(str(one.file), classes, one.probs_C))
                shown.update()
        with _written():
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped reading
        return
    if left_out == len(files):
        raise NothingPredicted(f"none of {left_out:,} files is an image that can be read")


@contextmanager
def _written() -> Iterator[None]:
    """If standard output can't be written, drop the rest of it and raise ``CanNotWrite``.

    Raises ``BrokenPipeError`` if nobody reads it any more.
    """
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise CanNotWrite(
            f"the table can't be written ({error.strerror or error}): make room, then run again"
        ) from error


def _files(path: str) -> Iterator[Path]:
    """The file at a path, or all files below a folder, sorted."""
    try:
        place = listing.existing(path)
        if place is None:
            raise ValueError("it is not there")
        return map(Path, sorted(listing.files_below(place))) if place.is_dir() else iter([place])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"IMAGES = {path!r}: {reason}: give image files, or folders of them"
        ) from error
