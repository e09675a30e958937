"""Repair of a damaged ledger, keeping all of its intact lines."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alutils.labelling.entries import (
    ADD_CLASS,
    ANSWERS,
    LABEL,
    REMOVE_CLASS,
    START,
    TURNS,
    UNDO,
    Answers,
    Entry,
    class_refusal,
)
from alutils.labelling.hash_chain import as_line, check_of, is_intact
from alutils.labelling.ledger import locked
from alutils.protocol.parameters import ParameterError
from alutils.records.files import unused, write_atomically


def repair(path: Path) -> tuple[int, int]:
    """Set a damaged ledger aside as ``NAME.damaged`` and write its intact lines again.

    Intact lines after the damage are kept, with new numbers and checks, unless they make no sense
    without what is lost, such as an undo of an answer that may be lost. Training numbers are
    lowered to those that the kept lines suffice for. Returns how many lines were kept, and how many
    were not. From there on, the new ledger may ask for other images than the old one did.

    Raises ``ParameterError`` if the first line, with the classes, is lost, and ``LedgerLocked``.
    """
    path = Path(path).resolve()
    lock = locked(path)
    try:
        content = path.read_bytes()
        lines = io.BytesIO(content).readlines()
        text, kept = _chained_anew(_whole_entries(lines))
        if not kept:
            raise ParameterError(
                f"{path.name} has lost its first line, which says what it belongs to: put a copy "
                "of the file in its place"
            )
        write_atomically(unused(path.with_name(f"{path.name}.damaged")), content)
        write_atomically(path, text)
    finally:
        lock.release()
    return kept, len(lines) - kept


def _chained_anew(entries: list[Entry]) -> tuple[bytes, int]:
    """The text of a ledger with those of these lines that make sense, and the number of lines kept.

    Empty unless they begin with the first line of a ledger. A line that adds a class again has the
    number of the label that needs it, and is not counted.
    """
    if not entries or entries[0].action != START:
        return b"", 0
    check, text, kept = "", b"", set()
    for number, entry in enumerate(_trained_on_what_is_left(entries), 1):
        renewed = replace(entry, number=number)
        check = check_of(renewed.content, check)
        text += as_line(renewed, check)
        kept.add(entry.number)
    return text, len(kept)


def _trained_on_what_is_left(entries: list[Entry]) -> Iterator[Entry]:
    """The lines that make sense, with training numbers limited by the turns before them."""
    turns, batch = 0, entries[0].facts.get("batch")
    for entry in _that_make_sense(entries):
        yield replace(entry, model=min(entry.model, turns // batch)) if batch else entry
        turns += entry.action in TURNS


def _that_make_sense(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The lines that can follow each other, given that those missing from their numbers are lost.

    A lost line counts as an answer for some image. So an undo that may refer to it is left out, as
    it would take back an earlier answer, which nobody took back. If a lost line added a class, the
    first label of that class adds it.
    """
    answers, before = Answers(), 0
    undoable: list[Entry | None] = []  # answers, the latest last; None for a lost one
    for place, entry in enumerate(entries, 1):
        undoable += [None] * (entry.number - before - 1)
        before = entry.number
        if entry.number > place and (added := _class_of(entry, answers)):
            answers.apply(added)
            yield added
            _remove_last_lost(undoable)
        if entry.action == UNDO and undoable and undoable[-1] is None:
            undoable.pop()
        elif not answers.refusal(entry):
            answers.apply(entry)
            if entry.action == UNDO:
                undoable.pop()
            elif entry.action in ANSWERS:
                undoable.append(entry)
            yield entry
        elif entry.action in ANSWERS:
            undoable.append(None)
        elif entry.action == REMOVE_CLASS and undoable and undoable[-1] is None:
            undoable.pop()  # the lost line before it added the class


def _class_of(label: Entry, answers: Answers) -> Entry | None:
    """The line that adds a label's class, if it is missing and can be a class."""
    if label.action != LABEL or label.label in answers.classes:
        return None
    if class_refusal(label.label, answers.classes):
        return None
    return Entry(label.number, label.time, ADD_CLASS, label=label.label, session=label.session)


def _remove_last_lost(undoable: list[Entry | None]) -> None:
    """Count the latest lost line, if there still is one, as not an answer."""
    lost = [place for place, entry in enumerate(undoable) if entry is None]
    if lost:
        del undoable[lost[-1]]


def _whole_entries(lines: list[bytes]) -> list[Entry]:
    """The lines that are as they were written, judged by the check in the line before each."""
    before, entries = b'{"check":""}', []
    for line in lines:
        if is_intact(line, before):
            content = json.loads(line)
            del content["check"]
            entries.append(Entry(**content))
        before = line
    return entries
