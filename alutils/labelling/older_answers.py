"""Answers of an older ledger, taken over if images were added, removed or moved since its start.

A table of labels from elsewhere can be used in its place.
"""

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from alutils.folders import index, listing
from alutils.labelling import hash_chain
from alutils.labelling.entries import LABEL, NONE, START, Answers, Entry, class_refusal, folded_name
from alutils.labelling.hash_chain import LedgerDamaged
from alutils.labelling.images import FolderImages
from alutils.labelling.ledger import CONTENTS, OF_IMAGES, Ledger
from alutils.labelling.pool import digest_of_contents, digest_of_names
from alutils.protocol.parameters import ParameterError
from alutils.waiting import bar

AT_ONCE = 10
"""Answers taken over per write. Each write waits for the disk; they are so few that a power cut is
unlikely to leave a gap among them."""


@dataclass(frozen=True)
class OlderAnswers:
    """What an older ledger, or a table of labels, says about a folder's current images.

    Attributes
    ----------
    path : its file
    classes : its classes, later additions at the end; for a table, those of images in the folder
    answers : by current image name, the current answer there
    gone : number of answers for images that are not to be labelled now
    by_content : whether images were matched by content, or only by name
    """

    path: Path
    classes: list[str]
    answers: dict[str, Entry]
    gone: int
    by_content: bool


def read(path: Path, images: FolderImages, classes: Sequence[str] = ()) -> OlderAnswers:
    """Read an older ledger or a table (``listing.labels``), for a ledger with ``classes``.

    A ledger's images are matched by content if the data cache still has the list of files that it
    was started with, so that a file may have another name; otherwise by name. A table's images are
    matched by name, relative to the folder or to the table, and a copy of an image by content.
    Raises ``ParameterError`` if it can't be read, answers none of the current images, or has a
    class that differs from one of ``classes`` only in case.
    """
    key = f"older_ledger = {str(path)!r}"
    is_table = path.suffix.lower() in listing.TABLES
    try:
        entries = _rows_of_table(path, images) if is_table else hash_chain.read(path)
    except (LedgerDamaged, OSError, ValueError, csv.Error) as error:
        raise ParameterError(f"{key} can't be read: {error}") from error
    if not entries:
        raise ParameterError(f"{key} is empty: leave it out")
    given = Answers(entries)
    names, by_content = _names_today(path, entries, images)
    answers = {names[old]: entry for old, entry in given.current.items() if old in names}
    if not answers:
        told = "content" if by_content else "name"
        other = "the ledger of an earlier state of this folder"
        if is_table:
            other = "a table whose images are named relative to the folder, or to the table"
        raise ParameterError(
            f"{key} has no answer for an image of {images.folder}, matched by {told}: give "
            f"{other}, or leave it empty"
        )
    others = given.classes
    if is_table:  # a table for many folders also has their classes
        here = {entry.label for entry in answers.values()}
        others = [name for name in others if name in here]
    known = {folded_name(name): name for name in classes}
    for name in others:
        mine = known.get(folded_name(name), name)
        if normalize("NFC", mine) != normalize("NFC", name):
            raise ParameterError(
                f"classes has {mine!r}, and {key} has {name!r}: use the same spelling in classes"
            )
    gone = len(given.current) - len(answers)
    return OlderAnswers(path, others, answers, gone, by_content)


def _rows_of_table(path: Path, images: FolderImages) -> list[Entry]:
    """The labels of a table as answers, with their classes sorted by name.

    Images that are in the folder get their names there. Raises ``ValueError`` if an image has two
    labels or a label can't be a class, and as ``listing.labels``.
    """
    labels: dict[str, str] = {}
    called: dict[str, str] = {}
    names = _Names(images, path)
    for file, label in listing.labels(path):
        name = names.today(file)
        other = called.setdefault(name, file)
        if labels.setdefault(name, label) != label:
            same = "" if other == file else f" ({other!r} is the same image)"
            raise ValueError(f"{file!r} is {labels[name]!r} and {label!r}: keep only one{same}")
    classes = sorted(set(labels.values()))
    for number, name in enumerate(classes):
        if refusal := class_refusal(name, classes[:number]):
            raise ValueError(refusal)
    start = Entry(1, "", START, facts={"classes": classes})
    rows = [Entry(i, "", LABEL, *row) for i, row in enumerate(labels.items(), 2)]
    return [start, *rows] if rows else []


class _Names:
    """Names in a folder of a table's files, given relative to the folder or to the table."""

    def __init__(self, images: FolderImages, table: Path):
        self.images, self.table, self.folder = images, table, images.folder
        self.folders = (images.folder.resolve(), images.folder)
        self.by_form: dict[str, list[str]] = {}
        for name in images.pool.names:
            self.by_form.setdefault(_form(name), []).append(name)
        self.by_content = _by_content(images.digests)

    def today(self, file: str) -> str:
        """The name of a file's image, or of the one that it is a copy of.

        Surrounding spaces and Unicode normalisation are ignored if only one image can be meant. A
        missing file keeps its name; raises ``ValueError`` if that is not UTF-8. The table's path
        contains no links, the folder's may.
        """
        spellings = dict.fromkeys((file, file.strip()))
        names = [name for spelt in spellings for name in self._names(spelt)]
        for name in names:
            if name in self.images.pool.position or name in self.images.for_test:
                return name
        for name in names:
            if len(alike_names := self.by_form.get(_form(name), [])) == 1:
                return alike_names[0]
        for place in (self.folder / file, self.table.parent / file):
            with suppress(OSError, ValueError):
                if place.is_file():  # reading a pipe would block
                    return self.by_content.get(_digest(place), names[0])
        return listing.utf_8(names[0])

    def _names(self, file: str) -> list[str]:
        """A file's names in the folder, if relative to that, and if relative to the table."""
        beside = [os.path.relpath(self.table.parent / file, folder) for folder in self.folders]
        return [os.path.normpath(file), *beside]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _form(name: str) -> str:
    return normalize("NFC", name.strip())


def _by_content(digests: Mapping[str, str]) -> dict[str, str]:
    """Names of images by the SHA-256 of their files."""
    return {digest: name for name, digest in digests.items()}


def _names_today(
    path: Path, entries: Sequence[Entry], images: FolderImages
) -> tuple[dict[str, str], bool]:
    """Current image names by their names in a ledger, and whether they were matched by content.

    A table's rows come with no list of images and already have current names.
    """
    facts = entries[0].facts
    count, digest = (facts.get(key) for key in OF_IMAGES)
    lists = list(index.lists_of(count, lambda names: digest_of_names(names) == digest))
    if CONTENTS in facts:
        lists = [(name, rows) for name, rows in lists if _contents(rows) == facts[CONTENTS]]
    if not lists:
        return {name: name for name in images.pool.names}, False
    own = [rows for name, rows in lists if name == path.parent.name]
    contents: dict[str, set[str]] = {}
    for rows in own or [rows for _, rows in lists]:
        for row in rows:
            contents.setdefault(row.file, set()).add(row.sha256)
    by_content = _by_content(images.digests)
    known = {old: found.pop() for old, found in contents.items() if len(found) == 1}
    return {old: by_content[digest] for old, digest in known.items() if digest in by_content}, True


def _contents(rows: Sequence[index.Row]) -> str:
    return digest_of_contents({row.file: row.sha256 for row in rows})


def take_over(ledger: Ledger, older: OlderAnswers) -> str:
    """Add an older ledger's answers for images that were never answered here.

    Returns what was done; an empty string if nothing. Nobody is asked for these answers and no
    model guessed them first, so they are trained on like others but say nothing about its accuracy.
    An answer that an image is of none of the older classes is ignored if there are new ones. What
    is missing after a kill is added at the next call. Raises as ``Ledger.append``.
    """
    first = ledger.answers.first
    left = {image: entry for image, entry in older.answers.items() if image not in first}
    open_ = _of_no_class(left, older.classes, ledger.answers.classes)
    left = {image: entry for image, entry in left.items() if image not in open_}
    if not left:
        return _again(open_) if open_ and not first else ""
    for name in older.classes:
        if folded_name(name) not in map(folded_name, ledger.answers.classes):
            ledger.add_class(name)
    with bar(len(left), " answers") as shown:
        answers = list(left.items())
        for start in range(0, len(answers), AT_ONCE):
            block = answers[start : start + AT_ONCE]
            ledger.take_over(block)
            shown.update(len(block))
    told = "content" if older.by_content else "name only"
    done = (
        f"answers taken over from {older.path}: {len(left):,}, for images matched by {told}; "
        f"{older.gone:,} more are for images that are not here"
    )
    return f"{done}; {_again(open_)}" if open_ else done


def _again(open_: set[str]) -> str:
    """How many answers are left out, as there are more classes now."""
    return f"{len(open_):,} of no class are asked for again, as there are more classes now"


def _of_no_class(
    answers: Mapping[str, Entry], before: Sequence[str], now: Sequence[str]
) -> set[str]:
    """Images that were of none of the classes then, if there are new classes now."""
    if set(map(folded_name, now)) <= set(map(folded_name, before)):
        return set()
    return {image for image, entry in answers.items() if entry.action == NONE}


def hint(path: Path, images: FolderImages, classes: Sequence[str] = ()) -> str:
    """A note that an older ledger has answers for a folder whose ledger has none yet; else empty.

    ``path`` is of the form ``PROFILE/labels/folder-NAME-CHECKSUM/ledger.jsonl``. The ledgers of all
    profiles are considered: first those of folders of the same name, then others, most of whose
    answers must be for images that are here, matched by content. Among these the one with the most
    answers is taken. A ledger with none of ``classes`` answers another question.
    """
    stem = path.parent.name.rpartition("-")[0]
    pattern = f"*/labels/{index.PREFIX}*/{path.name}"
    others = [file for file in path.parents[3].glob(pattern) if file != path]
    namesakes = {file: file.parent.name.rpartition("-")[0] == stem for file in others}
    with suppress(LedgerDamaged, OSError):  # in this folder's ledger: reported when it is opened
        if path.exists() and Answers(hash_chain.read(path)).first:
            return ""
    mine, usable = set(map(folded_name, classes)), []
    for file in others:
        with suppress(ParameterError):
            found = read(file, images, classes)
            same = found.by_content and len(found.answers) > found.gone
            if (namesakes[file] or same) and not mine.isdisjoint(map(folded_name, found.classes)):
                usable.append(found)
    if not usable:
        return ""
    best = max(usable, key=lambda each: (namesakes[each.path], len(each.answers)))
    taken = len(best.answers) - len(_of_no_class(best.answers, best.classes, classes))
    return (
        "this is a new ledger, as the folder, its images or the profile have changed; older_ledger "
        f"= {str(best.path)!r} takes over {taken:,} earlier answers"
    )
