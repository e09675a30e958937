"""A profile's records on disk: locked, read, checked, recovered, written."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from alutils.paths import outputs
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records import locks
from alutils.records.files import remedy_for, unused, write_atomically
from alutils.records.record import (
    Record,
    as_text,
    belongs_to,
    cell_of,
    checksum,
    empty_record,
    final,
    parse,
    sound_rounds,
    state_digest,
    unsound_reason,
)

ABANDONED_S = 3600
"""Age from which a temporary file counts as abandoned."""


SETTLED_S = 2
"""Age from which time, size and inode distinguish a file from all later ones of its name."""


class StateLost(StudyError):
    """The state that a training continues from was removed or damaged during a run."""


class CanNotRead(StudyError):
    """A record exists but can't be read: its content is unknown, and it must not be changed."""


@dataclass(frozen=True)
class Facts:
    """What is kept in memory of a record that was read: everything but its rounds.

    ``rounds`` is their number, ``damage`` says what is wrong with the file, ``checksum`` is empty
    without an intact file, and ``rest`` is the JSON text of cell, final and provenance.
    """

    status: str
    rounds: int
    checksum: str
    damage: str
    rest: str

    @property
    def record(self) -> Record:
        """The record without its rounds: a new copy each time, safe to change."""
        return {"status": self.status} | json.loads(self.rest)


_remembered: dict[Path, tuple[tuple[int, ...], Facts]] = {}
"""Cache of what this process has read, with the file's time, size and inode: reading and checking a
record takes milliseconds. Records are replaced by a rename, which changes these."""


class Store:
    """The records of one profile: a file a cell under ``outputs/<profile>/runs/``."""

    def __init__(self, profile: str):
        self.folder = outputs() / profile / "runs"

    def prepare(self) -> None:
        """Create the folder, and remove what killed processes left in it.

        That is temporary files and the states of finished cells. Raises ``ParameterError`` if the
        folder can't be written, and ``CanNotLock`` if its file system has no locks.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{os.getpid()}.probe"
            probe.touch()
            probe.unlink()
            for part in self.folder.glob("*.part"):
                with suppress(FileNotFoundError):  # its writer has just renamed it
                    if time.time() - part.stat().st_mtime > ABANDONED_S:
                        part.unlink()
        except OSError as error:
            raise ParameterError(
                f"the outputs folder can't be written ({error.strerror}: {self.folder}): "
                f"{remedy_for(error)}, or name another one in ALUTILS_OUTPUTS"
            ) from None
        if lock := self._hold(probe.name):
            lock.release()
        for file in self._lock_file(probe.name).parent.glob(f"{probe.name}.*"):
            file.unlink(missing_ok=True)
        self._drop_states_of_finished()

    def _drop_states_of_finished(self) -> None:
        """Remove states whose writer was killed after it had finished their cell's record.

        No run returns to a finished cell. Only records that have states are read. If a run holds
        the cell, or a file can't be read or removed, everything is left as it is.
        """
        states: dict[str, list[Path]] = {}
        for path in self.folder.glob("*.state"):
            states.setdefault(path.name.rsplit(".", 2)[0], []).append(path)
        for name, paths in states.items():
            with suppress(OSError, locks.CanNotLock):
                text = (self.folder / f"{name}.json").read_text(encoding="utf-8", errors="replace")
                record, damage = parse(text)
                finished = record.get("status") == "finished" and not damage
                if finished and (lock := self._hold(name)):
                    try:
                        for path in paths:
                            path.unlink(missing_ok=True)
                    finally:
                        lock.release()

    def path(self, cell: Cell) -> Path:
        """File of the cell's record."""
        return self.folder / f"{cell.name}.json"

    def cell(self, name: str) -> Cell | None:
        """The cell of the record with this name; None if it is missing or can't be determined."""
        try:
            text = (self.folder / f"{name}.json").read_text(encoding="utf-8", errors="replace")
            cell = cell_of(parse(text)[0])
            own = cell.name
        except (OSError, ValueError, LookupError):  # also of a folder that is not known here
            return None
        return cell if own == name else None

    def hold(self, cell: Cell) -> FileLock | None:
        """Acquire the cell's lock; None if another run, which ``holder`` names, has it.

        The lock ends with its process. Raises ``CanNotLock`` if locking fails.
        """
        return self._hold(cell.name)

    def holder(self, cell: Cell) -> str:
        """The holder of the cell's lock while it is held: process, machine, and since when."""
        return locks.holder(self._lock_file(cell.name))

    def _lock_file(self, name: str) -> Path:
        return self.folder / ".locks" / f"{name}.lock"

    def _hold(self, name: str) -> FileLock | None:
        remedy = (
            "its file system has no locks, or another user runs the same cells; name a folder of "
            "your own in ALUTILS_OUTPUTS"
        )
        return locks.try_lock(
            self._lock_file(name), f"cells can't be locked in {self.folder}", remedy
        )

    def load(self, cell: Cell) -> Record:
        """The cell's record, or an empty one; from a damaged file, the part that is intact."""
        return self.read(cell)[0]

    def read(self, cell: Cell) -> tuple[Record, str]:
        """The cell's record, and what is wrong with its file (empty if nothing is).

        Without a file, the record is empty; from a damaged file, it has the rounds whose digests
        match, without their times, which no digest covers. Raises ``CanNotRead`` if the disk fails
        or permissions are missing.
        """
        try:
            text = self.path(cell).read_text(encoding="utf-8", errors="replace")
            record, damage = parse(text)
        except FileNotFoundError:
            return empty_record(cell), ""
        except IsADirectoryError as error:
            text, record, damage = "", {}, str(error.strerror)
        except OSError as error:
            raise _cannot_read(self.path(cell), error) from error
        if record and not belongs_to(record, cell):
            record, damage = {}, damage or "it is the record of another cell"
        if not damage:
            damage = unsound_reason(record, cell)
        if damage:
            record = empty_record(cell) | {"rounds": sound_rounds(record)[: cell.length]}
            if len(record["rounds"]) == cell.length:
                record |= {"status": "finished", "final": final(record)}
        if cell.continues_training and self._lacks_state(cell, record):
            if self._moved_on(cell, text):
                return self.read(cell)
            lost = "its last weights are" if cell.start != "cold" else "its optimiser's state is"
            record, damage = empty_record(cell), damage or f"{lost} lost"
        return record, damage

    def facts(self, cell: Cell) -> Facts:
        """The facts about the cell's record, which is read again only if its file has changed.

        If an unfinished cell continues from a state, it is read every time, as the state may get
        lost.
        """
        path = self.path(cell)
        version = _version(path)
        seen, facts = _remembered.get(path, ((), None))
        if facts is None or seen != version:
            record, damage = self.read(cell)
            rest = {key: record[key] for key in ("cell", "final", "provenance")}
            facts = Facts(
                record["status"], len(record["rounds"]), record.get("checksum", ""), damage,
                json.dumps(rest),
            )  # fmt: skip
            if version and (facts.status == "finished" or not cell.continues_training):
                _remembered[path] = version, facts
        return facts

    def recover(self, cell: Cell) -> Record:
        """The cell's record to continue from; call this while holding the cell's lock.

        A damaged file is set aside, and its intact part is written again.
        """
        record, damage = self.read(cell)
        if not damage:
            return record
        path = self.path(cell)
        aside = unused(path.with_suffix(".damaged"))
        if kept := len(record["rounds"]):  # the file stays until what is sound in it is written
            write_atomically(aside, path.read_bytes())
            self.save(cell, record)
        else:
            path.replace(aside)
        print(
            f"{path.name} is damaged ({damage}): set aside as {aside.name}, continuing after "
            f"{kept} intact rounds",
            file=sys.stderr,
        )
        return record

    def save(self, cell: Cell, record: Record) -> None:
        """Write the complete record, with its checksum, through a temporary file and a rename."""
        record["checksum"] = checksum(record)
        write_atomically(self.path(cell), as_text(record).encode())

    def load_state(self, cell: Cell, record: Record) -> bytes | None:
        """The state that the record's last round passed on.

        None if the protocol carries none, or if it is lost and no training needs it; raises
        ``StateLost`` if it is lost and a training does.
        """
        if not cell.carries_state or not record["rounds"]:
            return None
        if self._lacks_state(cell, record):
            if cell.continues_training:
                raise StateLost(
                    f"what round {len(record['rounds'])} of {cell.name} handed on is lost since "
                    "this run began: run the same command again, and the cell starts over"
                )
            return None
        return self._state(cell, record["rounds"][-1]).read_bytes()

    def save_state(self, cell: Cell, record: Record, state: bytes | None) -> None:
        """Save the state that the next round continues from; call this before ``save``."""
        if state:
            write_atomically(self._state(cell, record["rounds"][-1]), state)

    def drop_states(self, cell: Cell, record: Record) -> None:
        """Remove the states that no round will continue from; call this after ``save``."""
        if not cell.carries_state:
            return
        needed = None if record["status"] == "finished" else self._state(cell, record["rounds"][-1])
        for path in self.folder.glob(f"{cell.name}.*.state"):
            if path != needed:
                path.unlink(missing_ok=True)

    def _state(self, cell: Cell, last: dict[str, Any]) -> Path:
        """File of the state that a round passes on, named after the round's digest."""
        return self.folder / f"{cell.name}.{last['digest']}.state"

    def _lacks_state(self, cell: Cell, record: Record) -> bool:
        """Whether the state that an unfinished cell continues from is lost or damaged."""
        if not cell.carries_state or not record["rounds"] or record["status"] == "finished":
            return False
        last = record["rounds"][-1]
        try:
            state = self._state(cell, last).read_bytes()
        except FileNotFoundError:
            return True
        except OSError as error:
            raise _cannot_read(self._state(cell, last), error) from error
        return state_digest(state) != last.get("state_digest")

    def _moved_on(self, cell: Cell, text: str) -> bool:
        """Whether a run has written the record, and dropped its last state, since it was read."""
        try:
            return self.path(cell).read_text(encoding="utf-8", errors="replace") != text
        except OSError:
            return False

    def finished(self, cell: Cell) -> bool:
        """Whether the cell has all its rounds."""
        return self.facts(cell).status == "finished"

    def is_complete(self, cell: Cell) -> bool:
        """Whether the cell has all its rounds, in an undamaged file."""
        facts = self.facts(cell)
        return facts.status == "finished" and not facts.damage

    def unfinished(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells that still have to be computed: those for which ``is_complete`` is false."""
        return [cell for cell in cells if not self.is_complete(cell)]


def finished_records(store: Store, cells: Iterable[Cell]) -> Iterator[tuple[Cell, Record]]:
    """The finished cells with their records."""
    for cell in cells:
        if store.path(cell).exists() and (record := store.load(cell))["status"] == "finished":
            yield cell, record


def rounds(cell: Cell, record: Record) -> Iterator[tuple[dict[str, Any], tuple[str, int]]]:
    """A record's rounds, each with its arm and its number within that arm, from 0."""
    for i, done in enumerate(record["rounds"]):
        yield done, cell.position(i)


def _version(path: Path) -> tuple[int, ...] | None:
    """What distinguishes a file from later ones; None if it is missing or too new."""
    try:
        file = path.stat()
    except OSError:
        return None
    if time.time() - file.st_mtime < SETTLED_S:
        return None
    return file.st_mtime_ns, file.st_size, file.st_ino


def _cannot_read(path: Path, error: OSError) -> CanNotRead:
    return CanNotRead(
        f"{path.name} can't be read ({error.strerror}) and is left as it is: change its "
        "permissions, or check the disk, then run the same command again"
    )
