"""What a profile's reports have in common: the table of results, and the index page."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from alutils.commands.fingerprints import kept_report
from alutils.paths import outputs
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import Parameters, cells_of
from alutils.protocol.study import Study
from alutils.records.files import write_atomically
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.reporting import page


def write(profile: str, studies: dict[str, Parameters]) -> None:
    """Write ``results.csv`` and ``index.html`` of a profile's notebooks.

    If the existing table has cells whose records are not here, as in a fresh clone, it is left
    unchanged, and so is what the page says about the records.
    """
    from alutils.reporting.record_facts import effort

    folder, facts = outputs() / profile, ""
    results = _results(profile, [each for each in studies.values() if isinstance(each, Study)])
    if lost := _lost(folder / "results.csv", results, profile):
        facts = _kept_facts(folder / "index.html")
        print(
            f"results.csv and the index's count of cells are left as they are: {len(lost):,} of "
            f"the cells there have no finished record in {outputs()} (the first is {lost[0]}); "
            "remove results.csv to have both made again"
        )
    elif results is not None:
        _write_changed(folder / "results.csv", results.to_csv(index=False).encode())
    reports = {name: kept for name in studies if (kept := kept_report(folder / f"{name}.ipynb"))}
    failed = [name for name in studies if (folder / f"{name}.failed.html").exists()]
    facts = facts or effort(profile, cells_of(studies.values()))
    write_atomically(folder / "index.html", page.index(profile, reports, failed, facts).encode())


def _write_changed(file: Path, content: bytes) -> None:
    """Write a file unless it already has this content: the table has many megabytes."""
    with suppress(OSError):
        if file.read_bytes() == content:
            return
    write_atomically(file, content)


def _results(profile: str, studies: list[Study]) -> pd.DataFrame | None:
    """One row per cell and round of all notebooks of the profile, each once; None without studies.

    It has the arms in the parameter files, not those that a notebook registers. The protocol's
    fields are columns too, as one figure may hold several recipes. If label counts are given, they
    are text, and the columns of the acquisition size are empty.
    """
    if not studies:
        return None  # the audit alone has no rounds of its own
    tables = [table(Store(profile), study.cells(), study.reported) for study in studies]
    results = pd.concat(tables).drop_duplicates(["record", "arm", "round"])
    trained = {c.name: _fields(c) for study in studies for c in study.cells()}
    for key in [key for key in Cell.model_fields if key not in results]:
        results[key] = [trained[name][key] for name in results["record"]]
    return results


def _fields(cell: Cell) -> dict[str, Any]:
    """A cell's fields as they appear in the table."""
    fields = dict(cell)
    if cell.label_counts:
        fields |= {"acquisition_fraction": "", "acquisition_size": ""}
    return fields | {"label_counts": " ".join(map(str, cell.label_counts))}


def _lost(file: Path, results: pd.DataFrame | None, profile: str) -> list[str]:
    """The cells of a kept table that new results lack, without a finished record anywhere.

    Cells of other parameters still have their records, here or among another profile's runs, and
    are just left out of the new table.
    """
    kept: list[str] = []
    with suppress(OSError, ValueError):
        kept = pd.read_csv(file, usecols=["record"])["record"].dropna().unique().tolist()
    shown = set() if results is None else set(results["record"])
    folders = sorted(outputs().glob("*/runs"), key=lambda folder: folder.parent.name != profile)
    stores = [Store(folder.parent.name) for folder in folders]
    return [n for n in kept if n not in shown and not any(_finished(s, n) for s in stores)]


def _finished(store: Store, name: str) -> bool:
    """Whether a store has a finished record of this name."""
    cell = store.cell(name)
    return cell is not None and store.finished(cell)


def _kept_facts(index: Path) -> str:
    """What a kept index says about the records; empty if there is none."""
    with suppress(OSError, ValueError):
        return page.facts_of(index.read_text(encoding="utf-8"))
    return ""
