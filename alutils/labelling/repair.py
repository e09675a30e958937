"""Going on with a ledger that was damaged, with all of it that is whole."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alutils.labelling.chain import as_line, check_of, holds
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
from alutils.labelling.ledger import locked
from alutils.protocol.parameters import ParameterError
from alutils.records.files import unused, write_whole


def repair(path: Path) -> tuple[int, int]:
    """Set a damaged ledger aside as ``NAME.damaged`` and write anew the lines that are whole.

    Whole lines after the damage are kept, with new numbers and checks, unless they make no sense
    without what is lost, as an undo of what may be an answer that is gone. Numbers of trainings are
    lowered to those that the kept lines are enough for. Returns how many lines were kept, and how
    many not. The new ledger may ask for other images than the old one did from there on.

    Raises ``ParameterError`` where the first line, with the classes, is lost; ``LedgerHeld``.
    """
    path = Path(path).resolve()
    lock = locked(path)
    try:
        content = path.read_bytes()
        lines = io.BytesIO(content).readlines()
        text, kept = _chained_anew(_whole_entries(lines))
        if not kept:
            raise ParameterError(
                f"{path.name} has lost its first line, which says what it is of: put a copy of the "
                "file in its place"
            )
        write_whole(unused(path.with_name(f"{path.name}.damaged")), content)
        write_whole(path, text)
    finally:
        lock.release()
    return kept, len(lines) - kept


def _chained_anew(entries: list[Entry]) -> tuple[bytes, int]:
    """The text of a ledger with these lines, and how many; those that make no sense are left out.

    Empty unless they begin with the first line of a ledger. A line that adds a class anew has the
    number of the label that it is for, and is not counted.
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
    """The lines that make sense, none of a training that there aren't turns enough before."""
    turns, batch = 0, entries[0].facts.get("batch")
    for entry in _that_make_sense(entries):
        yield replace(entry, model=min(entry.model, turns // batch)) if batch else entry
        turns += entry.action in TURNS


def _that_make_sense(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The lines that can follow each other where those that their numbers leave out are lost.

    A lost line counts as an answer, to any image: so an undo that may be about it is left out, as
    it would take back an answer from before, which nobody took back. Where a class was added by
    one, the first label of that class adds it.
    """
    answers, before = Answers(), 0
    undoable: list[Entry | None] = []  # answers, the latest last; None for one that is lost
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
            undoable.pop()  # the lost line, the one before, added the class


def _class_of(label: Entry, answers: Answers) -> Entry | None:
    """The line that adds the class of a label, where that is not there and may be a class."""
    if label.action != LABEL or label.label in answers.classes:
        return None
    if class_refusal(label.label, answers.classes):
        return None
    return Entry(label.number, label.time, ADD_CLASS, label=label.label, session=label.session)


def _remove_last_lost(undoable: list[Entry | None]) -> None:
    """Take the latest lost line for one that was no answer; none is left where all are told."""
    lost = [place for place, entry in enumerate(undoable) if entry is None]
    if lost:
        del undoable[lost[-1]]


def _whole_entries(lines: list[bytes]) -> list[Entry]:
    """The lines that are as they were written, judged by the check in the line before each."""
    before, entries = b'{"check":""}', []
    for line in lines:
        if holds(line, before):
            content = json.loads(line)
            del content["check"]
            entries.append(Entry(**content))
        before = line
    return entries
