"""A record's content: digests of its rounds, its text in a file, and which of it is intact."""

import hashlib
import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS

Record = dict[str, Any]
PLACE = (
    "processor", "device", "machine", "cpu_capability", "bf16_products", "versions", "features",
    "scoring_batch",
)  # fmt: skip
"""Provenance fields that must be equal to reproduce a round bit for bit (see ``place_of``)."""
NEXT = "labelled in the next round"
"""Replaces a round's picks in a file if the next round repeats them."""
END_OF_ROUND = "\n  }"
"""What every round ends with in a file, as ``_dump`` indents it."""


def place_of(provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of a provenance that must be equal for a round to be reproduced bit for bit.

    It has the processor, the device, the libraries, the version of the arithmetic
    (``network.ARITHMETIC``; 1 for older records), and the scoring batch if memory ran out for the
    full one. It lacks this package's version, as changed code may compute the same.
    """
    place = {key: provenance[key] for key in PLACE if key in provenance}
    if "versions" in place:
        place["versions"] = {k: v for k, v in place["versions"].items() if k != "alutils"}
    return place and place | {"arithmetic": provenance.get("arithmetic", 1)}


def canonical(value: Any) -> str:
    """JSON text that two equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def chained_digest(done: dict[str, Any], before: str) -> str:
    """Digest of a round, chained to the digest ``before``; times are not part of it."""
    return hashlib.sha256((before + canonical(computed_part(done))).encode()).hexdigest()[:16]


def computed_part(done: dict[str, Any]) -> dict[str, Any]:
    """What a round computed: the round without its times and its digest."""
    return {k: v for k, v in done.items() if k != "digest" and not k.startswith("seconds_")}


def final(record: Record) -> dict[str, Any]:
    """The entry ``final`` of a finished record."""
    last = record["rounds"][-1]
    keys = ("labels", "test_accuracy", "heldout_accuracy")
    return {key: last[key] for key in keys if key in last}


def state_digest(state: bytes) -> str:
    """Short hash of the state that a round passes on, kept in that round."""
    return hashlib.sha256(state).hexdigest()[:16]


def diverged(record: Record) -> bool:
    """Whether the cell failed because a training diverged to non-finite values.

    The same training would diverge again: its seed is left out, and there is nothing to fix.
    """
    error = record["final"].get("error", "")
    return record["status"] == "failed" and error.startswith("NotFinite:")


def empty_record(cell: Cell) -> Record:
    """The record of a cell that has no round yet."""
    return {
        "cell": cell.model_dump(mode="json"),
        "status": "running",
        "rounds": [],
        "final": {},
        "provenance": {"dataset_checksum": DATASETS[cell.dataset].checksum, "wall_seconds": 0.0},
    }


def checksum(record: Record) -> str:
    """SHA-256 of everything in the record except its checksum."""
    facts = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def parse(text: str) -> tuple[Record, str]:
    """The record in a file's text, and what is wrong with it (empty if nothing is).

    From a truncated or corrupted text, the record has the cell and the rounds before the damage.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _before_cut(text, getattr(error, "pos", 0)), "not JSON"
    if not isinstance(record, dict):
        return {}, "not a record"
    _restore(record)
    if record.get("checksum") != checksum(record):
        return record, "its checksum does not match"
    return record, ""


def _before_cut(text: str, end: int) -> Record:
    """The record's cell, and the rounds that end before position ``end`` of its corrupted text."""
    while (end := text.rfind(END_OF_ROUND, 0, end)) >= 0:
        with suppress(ValueError, RecursionError):  # a later part of a record ends so too
            record = json.loads(text[:end] + END_OF_ROUND + "]}")
            _restore(record)
            return record
    return {}


def _shortened(record: Record) -> Record:
    """The record as written to its file: ``NEXT`` replaces picks that the next round repeats."""
    rounds = record["rounds"]
    short = [
        done | {"picks": NEXT} if done.get("picks") == after.get("labelled", "") else done
        for done, after in zip(rounds, [*rounds, {}][1:], strict=True)
    ]
    return record | {"rounds": short}


def _restore(record: Record) -> None:
    """Undo ``_shortened`` in place, as far as the record is well formed."""
    rounds = record.get("rounds")
    for done, after in pairwise(rounds if isinstance(rounds, list) else []):
        if isinstance(done, dict) and isinstance(after, dict) and done.get("picks") == NEXT:
            done["picks"] = after.get("labelled")


def belongs_to(record: Record, cell: Cell) -> bool:
    """Whether the record states that it belongs to the cell."""
    try:
        return cell_of(record).name == cell.name
    except (ValueError, LookupError):
        return False


def cell_of(record: Record) -> Cell:
    """The cell that the record names; keys that are unknown here are ignored.

    Raises ``ValueError`` if it names none.
    """
    if not isinstance(record.get("cell"), dict):
        raise ValueError("the record names no cell")
    known = {key: value for key, value in record["cell"].items() if key in Cell.model_fields}
    return Cell(**{key: tuple(v) if isinstance(v, list) else v for key, v in known.items()})


REQUIRED_ENTRIES = {"status": str, "rounds": list, "final": dict, "provenance": dict}
"""A record's entries besides its cell, with their types."""


def unsound_reason(record: Record, cell: Cell) -> str:
    """What is wrong with a record whose checksum matches (empty if nothing is)."""
    wrong = [key for key, kind in REQUIRED_ENTRIES.items() if not isinstance(record.get(key), kind)]
    if wrong:
        return f"it lacks {wrong[0]}"
    if len(sound_rounds(record)) < len(record["rounds"]):
        return "the digest of a round does not match"
    done, whole = len(record["rounds"]), cell.length
    if done > whole or (done == whole) != (record["status"] == "finished"):
        return f"it is {record['status']} with {done} of {whole} rounds"
    return ""


def sound_rounds(record: Record) -> list[dict[str, Any]]:
    """The rounds before the first whose chained digest does not match, without their times."""
    sound: list[dict[str, Any]] = []
    rounds = record.get("rounds")
    for done in rounds if isinstance(rounds, list) else []:
        before = sound[-1]["digest"] if sound else ""
        if not isinstance(done, dict) or done.get("digest") != chained_digest(done, before):
            break
        sound.append({k: v for k, v in done.items() if not k.startswith("seconds_")})
    return sound


def as_text(record: Record) -> str:
    """The text of the record's file: JSON, without repeated picks (see ``_shortened``)."""
    return _dump(_shortened(record)) + "\n"


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
