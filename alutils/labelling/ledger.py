"""The ledger of labelling by hand: every answer is on disk before it is acknowledged.

An append-only file of JSON lines, one answer per line (``Entry``). Each line has a check: the first
16 hexadecimal digits of the SHA-256 of the previous line's check and the line's own content. So no
line can be changed or lost unnoticed, except the very last ones.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from alutils.labelling.entries import (
    ADD_CLASS,
    REMOVE_CLASS,
    START,
    TAKEN_OVER,
    UNDO,
    Answers,
    Entry,
    class_refusal,
    folded_name,
)
from alutils.labelling.hash_chain import Contents, LedgerDamaged, as_line, check_of, parse
from alutils.labelling.settings import NEUTRAL
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records import locks
from alutils.records.files import CanNotWrite, flush_to_disk, sync, unused, write_atomically

VERSION = 1
"""Version of the ledger's format, in its first line."""
OF_IMAGES = ("images", "image_names")
"""Facts about the images that are labelled, never set by hand."""
CONTENTS = "image_contents"
"""Another such fact; a ledger lacks it if it was started without knowing the files."""


class LedgerLocked(StudyError):
    """Somebody else is writing the ledger; the message says who."""


class Ledger:
    """A ledger that nobody else may write until it is closed or this process ends.

    Attributes
    ----------
    entries : its lines
    answers : what the lines so far add up to
    session : id of this opening of the ledger
    """

    def __init__(
        self,
        path: Path,
        classes: Iterable[str],
        facts: dict[str, Any] | None = None,
        say: Callable[[str], None] = print,
    ):
        """Open a ledger, or start a new one.

        Parameters
        ----------
        path : its file, in an existing folder
        classes : those that it starts with
        facts : what else is fixed for the whole ledger, as JSON values
        say : called with a message about what was set aside

        Raises ``ParameterError`` if it was started with other classes or facts, ``LedgerLocked``
        while somebody else writes it, ``LedgerDamaged``, ``CanNotLock`` and ``CanNotWrite``.
        """
        self.path, self.say = Path(path).resolve(), say
        self.session = secrets.token_hex(4)
        self._turn = threading.RLock()
        self.entries: list[Entry] = []
        self._file, self._end, self._unsure = -1, 0, True
        self._lock = locked(self.path)
        try:
            self._open({"version": VERSION, "classes": list(classes), **(facts or {})})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let somebody else write it; closing twice does nothing."""
        with self._turn:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
            self._lock.release()

    @property
    def facts(self) -> dict[str, Any]:
        """What is fixed for the whole ledger, the classes that it began with included."""
        return self.entries[0].facts

    def append(self, action: str, **fields: Any) -> Entry:
        """Add a line, which is on the disk when this returns.

        ``fields`` are those of ``Entry`` except number, time and session. Raises
        ``ParameterError`` if the lines so far do not allow it, ``CanNotWrite`` if writing fails and
        ``LedgerDamaged`` if the file was changed meanwhile; nothing of the line is kept then.
        """
        (entry,) = self._append([{"action": action, **fields}])
        return entry

    def _append(self, lines: Iterable[dict[str, Any]]) -> list[Entry]:
        """Add lines that do not depend on each other, in one write."""
        with self._turn:
            if self._unsure:
                self._load()
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            added, text, check = [], b"", self._check
            for number, fields in enumerate(lines, len(self.entries) + 1):
                entry = Entry(number, now, session=self.session, **fields)
                if refusal := self._refusal(entry):
                    raise ParameterError(refusal)
                check = check_of(entry.content, check)
                text += as_line(entry, check)
                added.append(entry)
            self._write(text)
            self._check, self._end = check, self._end + len(text)
            self.entries += added
            for entry in added:
                self.answers.apply(entry)
            self._unsure = False
        return added

    def _refusal(self, entry: Entry) -> str:
        """Why a line can't be added now; stricter than for lines that older ledgers may hold."""
        if entry.action == ADD_CLASS:
            return class_refusal(entry.label, self.answers.classes)
        return self.answers.refusal(entry)

    def undo(self) -> Entry:
        """Take back the latest current answer; the image's answer before it is current again.

        If the last line added a class, that is taken back instead.
        """
        if self.answers.added:
            return self.append(REMOVE_CLASS, label=self.answers.added)
        return self.append(UNDO, image=self.answers.last)

    def take_over(self, answers: Iterable[tuple[str, Entry]]) -> None:
        """Add another ledger's answers for images, without asking anybody here.

        Class names may differ from those here in Unicode normalisation. Raises as ``append``.
        """
        called = {folded_name(name): name for name in reversed(self.answers.classes)}
        called |= {name: name for name in self.answers.classes}
        self._append(
            {
                "action": entry.action,
                "image": image,
                "label": called.get(entry.label, called.get(folded_name(entry.label), entry.label)),
                "asked": TAKEN_OVER,
            }
            for image, entry in answers
        )

    def add_class(self, name: str) -> Entry:
        """Add a class, which ``undo`` takes back as long as nothing else was added."""
        return self.append(ADD_CLASS, label=name)

    def _open(self, facts: dict[str, Any]) -> None:
        """Open the file, check it, and write its first line if it is empty."""
        known = _read(self.path).entries
        if known:
            _compare(self.path.name, facts, known[0].facts)
        else:
            _check_classes(facts["classes"])
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise _can_not_write(self.path, error) from error
        self._load()
        if not self.entries:
            self.append(START, facts=facts)
            sync(self.path.parent)

    def _load(self) -> None:
        """Read the file, and set aside an unfinished line at its end.

        ``_unsure`` says whether the file may hold more than is known here, for example after a
        keyboard interrupt in the middle of a line.
        """
        self._check_file(more=True)
        content = _read(self.path)
        self.entries[:] = content.entries  # in place: others keep reading it
        self._check, self._end = content.check, content.end
        self.answers = Answers(self.entries)
        if content.torn:
            self._set_aside(content.torn)
        if self.entries and not content.ended:
            self._write(b"\n")
            self._end += 1
        self._unsure = False

    def _write(self, line: bytes) -> None:
        """Append bytes in one write and wait until they are on disk, or leave none of them."""
        self._check_file()
        self._unsure = True
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            flush_to_disk(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise _can_not_write(self.path, error) from error

    def _check_file(self, more: bool = False) -> None:
        """Raise ``LedgerDamaged`` unless the file is the one that was opened, as it was left.

        With ``more`` it may be longer.
        """
        if self._file < 0:
            raise LedgerDamaged(f"{self.path.name} is closed: open it again to answer")
        mine = os.fstat(self._file)
        as_left = mine.st_size == self._end or more and mine.st_size > self._end
        with suppress(OSError):
            if as_left and os.path.samestat(mine, os.stat(self.path)):
                return
        raise LedgerDamaged(
            f"{self.path.name} was changed, moved or removed while it was open, so this answer is "
            "not kept: put the file back as it was, then open it again"
        )

    def _set_aside(self, torn: bytes) -> None:
        """Copy an unfinished line to a file beside the ledger, then truncate it."""
        aside = unused(self.path.with_name(f"{self.path.name}.torn"))
        write_atomically(aside, torn)
        try:
            os.ftruncate(self._file, self._end)
            flush_to_disk(self._file)
        except OSError as error:
            raise _can_not_write(self.path, error) from error
        self.say(
            f"{self.path.name} ended in an incomplete line that was never acknowledged: it is set "
            f"aside as {aside.name}, and the {len(self.entries):,} lines before it are intact"
        )


def _read(path: Path) -> Contents:
    """What a file holds; nothing if it does not exist."""
    try:
        return parse(path.read_bytes(), path.name)
    except FileNotFoundError:
        return parse(b"", path.name)
    except OSError as error:
        raise _can_not_write(path, error) from error


def _compare(name: str, facts: dict[str, Any], begun: dict[str, Any]) -> None:
    """Refuse other images, classes or facts than a ledger was started with.

    Contents are compared if both know them. A setting introduced after the ledger was started
    counts as having been neutral then.
    """
    begun = {key: value for key, value in NEUTRAL.items() if key in facts} | begun
    if CONTENTS not in begun.keys() & facts.keys():
        begun, facts = (
            {key: value for key, value in each.items() if key != CONTENTS}
            for each in (begun, facts)
        )
    if any(begun.get(key) != facts.get(key) for key in (*OF_IMAGES, CONTENTS)):
        raise ParameterError(
            f"{name} was started with other images, or other names for them ({begun.get('images')} "
            f"then, {facts.get('images')} now): restore the folder as it was, or give another "
            "ledger, with this one as older_ledger"
        )
    for key in begun | facts:
        if begun.get(key) != facts.get(key):
            raise ParameterError(
                f"{key} = {facts.get(key)!r}, but {name} was started with {begun.get(key)!r}: set "
                "that, or give another ledger"
            )


def _check_classes(classes: list[str]) -> None:
    """Refuse classes if one has no proper name; the list may be empty."""
    for i, name in enumerate(classes):
        if refusal := class_refusal(name, classes[:i]):
            raise ParameterError(refusal)


def locked(path: Path) -> FileLock:
    """Acquire a ledger's lock, released when the process ends. Raises ``LedgerLocked``."""
    file = path.with_name(f".{path.name}.lock")
    remedy = "create that folder, change its permissions, or keep the ledger elsewhere"
    if lock := locks.try_lock(file, f"{path.name} can't be locked in {path.parent}", remedy):
        return lock
    raise LedgerLocked(
        f"{path.name} is being written by {locks.holder(file)}: close it there, or name another "
        "ledger"
    )


def _can_not_write(path: Path, error: OSError) -> CanNotWrite:
    return CanNotWrite(
        f"{path.name} can't be used ({error.strerror}): earlier answers are kept, this one is not; "
        "make room, or change its permissions, then answer again"
    )
