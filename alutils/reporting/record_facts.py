"""What a report's records were computed on, and how many of them are finished."""

import platform
from collections.abc import Iterable
from importlib.metadata import version

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import dataset_title
from alutils.protocol.parameters import Parameters
from alutils.protocol.study import FactorStudy
from alutils.records.record import Record
from alutils.records.store import Store
from alutils.reporting.figures import REPORTED
from alutils.reporting.prose import count, join, seeds_of, table

MACHINE = ("machine", "processor", "cpu_capability")
"""Keys of a record's provenance that describe its processor."""
Processors = set[tuple[str | None, bool | None]]
"""Processor types, or devices other than a CPU, and whether these types have native bfloat16."""
ENDED = ("finished", "failed")
"""Final states of a cell."""
BF16 = {
    True: "by the processor's instructions",
    False: "in float32 from the rounded values, equal up to summation order",
}
"""How a processor multiplies bfloat16 numbers (``convolutions.BF16_PRODUCTS``)."""


def has_pending_runs(*studies: Parameters) -> bool:
    """Whether any cell of these studies is neither finished nor failed and can still be run.

    Seeds whose labels are copied from a failed record cannot.
    """
    return any(map(_to_come, studies))


def _to_come(study: Parameters) -> bool:
    store, cells = Store(study.profile), study.cells()
    lost = {cell.seed for cell in cells if _source_failed(cell)}
    return any(store.facts(cell).status not in ENDED for cell in cells if cell.seed not in lost)


def _source_failed(cell: Cell) -> bool:
    """Whether the record from which the cell copies its labels has failed."""
    profile, _, name = cell.labels_of.partition("/")
    source = Store(profile).cell(name) if name else None
    return source is not None and Store(profile).facts(source).status == "failed"


def run_status(study: Parameters) -> HTML | Markdown:
    """How many cells are finished, which failed and why, and where processor types differ.

    The text calls a cell a run.
    """
    every, records = study.cells(), _kept(study)
    done = {name: record for name, record in records.items() if record["status"] == "finished"}
    processors = _processors(study, done)
    has_settings = len({(cell.arm, cell.dataset, cell.seed) for cell in every}) < len(every)
    setting = ", seed and setting" if has_settings else " and seed"
    are = f"{len(every):,} runs (one arm, dataset{setting} each) are finished"
    if len(done) == len(every):
        return Markdown(f"All {are}.{processors}")
    text = (
        f"{'Interim: ' if has_pending_runs(study) else ''}{len(done):,} of {are}; what is shown "
        "below rests on these, and comparisons of arms on the seeds that have every arm."
        f"{processors}"
    )
    failed = [
        {"failed run": name, "why": record["final"]["error"]}
        for name, record in records.items()
        if record["status"] == "failed"
    ]
    if not failed:
        return Markdown(f"**{text}**")
    return HTML(f"<p><strong>{text}</strong></p>{table(pd.DataFrame(failed)).data}")


def _kept(study: Parameters) -> dict[str, Record]:
    """The existing records of a study's cells, by name and without their rounds."""
    store = Store(study.profile)
    cells = [cell for cell in study.cells() if store.path(cell).exists()]
    return {cell.name: store.facts(cell).record for cell in cells}


def _finished(profile: str, cells: Iterable[Cell]) -> list[Record]:
    """The finished records of these cells, without their rounds."""
    every = map(Store(profile).facts, cells)
    return [facts.record for facts in every if facts.status == "finished"]


def _processors(study: Parameters, records: dict[str, Record]) -> str:
    """A warning about seeds whose compared cells ran on several processor types, or no text.

    Cells of the same dataset and seed are compared: within a factor if the study varies settings,
    otherwise within a figure.
    """
    types: dict[tuple, Processors] = {}
    for factor, cell in _compared(study):
        key = factor, cell.dataset, cell.seed, "" if factor else cell.figure
        if cell.name in records:
            types.setdefault(key, set()).update(_processor_types(records[cell.name]))
    mixed: dict[str, set[int]] = {}
    for (factor, dataset, seed, _), names in types.items():
        if _several(names):
            mixed.setdefault(f"{dataset_title(dataset)}{factor}", set()).add(seed)
    if not mixed:
        return ""
    phrases = [f"{what} {seeds_of(sorted(seeds))}" for what, seeds in mixed.items()]
    return (
        " Rounding differs between processor types, and trainings then drift apart, as they do "
        "with another order of batches. Runs that are compared within a seed were computed on "
        f"several types in {join(phrases)}, which may explain part of a difference there."
    )


def _compared(study: Parameters) -> list[tuple[str, Cell]]:
    """The cells, each with the factor that it is compared within, in brackets.

    The factor is empty unless the study varies settings. A cell of several factors is listed for
    each.
    """
    if isinstance(study, FactorStudy):
        return [(f" ({setting.factor})", setting.cell) for setting in study.settings()]
    return [("", cell) for cell in study.cells()]


def one_processor(study: FactorStudy, factor: str) -> bool:
    """Whether a single type of processor computed all of a factor's finished cells.

    Only then can their times be compared.
    """
    cells = [setting.cell for setting in study.settings() if setting.factor == factor]
    types = set().union(*map(_processor_types, _finished(study.profile, cells)))
    return len({name for name, _ in types if name}) == 1 and not _several(types)


def _processor_types(record: Record) -> Processors:
    """What computed a record's rounds.

    Some early records name no processor type, but say whether it multiplies bfloat16 natively.
    """
    return {
        (place.get("processor"), place.get("bf16_products"))
        if place["device"] == "cpu"
        else (place["device"], None)
        for place in _places(record["provenance"])
        if "device" in place
    }


def _several(types: Processors) -> bool:
    """Whether these are certainly several types: an unnamed one may be any of the others."""
    names = {name for name, _ in types if name}
    products = {able for _, able in types if able is not None}
    return len(names) > 1 or len(products) > 1


def interim(study: Parameters) -> str:
    """A note for an answer with missing cells: how many are finished, and which seeds are left out.

    A seed is left out for every arm if one of its trainings failed, or for every arm of the same
    factor if the study varies settings. Empty if all cells are finished.
    """
    every, store = study.cells(), Store(study.profile)
    status = {cell.name: store.facts(cell).status for cell in every}
    notes = []
    if has_pending_runs(study):
        finished = sum(each == "finished" for each in status.values())
        notes.append(
            f" Interim, with {finished:,} of {len(every):,} runs finished: only the results of all "
            "seeds count, and interim ones are not corrected for repeated looks."
        )
    left_out: dict[str, set[int]] = {}
    for factor, cell in _compared(study):
        if status[cell.name] == "failed":
            what = f"{dataset_title(cell.dataset)}{factor}"
            left_out.setdefault(what, set()).add(cell.seed)
    if left_out:
        seeds = [f"{name} {seeds_of(sorted(seeds))}" for name, seeds in left_out.items()]
        notes.append(
            " In comparisons of arms, a seed is left out for all of them, and not replaced, if a "
            f"training of one failed: {join(seeds)}."
        )
    return "".join(notes)


def provenance(study: Parameters) -> HTML:
    """What a report's records were computed on: device, machine, versions, checks."""
    records = list(_kept(study).values())
    facts = [record["provenance"] for record in records]
    where = [place for fact in facts for place in _places(fact)]
    hours = sum(fact["wall_seconds"] for fact in facts) / 3600
    rows = {
        "profile": study.profile,
        "records": f"{sum(r['status'] == 'finished' for r in records):,} finished runs",
        "training and scoring": f"{hours:.2f} hours of one worker",
        "device": _unique(where, "device"),
        "machine": "; ".join(filter(None, (_unique(where, key) for key in MACHINE)))
        + f"; threads per worker: {_unique(facts, 'threads')}",
        "bf16 products": ", ".join(_products(records)) or "none",
        "commits": "; ".join(dict.fromkeys(_commit(fact) for fact in facts)),
        "accuracy": REPORTED[study.reported],
        "self-checks": _checks(records),
        "dataset checksums": _unique(facts, "dataset_checksum"),
        "Python": f"{platform.python_version()} (report), {_unique(facts, 'python')} (records)",
        "packages": ", ".join(
            f"{name} {version(name)}"
            for name in ("torch", "torchvision", "numpy", "scikit-learn", "matplotlib", "papermill")
        ),
    }
    if digests := list(dict.fromkeys(fact["features"] for fact in facts if "features" in fact)):
        rows["digests of the features"] = "; ".join(digests)
    return table(pd.DataFrame({"what": rows.keys(), "value": rows.values()}))


def _products(records: list[dict]) -> list[str]:
    """How these records' devices multiplied bfloat16 numbers; a GPU has instructions for it."""
    places = [
        place
        for record in records
        if record["cell"]["precision"] == "bf16"
        for place in _places(record["provenance"])
        if "bf16_products" in place
    ]
    able = (place["device"] != "cpu" or place["bf16_products"] for place in places)
    return [BF16[has_instructions] for has_instructions in dict.fromkeys(able)]


def _places(fact: dict) -> list[dict]:
    """Facts about the machines that computed a record's rounds, in order, from its provenance."""
    return [*fact.get("earlier_places", []), fact]


def effort(profile: str, cells: Iterable[Cell]) -> str:
    """A sentence on what computed the finished cells, and for how long."""
    facts = [record["provenance"] for record in _finished(profile, cells)]
    where = [place for fact in facts for place in _places(fact)]
    hours = sum(fact["wall_seconds"] for fact in facts) / 3600
    return (
        f"{len(facts):,} finished runs, {hours:.1f} hours of one worker on "
        f"{_unique(where, 'device')} ({_unique(where, 'cpu_capability')})."
        if facts
        else "No run is finished yet."
    )


def _commit(fact: dict) -> str:
    """The commits that computed a record, and what was changed on top of the last one."""
    known = [*fact.get("earlier_commits", []), fact.get("commit")]
    commits = ", then ".join(commit or "unknown" for commit in known)
    changed = fact.get("changed_since_commit")
    return f"{commits} (changed since: {', '.join(changed)})" if changed else commits


def _checks(records: list[dict]) -> str:
    """The self-checks of the runs, and whether the arms of a seed had the same start."""
    checked = [r for r in records if "checks" in r["provenance"] and r["status"] == "finished"]
    if not checked:
        return "none recorded"
    passes = _unique([r["provenance"]["checks"] for r in checked], "mc_passes_differ")
    text = (
        f"{count(len(checked), 'run')} finished; a run finishes only if all its checks pass in "
        "every round: scoring twice gives the same order and changes no buffer, no index is "
        f"labelled twice, label counts match the schedule. MC passes differ: {passes}."
    )
    return f"{text} {_alike(checked, 'first_labels')} {_alike(checked, 'initial_weights')}"


def _alike(records: list[dict], what: str) -> str:
    """Whether the arms of a seed have the same hash of first labels or of initial weights.

    Cells that differ in number of first labels, pool or network are not compared with each other,
    and the single baseline run is compared with none.
    """
    decides = {
        "first_labels": ("first_labels", "imbalance"),
        "initial_weights": ("stem", "encoder"),
    }[what]
    groups: dict[tuple, set[str]] = {}
    for record in records:
        cell = record["cell"]
        if cell["arm"] != BASELINE:
            key = (cell["figure"], cell["dataset"], cell["seed"], *map(cell.get, decides))
            groups.setdefault(key, set()).add(record["provenance"]["checks"][what])
    odd = [f"seed {key[2]} of {key[1]}" for key, hashes in groups.items() if len(hashes) > 1]
    name = what.replace("_", " ").capitalize()
    return f"{name}: " + (f"differ within {join(odd)}." if odd else "the same within each seed.")


def _unique(facts: list[dict], key: str) -> str:
    """The distinct values of a key, in order of their first appearance."""
    return "; ".join(dict.fromkeys(str(fact[key]) for fact in facts if key in fact))
