"""Whether a profile's records hold: checksums, digests, ledger, and a few picks made again."""

import statistics
from collections.abc import Iterator

import torch

from alutils import config, data
from alutils.ablation import AblationStudy
from alutils.experiment import run_round
from alutils.parameters import StudyError
from alutils.protocol import ARMS, CONTROLS, DATASETS, FURTHER, Cell
from alutils.results import Record, Store
from alutils.turn import Clock, Round, Turn, new_pool

RECOMPUTED = 3
"""Cells of which one early round is computed again."""
DEVIATIONS, LEAST = 3, 0.01
"""Elsewhere the accuracy of a round computed again may be so many standard deviations away, over
the other records that differ in arm and seed alone; or one point, where that is more."""
SAME = ("processor", "device", "machine", "cpu_capability", "bf16_products", "versions")
"""What must be equal for a round to come out bit for bit."""


class NotVerified(StudyError):
    """A record doesn't hold; the message says which and why."""


def verify(profile: str) -> None:
    """Check every record of a profile and recompute a few rounds; raise ``NotVerified``."""
    store = Store(profile)
    cells = {cell.name: cell for plan in _plans(profile) for cell in plan.cells()}.values()
    read = [(cell, *store.read(cell)) for cell in cells if store.path(cell).exists()]
    wrong = [f"{cell.name}: {damage}" for cell, _, damage in read if damage]
    records = [(cell, record) for cell, record, damage in read if not damage]
    if not read:
        raise NotVerified(f"there is no record in {store.folder}: run `make study` first")
    for dataset in dict.fromkeys(cell.dataset for cell, _ in records):
        data.load(dataset)
    for cell, record in records:
        found = list(problems(cell, record)) or drawn(cell, record)
        wrong += [f"{cell.name}: {why}" for why in found]
    rounds = sum(len(record["rounds"]) for _, record in records)
    print(f"{len(read)} of {len(cells)} records, {rounds:,} rounds: {len(wrong)} problems")
    for cell, record in sample(records):
        told, sound = recompute(cell, record, records)
        print(f"{cell.name}: {told}")
        wrong += [] if sound else [f"{cell.name}: {told}"]
    if wrong:
        raise NotVerified("; ".join(wrong))


def _plans(profile: str) -> list[config.Parameters]:
    if profile == AblationStudy().profile:
        return [AblationStudy()]
    return [config.load_study(profile, name) for name in config.notebooks(profile)]


def problems(cell: Cell, record: Record) -> Iterator[str]:
    """What doesn't hold in a record whose checksum and digests do, one line each."""
    if record["provenance"]["dataset_checksum"] != DATASETS[cell.dataset].checksum:
        yield "its dataset is another one"
    if record["status"] == "failed":
        yield f"failed ({record['final']['error']})"
    heldout = set(new_pool(cell).heldout.tolist())
    labelled: list[int] = []
    for i, done in enumerate(record["rounds"]):
        arm, number = cell.position(i)
        if number == 0:
            labelled = []
        elif done["labelled"] != record["rounds"][i - 1]["picks"]:
            yield f"round {i + 1} labelled something else than {arm} asked for"
        labelled += done["labelled"]
        expected = cell.schedule_of_labels()[number]
        if not len(labelled) == len(set(labelled)) == done["labels"] == expected:
            yield f"the labels of round {i + 1} don't add up to {expected}"
        if heldout & set(done["labelled"]):
            yield f"round {i + 1} labelled what is held out"


def drawn(cell: Cell, record: Record) -> Iterator[str]:
    """What of the draws that no training touches is another one: exact on every machine."""
    rounds = record["rounds"]
    for i, done in enumerate(rounds):
        arm, number = cell.position(i)
        if number and arm != "random":
            continue
        turn = Turn(cell, rounds[:i], torch.device("cpu"))
        if number == 0 and done["labelled"] != turn.new.tolist():
            yield "its first labels are not those of its seed"
        if arm == "random" and done["picks"] != turn.acquire(cell, {}, Clock()).tolist():
            yield f"round {i + 1} asked for other labels than its seed draws"


def sample(records: list[tuple[Cell, Record]]) -> list[tuple[Cell, Record]]:
    """Up to three cells with an early acquisition to compute again, of different arms first."""
    able = [
        (cell, record)
        for cell, record in records
        if not cell.carries_state and record["rounds"] and record["rounds"][0]["picks"]
        and set(cell.arms) <= {*ARMS, *CONTROLS, *FURTHER}
    ]  # fmt: skip
    by_arm: dict[str, list] = {}
    for one in able:
        by_arm.setdefault(one[0].arm, []).append(one)
    turns = [group[i] for i in range(RECOMPUTED) for group in by_arm.values() if i < len(group)]
    model_based = [one for one in turns if one[0].arm != "random"]
    return (model_based or turns)[:RECOMPUTED]


def recompute(cell: Cell, record: Record, records: list[tuple[Cell, Record]]) -> tuple[str, bool]:
    """Compute a record's second round again (or its first), and hold it against the kept one.

    On the same processor type and versions the picks must be the same. Elsewhere a training goes
    its own way from its first rounding on, and picks that lie close to each other change places:
    the share of equal ones is told, and the accuracy must be near that of the record.
    """
    number = 1 if len(record["rounds"]) > 1 and record["rounds"][1]["picks"] else 0
    (again,), here, _ = run_round([cell], record["rounds"][:number], None, "auto", {})
    kept = record["rounds"][number]
    equal = len(set(again["picks"]) & set(kept["picks"])) / len(kept["picks"])
    told = f"round {number + 1}, {100 * equal:.1f} % of {len(kept['picks'])} picks equal"
    if all(record["provenance"].get(key) == here[key] for key in SAME):
        return f"{told} on the same processor type and versions", again["picks"] == kept["picks"]
    allowed = max(DEVIATIONS * _spread(cell, number, records), LEAST)
    one, other = _accuracy(again), _accuracy(kept)
    told += f" elsewhere; accuracy {100 * one:.2f} %, kept {100 * other:.2f} %"
    return f"{told}, {100 * allowed:.2f} points apart allowed", abs(one - other) <= allowed


def _accuracy(done: Round) -> float:
    return done.get("test_accuracy") or done["heldout_accuracy"][-1]


def _spread(cell: Cell, number: int, records: list[tuple[Cell, Record]]) -> float:
    """Standard deviation of a round's accuracy over the records like this one; 0 with too few."""

    def like(one: Cell) -> Cell:
        return one.twin.model_copy(update={"seed": 0})

    found = [
        _accuracy(record["rounds"][number])
        for other, record in records
        if other != cell and like(other) == like(cell) and len(record["rounds"]) > number
    ]
    return statistics.stdev(found) if len(found) > 1 else 0.0
