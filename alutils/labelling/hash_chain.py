"""The lines of a ledger as bytes, each with a check (hash) chained to the line before."""

import hashlib
import io
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from alutils.labelling.entries import START, Answers, Entry
from alutils.protocol.parameters import StudyError
from alutils.records.record import canonical


class LedgerDamaged(StudyError):
    """A ledger is not as it was written; the message says where, what is intact, and the remedy."""


@dataclass(frozen=True)
class Contents:
    """What a ledger's file holds.

    Attributes
    ----------
    entries, check : its lines, and the check of the last one
    end : number of bytes that they take
    torn : the bytes after that, which were never acknowledged
    ended : whether the last line has its line feed
    """

    entries: list[Entry]
    check: str
    end: int
    torn: bytes
    ended: bool


def check_of(content: dict[str, Any], before: str) -> str:
    """Check of a line's content after a line with the check ``before``."""
    return hashlib.sha256((before + canonical(content)).encode()).hexdigest()[:16]


def as_line(entry: Entry, check: str) -> bytes:
    """A line of the file."""
    return (canonical(entry.content | {"check": check}) + "\n").encode()


def read(path: Path) -> list[Entry]:
    """The lines of a ledger, even while it is being written; a half-written last one is left out.

    Raises ``LedgerDamaged`` if a check does not hold, ``FileNotFoundError`` without a file.
    """
    return parse(path.read_bytes(), path.name).entries


def parse(content: bytes, name: str) -> Contents:
    """What the bytes of the ledger ``name`` hold; raises ``LedgerDamaged``.

    A last line is torn if its check does not hold and it has no line feed, or has zero bytes, which
    were never written: a power cut leaves either. One that only lacks its line feed is intact.
    """
    lines = io.BytesIO(content).readlines()
    entries: list[Entry] = []
    answers, check, end = Answers(), "", 0
    for i, line in enumerate(lines):
        entry, found, problem = _entry(line, check, i + 1, answers)
        if entry is None:
            half = not line.endswith(b"\n") or b"\0" in line
            if i + 1 == len(lines) and half and (entries or _begins_a_ledger(line)):
                break
            raise LedgerDamaged(_damage(name, lines, i, problem))
        answers.apply(entry)
        entries.append(entry)
        check, end = found, end + len(line)
    return Contents(entries, check, end, content[end:], content[:end].endswith(b"\n"))


def _entry(
    line: bytes, before: str, number: int, answers: Answers
) -> tuple[Entry | None, str, str]:
    """A line's entry, its check and no problem; or None, no check and the problem."""
    try:
        content = json.loads(line)
    except ValueError:
        return None, "", "it is no JSON"
    if not isinstance(content, dict):
        return None, "", "it is no line of a ledger"
    check = content.pop("check", "")
    if check != check_of(content, before):
        return None, "", "its check does not hold"
    try:
        entry = Entry(**content)
    except TypeError:
        return None, "", "it is of another version"
    if entry.number != number or (number == 1) != (entry.action == START):
        return None, "", f"it has the number {entry.number}"
    if refusal := answers.refusal(entry):
        return None, "", refusal
    return entry, check, ""


def _begins_a_ledger(line: bytes) -> bool:
    """Whether a torn first line is the start of a ledger, and not of some other file."""
    head = b'{"action":"start"'
    return line.startswith(head) or head.startswith(line) or not line.strip(b"\0")


def _damage(name: str, lines: list[bytes], at: int, problem: str) -> str:
    """The message for the line at position ``at``."""
    if not at:
        return f"{name} is not a ledger (line 1: {problem}): give another file, or restore a copy"
    after = len(lines) - at - 1
    later = sum(is_intact(line, before) for before, line in pairwise(lines[at:]))
    return (
        f"{name} is damaged in line {at + 1} of {len(lines)} ({problem}); lines 1 to {at} are "
        f"intact, and {later} of the {after} after it. Nothing was changed: put a copy of the file "
        "in its place, or call alutils.labelling.repair.repair on it, which sets it aside and "
        "continues with the intact lines"
    )


def is_intact(line: bytes, before: bytes) -> bool:
    """Whether a line is as it was written, judged by the check of the line before it."""
    try:
        content, earlier = json.loads(line), json.loads(before)
        return content.pop("check") == check_of(content, earlier["check"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
