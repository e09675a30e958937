"""Going on with a ledger that was damaged, with all of it that is whole."""

import io
import json
from dataclasses import replace
from pathlib import Path

from alutils.labelling.chain import as_line, check_of, holds
from alutils.labelling.entries import START, Answers, Entry
from alutils.labelling.ledger import locked
from alutils.protocol.parameters import ParameterError
from alutils.records.files import unused, write_whole


def repair(path: Path) -> tuple[int, int]:
    """Set a damaged ledger aside as ``NAME.damaged`` and write anew the lines that are whole.

    Whole lines after the damage are kept, with new numbers and checks, unless they make no sense
    without what is lost, as an undo of an answer that is gone. Returns how many lines were kept,
    and how many not. The new ledger may ask for other images than the old one did from there on.

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

    Empty unless they begin with the first line of a ledger.
    """
    if not entries or entries[0].action != START:
        return b"", 0
    answers, check, text, kept = Answers(), "", b"", 0
    for entry in entries:
        if not answers.refusal(entry):
            kept += 1
            answers.apply(entry)
            renewed = replace(entry, number=kept)
            check = check_of(renewed.content, check)
            text += as_line(renewed, check)
    return text, kept


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
