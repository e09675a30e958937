"""Whether a profile's records hold: checksums, digests, ledger, draws, a few rounds made again."""

import math
from collections.abc import Iterator
from statistics import stdev

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from alutils.learning import data
from alutils.learning.devices import settle
from alutils.learning.streams import stream
from alutils.protocol import parameters
from alutils.protocol.arms import ARMS, BUILT_IN
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import ParameterError, StudyError, known
from alutils.records.record import Record, lasting, place_of
from alutils.records.store import Store
from alutils.reporting.prose import count
from alutils.running.provenance import provenance
from alutils.running.round import CurrentRound, Round, new_pool, run_round
from alutils.strategies.own import STRATEGIES
from alutils.studies import profiles
from alutils.studies.choices import precision, recipe
from alutils.studies.claims.ablation import AblationStudy

RECOMPUTED = 3
"""Cells of which one early round is computed again."""
DEVIATIONS, LEAST = 3, 0.02
"""Elsewhere the accuracy of a round computed again may be so many standard deviations away, those
of the difference of two of the profile's trainings on as many labels; or two points, where that is
more."""
CHANCE = 0.001
"""Elsewhere the picks of an arm that ranks by a score must lie further forward in the ranking made
again than as many drawn at random would with this probability."""
NEAR = 0.05
"""Share by which label counts may differ to count as equal there."""


class NotVerified(StudyError):
    """A record doesn't hold; the message says which and why."""


def verify(profile: str) -> None:
    """Check every record of a profile and recompute a few rounds; raise ``NotVerified``."""
    store = Store(profile)
    cells = {cell.name: cell for plan in _plans(profile) for cell in plan.cells()}.values()
    read = [(cell, *store.read(cell)) for cell in cells if store.path(cell).exists()]
    others = {path.stem for path in store.folder.glob("*.json")} - {cell.name for cell in cells}
    wrong = [f"{cell.name}: {damage}" for cell, _, damage in read if damage]
    records = [(cell, record) for cell, record, damage in read if not damage]
    if not read:
        raise NotVerified(f"there is no record in {store.folder}: run `make study` first")
    for dataset in dict.fromkeys(cell.dataset for cell, _ in records):
        data.load(dataset)
    sound: list[tuple[Cell, Record]] = []
    for cell, record in records:
        found = list(problems(cell, record)) or list(drawn(cell, record))
        wrong += [f"{cell.name}: {why}" for why in found]
        sound += [] if found else [(cell, record)]
    rounds = sum(len(record["rounds"]) for _, record in records)
    print(f"{len(read)} of {len(cells)} records, {rounds:,} rounds: {len(wrong)} problems")
    if others:
        told = count(len(others), "record")
        print(f"{told} of no cell of these parameters, not checked: {min(others)} first")
    for cell, record in sample(sound):
        told, equal = recompute(cell, record, sound)
        print(f"{cell.name}: {told}")
        wrong += [] if equal else [f"{cell.name}: {told}"]
    if wrong:
        raise NotVerified("; ".join(wrong))


def _plans(profile: str) -> list[parameters.Parameters]:
    besides = [AblationStudy(), *recipe.plans(), *precision.plans()]  # they have no notebook
    if own := [plan for plan in besides if plan.profile == profile]:
        return own
    every = [*profiles.profiles(), *dict.fromkeys(plan.profile for plan in besides)]
    known("PROFILE", profile, every, ParameterError)
    return [profiles.load_study(profile, name) for name in profiles.notebooks(profile)]


def problems(cell: Cell, record: Record) -> Iterator[str]:
    """What doesn't hold in a record whose checksum and digests do, one line each."""
    facts = DATASETS[cell.dataset]
    classes = len(facts.classes)
    if record["provenance"]["dataset_checksum"] != facts.checksum:
        yield "its dataset is another one"
    if record["status"] == "failed":
        yield f"failed ({record['final']['error']})"
    labels_N, pool = data.load(cell.dataset).train_labels, set(new_pool(cell).unlabelled.tolist())
    labelled: list[int] = []
    for i, done in enumerate(record["rounds"]):
        arm, number = cell.position(i)
        if number == 0:
            labelled = []
        elif done["labelled"] != record["rounds"][i - 1]["picks"]:
            yield f"round {i + 1} labelled something else than {arm} asked for"
        if not pool.issuperset(done["labelled"]):
            yield f"round {i + 1} labelled what is held out, or not there"
            return
        labelled += done["labelled"]
        expected = cell.schedule_of_labels()[number]
        if not len(labelled) == len(set(labelled)) == done["labels"] == expected:
            yield f"the labels of round {i + 1} don't add up to {expected}"
        if done["class_counts"] != labels_N[labelled].bincount(minlength=classes).tolist():
            yield f"the classes of round {i + 1} are not those of its labels"
        if (done["epochs"], done["steps"]) != (cell.epochs, cell.steps()[i]):
            yield f"round {i + 1} was trained for other than {cell.steps()[i]:,} steps"
        if number + 1 == cell.rounds and done["picks"]:
            yield f"round {i + 1}, the last one, asked for labels"


def drawn(cell: Cell, record: Record) -> Iterator[str]:
    """What of the draws that no training touches is another one: exact on every machine."""
    rounds = record["rounds"]
    for i, done in enumerate(rounds):
        arm, number = cell.position(i)
        if number and arm != "random":
            continue
        current = CurrentRound(cell, rounds[:i], torch.device("cpu"))
        current.__dict__["net"] = None  # no draw asks it, and building it takes most of a second
        if number == 0 and done["labelled"] != current.new.tolist():
            yield "its first labels are not those of its seed"
        if arm == "random" and done["picks"] != current.acquire(cell, {}).tolist():
            yield f"round {i + 1} asked for other labels than its seed draws"


def sample(records: list[tuple[Cell, Record]]) -> list[tuple[Cell, Record]]:
    """Up to three cells with an early acquisition to compute again.

    Of different arms first, then of different datasets, then of different seeds.
    """
    able = [
        (cell, record)
        for cell, record in records
        if not cell.carries_state and record["rounds"] and record["rounds"][0]["picks"]
        and set(cell.arms) <= set(BUILT_IN)
    ]  # fmt: skip
    left = [one for one in able if one[0].arm != "random"] or able
    taken: list[tuple[Cell, Record]] = []

    def used(one: tuple[Cell, Record]) -> list[int]:
        return [
            sum(getattr(cell, key) == getattr(one[0], key) for cell, _ in taken)
            for key in ("arm", "dataset", "seed")
        ]

    while left and len(taken) < RECOMPUTED:
        taken.append(min(left, key=used))
        left.remove(taken[-1])
    return taken


def recompute(cell: Cell, record: Record, records: list[tuple[Cell, Record]]) -> tuple[str, bool]:
    """Compute a record's second round again (or its first), and hold it against the kept one.

    On the same processor type and versions it must be the same. Elsewhere a training goes its own
    way from its first rounding on: its accuracy must be near that of the record, and what the
    record picked must lie towards the front of its ranking.
    """
    number = 1 if len(record["rounds"]) > 1 and record["rounds"][1]["picks"] else 0
    past, kept, then = record["rounds"][:number], record["rounds"][number], record["provenance"]
    place = settle("auto")
    here = provenance(place)
    if then.get("earlier_places") or place_of(then) != place_of(here):
        return _elsewhere(CurrentRound(cell, past, place), kept, records)
    (again,), _, _ = run_round([cell], past, None, "auto", {})
    equal = len(set(again["picks"]) & set(kept["picks"]))
    other = [key for key, value in lasting(kept).items() if again.get(key) != value]
    told = (
        f"round {number + 1}, {equal} of {len(kept['picks'])} picks equal on the same processor "
        "type and versions"
    )
    return f"{told}; {', '.join(other)} differ" if other else told, not other


def _elsewhere(
    current: CurrentRound, kept: Round, records: list[tuple[Cell, Record]]
) -> tuple[str, bool]:
    """A round computed again where rounding differs, held against the kept one."""
    trained = current.train(None)
    accuracy = _accuracy(current.judge() | {"heldout_accuracy": trained.heldout_accuracy})
    allowed = max(DEVIATIONS * math.sqrt(2) * _spread(current.cell, current.number, records), LEAST)
    told = (
        f"round {current.number + 1}, elsewhere: accuracy {100 * accuracy:.2f} %, kept "
        f"{100 * _accuracy(kept):.2f} %, {100 * allowed:.2f} points apart allowed"
    )
    near = abs(accuracy - _accuracy(kept)) <= allowed
    if not ARMS[current.arm].by_score:
        return told, near
    place, p = _place(current, kept["picks"])
    return (
        f"{told}; the kept picks lie at {100 * place:.1f} % of the ranking on average (by chance "
        f"so far forward with p = {p:.1g})",
        near and p < CHANCE,
    )


def _place(current: CurrentRound, picks: list[int]) -> tuple[float, float]:
    """Mean place of ``picks`` in a current's whole ranking, from 0 to 1, and its one-sided p-value.

    That is of the rank-sum test (Mann and Whitney, 1947) against picks drawn at random.
    """
    view, wanted = current.view, torch.tensor(picks)
    order = STRATEGIES[current.arm](view, len(view), stream(current.cell.seed, "rank"))
    picked = torch.isin(view.candidates[order.cpu()], wanted).numpy()
    places = np.arange(len(view))
    found = mannwhitneyu(places[picked], places[~picked], alternative="less", method="asymptotic")
    return (places[picked].mean() + 0.5) / len(view), float(found.pvalue)


def _accuracy(done: Round) -> float:
    return done["test_accuracy"] if "test_accuracy" in done else done["heldout_accuracy"][-1]


def _spread(cell: Cell, number: int, records: list[tuple[Cell, Record]]) -> float:
    """Standard deviation of accuracy over all other trainings on as many labels; 0 with too few."""
    labels = cell.schedule_of_labels()[number]
    found = {
        _accuracy(done)
        for other, record in records
        if other != cell and other.dataset == cell.dataset
        for done in record["rounds"]
        if abs(done["labels"] - labels) <= NEAR * labels
    }  # a training that several arms share counts once
    return stdev(found) if len(found) > 2 else 0.0
