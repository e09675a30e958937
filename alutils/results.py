"""Records of cells on disk, and the tidy table that everything else reads."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from alutils.config import DATASETS, Cell, ParameterError
from alutils.paths import outputs

Record = dict[str, Any]


def canonical(value: Any) -> str:
    """JSON text that two equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def chained(done: dict[str, Any], before: str) -> str:
    """Digest of a round, chained to the digest ``before``; times are not part of it."""
    facts = {
        key: value
        for key, value in done.items()
        if key != "digest" and not key.startswith("seconds_")
    }
    return hashlib.sha256((before + canonical(facts)).encode()).hexdigest()[:16]


class Store:
    """The records of one profile: a file a cell under ``outputs/<profile>/runs/``."""

    def __init__(self, profile: str):
        self.folder = outputs() / profile / "runs"

    def prepare(self) -> None:
        """Make the folder; raise ``ParameterError`` where it can't be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{os.getpid()}.probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ParameterError(
                f"the outputs folder can't be written ({error.strerror}: {self.folder}): "
                "change its rights, or name another one in ALUTILS_OUTPUTS"
            ) from None

    def path(self, cell: Cell) -> Path:
        """File of the cell's record."""
        return self.folder / f"{cell.name}.json"

    def lock(self, cell: Cell) -> FileLock:
        """Lock that whoever runs the cell holds; it dies with its process."""
        folder = self.folder / ".locks"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / f"{cell.name}.lock", thread_local=False)

    def load(self, cell: Cell) -> Record:
        """The cell's record, or an empty one; of a damaged file the sound rounds stay."""
        path = self.path(cell)
        if not path.exists():
            return _empty(cell)
        text = path.read_text(encoding="utf-8", errors="replace")
        record, damage = _parse(text)
        if not damage:
            return record
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        sound = _sound_rounds(record)
        print(
            f"{path.name} is damaged ({damage}): set aside as {aside.name}, "
            f"going on after {len(sound)} sound rounds",
            file=sys.stderr,
        )
        return _empty(cell) | {"rounds": sound}

    def save(self, cell: Cell, record: Record) -> None:
        """Write the record whole, with its checksum, through a temporary file and a rename."""
        record["checksum"] = _checksum(record)
        path = self.path(cell)
        part = path.with_suffix(f".{os.getpid()}.part")
        with open(part, "w", encoding="utf-8") as file:
            file.write(_dump(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def finished(self, cell: Cell) -> bool:
        """Whether the cell's record is on disk and complete."""
        return self.path(cell).exists() and self.load(cell)["status"] == "finished"


def table(store: Store, cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per cell and round of the finished cells, in the order of ``cells``."""
    rows = []
    for cell in cells:
        if not store.path(cell).exists():
            continue
        record = store.load(cell)
        if record["status"] != "finished":
            continue
        fields = {key: getattr(cell, key) for key in ("figure", "dataset", "arm", "seed")}
        for number, done in enumerate(record["rounds"], start=1):
            plain = {key: value for key, value in done.items() if not isinstance(value, list)}
            held = done["heldout_accuracy"]
            best = {"heldout_best": max(held), "heldout_last": held[-1]} if held else {}
            rows.append(fields | {"round": number} | plain | best | {"record": cell.name})
    return pd.DataFrame(rows)


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
    except ValueError:
        return {}, "not JSON"
    if not isinstance(record, dict):
        return {}, "not a record"
    if record.get("checksum") != _checksum(record):
        return record, "its checksum does not hold"
    return record, ""


def _sound_rounds(record: Record) -> list[dict[str, Any]]:
    """The rounds up to the first one whose chained digest does not hold."""
    sound: list[dict[str, Any]] = []
    rounds = record.get("rounds")
    for done in rounds if isinstance(rounds, list) else []:
        before = sound[-1]["digest"] if sound else ""
        if not isinstance(done, dict) or done.get("digest") != chained(done, before):
            break
        sound.append(done)
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
