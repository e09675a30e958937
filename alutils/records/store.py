"""Records of cells on disk: written whole, checked, recovered."""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alutils.paths import outputs
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import ParameterError, StudyError

Record = dict[str, Any]
PLACE = (
    "processor", "device", "machine", "cpu_capability", "bf16_products", "versions", "features",
)  # fmt: skip
"""What of a provenance must be equal for a round to come out bit for bit (see ``place_of``)."""
ABANDONED_S = 3600
"""Age from which on a temporary file is no longer being written."""
NEXT = "labelled in the next round"
"""What stands in a file for a round's picks where the next round repeats them."""
END_OF_ROUND = "\n  }"
"""What every round ends with in a file, as ``_dump`` indents it."""


class CanNotWrite(StudyError):
    """A file can't be written, for want of space or rights."""


class CanNotRead(StudyError):
    """A record is there but can't be read, so that nothing may be said of it, or done to it."""


def place_of(provenance: dict[str, Any]) -> dict[str, Any]:
    """What must be equal of two places for a round to come out bit for bit in both.

    Processor, device, libraries, and the number of the arithmetic (``network.ARITHMETIC``), which
    records from before it lack. Not this package's version: code that computes the same may change.
    """
    place = {key: provenance[key] for key in PLACE if key in provenance}
    if "versions" in place:
        place["versions"] = {k: v for k, v in place["versions"].items() if k != "alutils"}
    return place and place | {"arithmetic": provenance.get("arithmetic", 1)}


def canonical(value: Any) -> str:
    """JSON text that two equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def chained(done: dict[str, Any], before: str) -> str:
    """Digest of a round, chained to the digest ``before``; times are not part of it."""
    return hashlib.sha256((before + canonical(lasting(done))).encode()).hexdigest()[:16]


def lasting(done: dict[str, Any]) -> dict[str, Any]:
    """What a round computed, without how long that took and without its digest."""
    return {k: v for k, v in done.items() if k != "digest" and not k.startswith("seconds_")}


class CanNotLock(StudyError):
    """The cells of a folder can't be locked, so that two runs could write one record."""


class Store:
    """The records of one profile: a file a cell under ``outputs/<profile>/runs/``."""

    def __init__(self, profile: str):
        self.folder = outputs() / profile / "runs"

    def prepare(self) -> None:
        """Make the folder; raise ``ParameterError`` where it can't be written.

        ``CanNotLock`` where its file system has no locks. Temporary files that killed processes
        left there are removed.
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
                "change its rights, or name another one in ALUTILS_OUTPUTS"
            ) from None
        if lock := self._acquire(probe.name):
            lock.release()
        self._lock_file(probe.name).unlink(missing_ok=True)

    def path(self, cell: Cell) -> Path:
        """File of the cell's record."""
        return self.folder / f"{cell.name}.json"

    def lock(self, cell: Cell) -> FileLock:
        """Lock that whoever runs the cell holds; it dies with its process."""
        return self._lock(cell.name)

    def hold(self, cell: Cell) -> FileLock | None:
        """The cell's lock, acquired; None where another run holds it, which ``holder`` names."""
        if lock := self._acquire(cell.name):
            since = time.strftime("%Y-%m-%d %H:%M")
            with suppress(OSError):  # it serves a message alone
                self._holder_file(cell).write_text(
                    f"process {os.getpid()} on {platform.node()}, since {since}"
                )
        return lock

    def holder(self, cell: Cell) -> str:
        """Who holds the cell's lock while somebody does: process, machine, and since when."""
        try:
            return self._holder_file(cell).read_text()
        except (OSError, ValueError):
            return "an unknown process"

    def _lock_file(self, name: str) -> Path:
        return self.folder / ".locks" / f"{name}.lock"

    def _holder_file(self, cell: Cell) -> Path:
        return self._lock_file(cell.name).with_suffix(".holder")

    def _lock(self, name: str) -> FileLock:
        file = self._lock_file(name)
        file.parent.mkdir(exist_ok=True)
        return FileLock(file, thread_local=False)

    def _acquire(self, name: str) -> FileLock | None:
        """A lock by its name; None where it is held; ``CanNotLock`` where that can't be."""
        try:
            lock = self._lock(name)
            lock.acquire(blocking=False)
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:  # the latter is filelock's, without flock
            reason = getattr(error, "strerror", None) or error
            raise CanNotLock(
                f"cells can't be locked in {self.folder} ({reason}): its file system has no locks, "
                "or another user runs the same cells; name a folder of your own in ALUTILS_OUTPUTS"
            ) from error
        return lock

    def load(self, cell: Cell) -> Record:
        """The cell's record, or an empty one; of a damaged file what is sound in it."""
        return self.read(cell)[0]

    def read(self, cell: Cell) -> tuple[Record, str]:
        """The cell's record, and what is wrong with its file (nothing: an empty string).

        Without a file an empty record; of a damaged one the rounds whose digests hold, without
        their times, which no digest covers. ``CanNotRead`` where the disk or its rights fail.
        """
        try:
            text = self.path(cell).read_text(encoding="utf-8", errors="replace")
            record, damage = _parse(text)
        except FileNotFoundError:
            return _empty(cell), ""
        except IsADirectoryError as error:
            text, record, damage = "", {}, str(error.strerror)
        except OSError as error:
            raise _unread(self.path(cell), error) from error
        if record and not _belongs(record, cell):
            record, damage = {}, damage or "it is the record of another cell"
        if not damage:
            damage = _unsound(record, cell)
        if damage:
            record = _empty(cell) | {"rounds": _sound_rounds(record)[: cell.length]}
            if len(record["rounds"]) == cell.length:
                record |= {"status": "finished", "final": final(record)}
        if self._lacks_state(cell, record):
            if self._moved_on(cell, text):
                return self.read(cell)
            lost = "its last weights are" if cell.start != "cold" else "its optimiser's state is"
            record, damage = _empty(cell), damage or f"{lost} lost"
        return record, damage

    def recover(self, cell: Cell) -> Record:
        """The cell's record to go on from; call it under the cell's lock.

        A damaged file is set aside, and what is sound in it written anew.
        """
        record, damage = self.read(cell)
        if not damage:
            return record
        path = self.path(cell)
        aside = _free(path.with_suffix(".damaged"))
        if kept := len(record["rounds"]):  # the file stays until what is sound in it is written
            write_whole(aside, path.read_bytes())
            self.save(cell, record)
        else:
            path.replace(aside)
        print(
            f"{path.name} is damaged ({damage}): set aside as {aside.name}, going on after "
            f"{kept} sound rounds",
            file=sys.stderr,
        )
        return record

    def save(self, cell: Cell, record: Record) -> None:
        """Write the record whole, with its checksum, through a temporary file and a rename."""
        record["checksum"] = _checksum(record)
        write_whole(self.path(cell), (_dump(_shortened(record)) + "\n").encode())

    def load_state(self, cell: Cell, record: Record) -> bytes | None:
        """What the record's last round handed on; None where the protocol carries nothing."""
        if not cell.carries_state or not record["rounds"]:
            return None
        return self._state(cell, record["rounds"][-1]).read_bytes()

    def save_state(self, cell: Cell, record: Record, state: bytes | None) -> None:
        """Keep the state that the next round goes on from; to be called before ``save``."""
        if state:
            write_whole(self._state(cell, record["rounds"][-1]), state)

    def drop_states(self, cell: Cell, record: Record) -> None:
        """Remove the states that no round will go on from; to be called after ``save``."""
        if not cell.carries_state:
            return
        needed = None if record["status"] == "finished" else self._state(cell, record["rounds"][-1])
        for path in self.folder.glob(f"{cell.name}.*.state"):
            if path != needed:
                path.unlink(missing_ok=True)

    def _state(self, cell: Cell, last: dict[str, Any]) -> Path:
        return self.folder / f"{cell.name}.{last['digest']}.state"

    def _lacks_state(self, cell: Cell, record: Record) -> bool:
        """Whether an unfinished cell can't go on, as what it goes on from is lost or damaged."""
        if not cell.carries_state or not record["rounds"] or record["status"] == "finished":
            return False
        last = record["rounds"][-1]
        try:
            state = self._state(cell, last).read_bytes()
        except FileNotFoundError:
            return True
        except OSError as error:
            raise _unread(self._state(cell, last), error) from error
        return state_digest(state) != last.get("state_digest")

    def _moved_on(self, cell: Cell, text: str) -> bool:
        """Whether a run has written the record, and dropped its last state, since it was read."""
        try:
            return self.path(cell).read_text(encoding="utf-8", errors="replace") != text
        except OSError:
            return False

    def finished(self, cell: Cell) -> bool:
        """Whether the cell has all its rounds."""
        return self.load(cell)["status"] == "finished"

    def sound(self, cell: Cell) -> bool:
        """Whether the cell has all its rounds, in a file that is as it was written."""
        record, damage = self.read(cell)
        return record["status"] == "finished" and not damage


def final(record: Record) -> dict[str, Any]:
    """What stands at the end of a finished record."""
    last = record["rounds"][-1]
    keys = ("labels", "test_accuracy", "heldout_accuracy")
    return {key: last[key] for key in keys if key in last}


def state_digest(state: bytes) -> str:
    """Short hash of what a round hands on, kept in that round."""
    return hashlib.sha256(state).hexdigest()[:16]


def write_whole(path: Path, content: bytes) -> None:
    """All of a file or nothing of it: a temporary one, flushed to the disk, then renamed.

    Raises ``CanNotWrite``; the file that was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        remedy = "make room" if error.errno in (ENOSPC, EDQUOT, EFBIG) else "change its rights"
        raise CanNotWrite(
            f"{path.name} can't be written ({error.strerror}): what was written before is kept; "
            f"{remedy}, then run the same command again"
        ) from error
    with suppress(OSError):  # where a folder can be synced, the rename reaches the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def finished(store: Store, cells: Iterable[Cell]) -> Iterator[tuple[Cell, Record]]:
    """The finished cells with their records."""
    for cell in cells:
        if store.path(cell).exists() and (record := store.load(cell))["status"] == "finished":
            yield cell, record


def rounds(cell: Cell, record: Record) -> Iterator[tuple[dict[str, Any], tuple[str, int]]]:
    """A record's rounds, each with its arm and its number within that arm, from 0."""
    for i, done in enumerate(record["rounds"]):
        yield done, cell.position(i)


def _unread(path: Path, error: OSError) -> CanNotRead:
    return CanNotRead(
        f"{path.name} can't be read ({error.strerror}) and is left as it is: change its rights, or "
        "look at the disk, then run the same command again"
    )


def _empty(cell: Cell) -> Record:
    return {
        "cell": cell.model_dump(mode="json"),
        "status": "running",
        "rounds": [],
        "final": {},
        "provenance": {"dataset_checksum": DATASETS[cell.dataset].checksum, "wall_seconds": 0.0},
    }


def _checksum(record: Record) -> str:
    facts = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def _parse(text: str) -> tuple[Record, str]:
    """The record, and what is wrong with it (nothing: an empty string)."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _before(text, getattr(error, "pos", 0)), "not JSON"
    if not isinstance(record, dict):
        return {}, "not a record"
    _restore(record)
    if record.get("checksum") != _checksum(record):
        return record, "its checksum does not hold"
    return record, ""


def _before(text: str, end: int) -> Record:
    """A record's cell, and its rounds that end before a place, where the file is cut or spoiled."""
    while (end := text.rfind(END_OF_ROUND, 0, end)) >= 0:
        with suppress(ValueError, RecursionError):  # a later part of a record ends so too
            record = json.loads(text[:end] + END_OF_ROUND + "]}")
            _restore(record)
            return record
    return {}


def _shortened(record: Record) -> Record:
    """The record as its file has it: a round's picks are not written twice."""
    rounds = record["rounds"]
    short = [
        done | {"picks": NEXT} if done.get("picks") == after.get("labelled", "") else done
        for done, after in zip(rounds, [*rounds, {}][1:], strict=True)
    ]
    return record | {"rounds": short}


def _restore(record: Record) -> None:
    """Undo ``_shortened`` in place, so far as the record has the form of one."""
    rounds = record.get("rounds")
    for done, after in pairwise(rounds if isinstance(rounds, list) else []):
        if isinstance(done, dict) and isinstance(after, dict) and done.get("picks") == NEXT:
            done["picks"] = after.get("labelled")


def _belongs(record: Record, cell: Cell) -> bool:
    """Whether the record says that it is the cell's; keys that are not known here don't count."""
    if not isinstance(record.get("cell"), dict):
        return False
    told = {key: value for key, value in record["cell"].items() if key in Cell.model_fields}
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in told.items()}
    try:
        return Cell(**plain).name == cell.name
    except (ValueError, KeyError):
        return False


KEPT = {"status": str, "rounds": list, "final": dict, "provenance": dict}
"""What a record has beside its cell."""


def _unsound(record: Record, cell: Cell) -> str:
    """What is wrong with a record whose checksum holds (nothing: an empty string)."""
    wrong = [key for key, kind in KEPT.items() if not isinstance(record.get(key), kind)]
    if wrong:
        return f"it lacks {wrong[0]}"
    if len(_sound_rounds(record)) < len(record["rounds"]):
        return "the digest of a round does not hold"
    done, whole = len(record["rounds"]), cell.length
    if done > whole or (done == whole) != (record["status"] == "finished"):
        return f"it is {record['status']} with {done} of {whole} rounds"
    return ""


def _free(path: Path) -> Path:
    """The path, or the first one like it that no file has yet."""
    taken = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(one for one in taken if not one.exists())


def _sound_rounds(record: Record) -> list[dict[str, Any]]:
    """The rounds up to the first one whose chained digest does not hold."""
    sound: list[dict[str, Any]] = []
    rounds = record.get("rounds")
    for done in rounds if isinstance(rounds, list) else []:
        before = sound[-1]["digest"] if sound else ""
        if not isinstance(done, dict) or done.get("digest") != chained(done, before):
            break
        sound.append({k: v for k, v in done.items() if not k.startswith("seconds_")})
    return sound


def _dump(value: Any, indent: int = 0) -> str:
    """JSON with a key a line and arrays of plain values on one line."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(key)}: {_dump(v, indent + 1)}" for key, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        rows = [f"{pad}{_dump(v, indent + 1)}" for v in value]
        return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"
    return json.dumps(value)
