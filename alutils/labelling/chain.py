"""The lines of a ledger as bytes, each with a check that is chained to the line before."""

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
    """A ledger is not as it was written; the message says where, what is whole, and the remedy."""


@dataclass(frozen=True)
class Contents:
    """What a ledger's file holds.

    Attributes
    ----------
    entries, check : its lines, and the check of the last one
    end : bytes that hold them
    torn : what follows, which was never acknowledged
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
    """The lines of a ledger, whoever is writing it; a half-written last one is left out.

    Raises ``LedgerDamaged`` where a check does not hold, ``FileNotFoundError`` without a file.
    """
    return parse(path.read_bytes(), path.name).entries


def parse(content: bytes, name: str) -> Contents:
    """What the bytes of the ledger ``name`` hold; raises ``LedgerDamaged``.

    Torn is a last line that does not hold and has no line feed, or has bytes that were never
    written, which are zero: a power cut leaves either. One that lacks its line feed alone is whole.
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
    """A line's entry and check, and nothing else; or no entry, and what is wrong with the line."""
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
    """Whether a torn first line was to be a ledger's, and is not a file of something else."""
    head = b'{"action":"start"'
    return line.startswith(head) or head.startswith(line) or not line.strip(b"\0")


def _damage(name: str, lines: list[bytes], at: int, problem: str) -> str:
    """The message for the line at position ``at``."""
    if not at:
        return f"{name} is no ledger (line 1: {problem}): name another file, or put its copy there"
    after = len(lines) - at - 1
    later = sum(holds(line, before) for before, line in pairwise(lines[at:]))
    return (
        f"{name} is damaged in line {at + 1} of {len(lines)} ({problem}); lines 1 to {at} are "
        f"whole, and {later} of the {after} after it. Nothing was changed: put a copy of the file "
        "in its place, or call alutils.labelling.repair.repair on it, which sets it aside and goes "
        "on with the lines that are whole"
    )


def holds(line: bytes, before: bytes) -> bool:
    """Whether a line is as it was written, judged by the check that the line before it has."""
    try:
        content, earlier = json.loads(line), json.loads(before)
        return content.pop("check") == check_of(content, earlier["check"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
