"""Checks of a profile's records: checksums, digests, label lists, random draws.

A few rounds are also computed again.
"""

import math
from collections.abc import Iterator
from statistics import variance

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from alutils.commands import first_cells
from alutils.commands.studies import studies_of, what_makes
from alutils.learning import data
from alutils.learning.devices import make_deterministic
from alutils.learning.features import features_digest, is_cached
from alutils.learning.streams import stream
from alutils.protocol.arms import ARMS, BUILT_IN, COPIED
from alutils.protocol.cell import Cell, Protocol
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import ParameterError, StudyError, cells_of
from alutils.records.copied import copied_labels
from alutils.records.record import Record, computed_part, diverged, place_of
from alutils.records.store import Store
from alutils.reporting.prose import count
from alutils.running.provenance import provenance
from alutils.running.round import CurrentRound, Round, new_pool, run_round
from alutils.strategies.own import STRATEGIES

RECOMPUTED = 3
"""Number of cells of which one early round is computed again."""
DEVIATIONS, LEAST = 3, 0.02
"""How far the accuracy of a round computed again on another machine may lie from the record's.

This many standard deviations of the difference between two of the profile's trainings with the same
protocol and number of labels, or ``LEAST`` (a share: two points) if that is more."""
CHANCE = 0.001
"""On another machine, the picks of an arm that ranks by a score must rank so high in the new
ranking that as many random picks would do so with at most this probability."""
NEAR = 0.05
"""Share by which label counts may differ to count as equal in that comparison."""


class NotVerified(StudyError):
    """A record fails a check; the message says which and why."""


def verify(profile: str) -> None:
    """Check every record of a profile and recompute a few rounds; raise ``NotVerified``.

    Records of an unavailable dataset are checked only by their checksums and digests, which is
    reported; raises ``DataUnavailable`` if all records are of such datasets.
    """
    store = Store(profile)
    cells = cells_of(studies_of(profile))
    first_cells.warn_if_edited(profile)
    read = [(cell, *store.read(cell)) for cell in cells if store.path(cell).exists()]
    others = {path.stem for path in store.folder.glob("*.json")} - {cell.name for cell in cells}
    wrong = [f"{cell.name}: {damage}" for cell, _, damage in read if damage]
    records = [(cell, record) for cell, record, damage in read if not damage]
    if not read:
        found = f"all {len(others)} records in {store.folder} are of other parameters"
        there = found if others else f"there is no record in {store.folder}"
        raise NotVerified(f"{there}: run `{what_makes(profile)}` first")
    lacking = _lacking_data(records)
    failures = {
        cell: list(problems(cell, record)) or list(wrong_draws(cell, record))
        for cell, record in records
        if cell.dataset not in lacking
    }
    wrong += [f"{cell.name}: {why}" for cell, reasons in failures.items() for why in reasons]
    sound = [(cell, record) for cell, record in records if failures.get(cell) == []]
    rounds = sum(len(record["rounds"]) for _, record in records)
    print(f"{len(read)} of {len(cells)} records, {rounds:,} rounds: {len(wrong)} problems")
    if others:
        strays = count(len(others), "record")
        print(f"{strays} not checked, of no cell of these parameters; the first is {min(others)}")
    for dataset, why in lacking.items():
        unread = sum(cell.dataset == dataset for cell, _ in records)
        print(f"{count(unread, 'record')} checked only by checksums and digests: {why}")
    again = sample(sound)
    if not again:
        print("no round is computed again: no run has a built-in arm that asks for labels")
    for cell, record in again:
        comparison, holds = recompute(cell, record, sound)
        print(f"{cell.name}: {comparison}")
        wrong += [] if holds else [f"{cell.name}: {comparison}"]
    if wrong:
        raise NotVerified("; ".join(wrong))


def _lacking_data(records: list[tuple[Cell, Record]]) -> dict[str, str]:
    """The unavailable datasets of these records, with the reason; raises if all are."""
    lacking: dict[str, str] = {}
    names = dict.fromkeys(cell.dataset for cell, _ in records)
    for name in names:
        try:
            data.load(name)
        except data.DataUnavailable as error:
            lacking[name] = str(error)
    if lacking and lacking.keys() == names.keys():
        raise data.DataUnavailable("; ".join(lacking.values()))
    return lacking


def problems(cell: Cell, record: Record) -> Iterator[str]:
    """What is wrong in a record whose checksum and digests hold, one line per problem."""
    facts = DATASETS[cell.dataset]
    classes = len(facts.classes)
    if record["provenance"]["dataset_checksum"] != facts.checksum:
        yield "its dataset has another checksum"
    if record["status"] == "failed" and not diverged(record):
        yield f"failed ({record['final']['error']})"
    labels_N, may_label_N = data.labels(cell.dataset)[0], new_pool(cell).may_label
    images, counts, steps = len(labels_N), cell.schedule_of_labels(), cell.steps()
    labelled: list[int] = []
    for i, done in enumerate(record["rounds"]):
        arm, number = cell.position(i)
        if number == 0:
            labelled = []
        elif done["labelled"] != record["rounds"][i - 1]["picks"]:
            yield f"round {i + 1} labelled other images than {arm} asked for"
        there = all(0 <= index < images for index in done["labelled"])
        if not (there and may_label_N[done["labelled"]].all()):
            yield f"round {i + 1} labelled images that are held out or don't exist"
            return
        labelled += done["labelled"]
        expected = counts[number]
        if not len(labelled) == len(set(labelled)) == done["labels"] == expected:
            yield f"the labels of round {i + 1} don't add up to {expected}"
        if done["class_counts"] != labels_N[labelled].bincount(minlength=classes).tolist():
            yield f"the classes of round {i + 1} are not those of its labels"
        if (done["epochs"], done["steps"]) != (cell.epochs, steps[i]):
            yield f"round {i + 1} was trained for other than {steps[i]:,} steps"
        if number + 1 == cell.rounds and done["picks"]:
            yield f"round {i + 1}, the last one, asked for labels"


def wrong_draws(cell: Cell, record: Record) -> Iterator[str]:
    """Which first labels and random picks are not those that the seed draws, one line each.

    These draws don't depend on training, so they must be the same on every machine. Copied labels
    must be those of the record that they were copied from.
    """
    rounds = record["rounds"]
    try:
        copied = copied_labels(cell) if cell.labels_of else []
    except (StudyError, ParameterError) as error:
        yield str(error)
        return
    whose = cell.labels_of or "its seed"
    for i, done in enumerate(rounds):
        arm, number = cell.position(i)
        if number and arm not in ("random", COPIED):
            continue
        current = CurrentRound(cell, rounds[:i], torch.device("cpu"), copied)
        current.__dict__ |= {"net": None, "images": None}  # no draw needs them, and they cost most
        if number == 0 and done["labelled"] != current.new.tolist():
            yield f"its first labels are not those of {whose}"
        if arm in ("random", COPIED) and done["picks"] != current.acquire(cell, {}).tolist():
            yield f"round {i + 1} asked for other labels than those of {whose}"


def sample(records: list[tuple[Cell, Record]]) -> list[tuple[Cell, Record]]:
    """Up to three cells with an early acquisition to compute again.

    Preferably cells whose features need not be computed first; then cells of different arms, then
    of different datasets, then of different seeds.
    """
    able = [
        (cell, record)
        for cell, record in records
        if not cell.continues_training and record["rounds"] and record["rounds"][0]["picks"]
        and set(cell.arms) <= {*BUILT_IN, COPIED}
    ]  # fmt: skip
    left = [(cell, record) for cell, record in able if cell.arm != "random"] or able
    taken: list[tuple[Cell, Record]] = []
    inputs = {(cell.dataset, cell.encoder) for cell, _ in left}
    ready = {key for key in inputs if key[1] == "none" or is_cached(*key)}

    def used(candidate: tuple[Cell, Record]) -> list[int]:
        """Whether its features are missing; cells taken with the same arm, dataset and seed."""
        return [(candidate[0].dataset, candidate[0].encoder) not in ready] + [
            sum(getattr(cell, key) == getattr(candidate[0], key) for cell, _ in taken)
            for key in ("arm", "dataset", "seed")
        ]

    while left and len(taken) < RECOMPUTED:
        taken.append(min(left, key=used))
        left.remove(taken[-1])
    return taken


def recompute(cell: Cell, record: Record, records: list[tuple[Cell, Record]]) -> tuple[str, bool]:
    """Compute a record's second round (or its first) again, and compare it with the kept one.

    Returns the comparison in words, and whether the record passes. On the same processor type and
    versions the round must be identical. On others, rounding makes a training drift apart from the
    start: its accuracy must be near the record's, and the record's picks must lie near the front of
    its ranking.
    """
    number = 1 if len(record["rounds"]) > 1 and record["rounds"][1]["picks"] else 0
    past, kept, then = record["rounds"][:number], record["rounds"][number], record["provenance"]
    device = make_deterministic("auto")
    copied = copied_labels(cell) if cell.labels_of else []
    by_record = {cell.labels_of: copied}
    here = provenance(device) | features_digest(cell)
    if then.get("earlier_places") or place_of(then) != place_of(here):
        return _elsewhere(CurrentRound(cell, past, device, copied), kept, records)
    state = None
    if cell.carries_state:
        for done in range(number):
            _, _, state = run_round([cell], record["rounds"][:done], state, "auto", {}, by_record)
    (again,), done_here, _ = run_round([cell], past, state, "auto", {}, by_record)
    if place_of(done_here) != place_of(then):  # memory ran out here, or did there
        return _elsewhere(CurrentRound(cell, past, device, copied), kept, records)
    equal = len(set(again["picks"]) & set(kept["picks"]))
    other = [key for key, value in computed_part(kept).items() if again.get(key) != value]
    comparison = (
        f"round {number + 1}, {equal} of {len(kept['picks'])} picks equal on the same processor "
        "type and versions"
    )
    return f"{comparison}; {', '.join(other)} differ" if other else comparison, not other


def _elsewhere(
    current: CurrentRound, kept: Round, records: list[tuple[Cell, Record]]
) -> tuple[str, bool]:
    """``recompute`` for a record made with another processor type or other versions."""
    trained = current.train(None)
    accuracy = _accuracy(current.evaluate() | {"heldout_accuracy": trained.heldout_accuracy})
    allowed = max(DEVIATIONS * math.sqrt(2) * _spread(current.cell, current.number, records), LEAST)
    comparison = (
        f"round {current.number + 1}, recorded elsewhere: accuracy {100 * accuracy:.2f} % here, "
        f"{100 * _accuracy(kept):.2f} % there, up to {100 * allowed:.2f} points apart allowed"
    )
    near = abs(accuracy - _accuracy(kept)) <= allowed
    if current.arm not in ARMS or not ARMS[current.arm].ranks_by_score:
        return comparison, near
    rank, p = _mean_rank(current, kept["picks"])
    return (
        f"{comparison}; the kept picks lie at {100 * rank:.1f} % of the ranking on average (random "
        f"picks lie as near its front with probability {p:.1g})",
        near and p < CHANCE,
    )


def _mean_rank(current: CurrentRound, picks: list[int]) -> tuple[float, float]:
    """Mean rank of ``picks`` among all candidates of a round, from 0 (first) to 1, and its p-value.

    The p-value is that of the one-sided rank-sum test (Mann and Whitney, 1947) against picks drawn
    at random.
    """
    view = current.view
    order = STRATEGIES[current.arm](view, len(view), stream(current.cell.seed, "rank"))
    picked = torch.isin(view.candidates[order.cpu()], torch.tensor(picks)).numpy()
    ranks = np.arange(len(view))
    test = mannwhitneyu(ranks[picked], ranks[~picked], alternative="less", method="asymptotic")
    return (ranks[picked].mean() + 0.5) / len(view), float(test.pvalue)


def _accuracy(done: Round) -> float:
    """A round's accuracy (share) on the test set, or else its last on the held-out set."""
    return done["test_accuracy"] if "test_accuracy" in done else done["heldout_accuracy"][-1]


def _spread(cell: Cell, number: int, records: list[tuple[Cell, Record]]) -> float:
    """Standard deviation of accuracy over trainings with one protocol and number of labels.

    Over other cells of the cell's own protocol; if these are few, within each of the profile's
    protocols for the dataset, pooled. 0 for a linear head, whose training is convex and doesn't
    amplify rounding, and if there is too little to compare.
    """
    if cell.encoder != "none":
        return 0.0
    labels = cell.schedule_of_labels()[number]
    accuracies: dict[tuple, set[float]] = {}
    for other, record in records:
        if other != cell and (other.dataset, other.encoder) == (cell.dataset, "none"):
            accuracies.setdefault(_protocol(other), set()).update(
                _accuracy(done)
                for done in record["rounds"]
                if abs(done["labels"] - labels) <= NEAR * labels
            )  # a training that several arms share counts once
    own = accuracies.get(_protocol(cell), set())
    groups = [own] if len(own) > 2 else [each for each in accuracies.values() if len(each) > 1]
    freedom = sum(len(each) - 1 for each in groups)
    squares = sum((len(each) - 1) * variance(each) for each in groups)
    return math.sqrt(squares / freedom) if freedom > 1 else 0.0


def _protocol(cell: Cell) -> tuple:
    return tuple(getattr(cell, key) for key in Protocol.model_fields)
