"""Answers of an older ledger, taken over where images came, went or moved since it was begun."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alutils.folders import index
from alutils.labelling import chain
from alutils.labelling.entries import TAKEN_OVER, TURNS, Answers, Entry
from alutils.labelling.images import FolderImages
from alutils.labelling.ledger import OF_IMAGES, Ledger
from alutils.labelling.pool import digest_of_names
from alutils.protocol.parameters import ParameterError


@dataclass(frozen=True)
class Older:
    """What an older ledger says of the images of a folder today.

    Attributes
    ----------
    path : its file
    classes : its classes, those added since at the end
    answers : by an image's name today, the answer that holds there
    gone : answers of images that are not to be labelled today
    by_content : whether images were told by their content, or by their names alone
    """

    path: Path
    classes: list[str]
    answers: dict[str, Entry]
    gone: int
    by_content: bool


def read(path: Path, images: FolderImages) -> Older:
    """Read an older ledger; raises ``ParameterError`` where it answers no image of today.

    Images are told by their content where the data cache still has the list of files that the
    ledger was begun with, so that a file may have another name; else by their names.
    """
    entries = chain.read(path)
    if not entries:
        raise ParameterError(f"older_ledger = {str(path)!r} is empty: leave it out")
    given = Answers(entries)
    names, by_content = _names_today(entries, images)
    answers = {names[old]: entry for old, entry in given.current.items() if old in names}
    if not answers:
        told = "contents" if by_content else "names"
        raise ParameterError(
            f"older_ledger = {str(path)!r} has no answer for an image of {images.folder}, by their "
            f"{told}: name the ledger of an earlier state of this folder, or leave it empty"
        )
    gone = len(given.current) - len(answers)
    return Older(path, given.classes, answers, gone, by_content)


def _names_today(entries: Sequence[Entry], images: FolderImages) -> tuple[dict[str, str], bool]:
    """By an image's name in a ledger its name today, and whether contents told so."""
    today = images.pool.position
    count, digest = (entries[0].facts.get(key) for key in OF_IMAGES)
    then = index.train_rows_of(count, lambda names: digest_of_names(names) == digest)
    if not then:
        return dict(zip(today, today, strict=True)), False
    by_content = {digest: name for name, digest in images.digests.items()}
    found = {row.file: by_content.get(row.sha256) for row in then}
    return {old: new for old, new in found.items() if new}, True


def take_over(ledger: Ledger, older: Older) -> str:
    """Add an older ledger's answers to one without answers of its own; returns what was done.

    Nobody is asked for them, and no model guessed them before: they are trained on like others, and
    tell nothing of its accuracy. What a kill leaves out is added at the next call. Nothing is done
    where that was finished before. Raises ``ParameterError`` where the ledger has other answers,
    and ``Ledger.append``'s errors.
    """
    turns = [entry for entry in ledger.entries if entry.action in TURNS]
    own = [entry for entry in turns if entry.asked != TAKEN_OVER]
    if own and len(own) == len(turns):
        raise ParameterError(
            f"older_ledger = {str(older.path)!r}, but {ledger.path.name} has answers of its own "
            "already: leave it empty, or name another ledger to begin"
        )
    left = {image: e for image, e in older.answers.items() if image not in ledger.answers.given}
    if own or not left:
        return ""
    for name in older.classes:
        if name not in ledger.answers.classes:
            ledger.add_class(name)
    for image, entry in left.items():
        ledger.append(entry.action, image=image, label=entry.label, asked=TAKEN_OVER)
    told = "content" if older.by_content else "name alone"
    return (
        f"answers taken over from {older.path}: {len(left):,}, of images told by their {told}; "
        f"{older.gone:,} more are of images that are not here"
    )


def hint(path: Path) -> str:
    """That there is an older ledger of a folder of the same name, for one that is to begin.

    ``path`` is of the form ``.../folder-NAME-CHECKSUM/ledger.jsonl``.
    """
    stem = path.parent.name.rpartition("-")[0]
    others = [
        file
        for file in path.parent.parent.glob(f"{stem}-*/{path.name}")
        if file.parent.name.rpartition("-")[0] == stem and file != path
    ]
    if path.exists() or not others:
        return ""
    latest = max(others, key=lambda file: file.stat().st_mtime)
    return (
        "this begins a new ledger, as images came, went or changed; answers given before are taken "
        f"over by older_ledger = {str(latest)!r}"
    )
