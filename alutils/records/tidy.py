"""The tidy table of results, one row per cell and round."""

from collections.abc import Iterable

import pandas as pd

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import Parameters
from alutils.protocol.study import FactorLevel, FactorStudy
from alutils.records.store import Store, finished_records, rounds

COLUMNS = ["figure", "dataset", "arm", "seed", "round", "labels", "accuracy", "reported", "record"]
"""What every results table has, an empty one too."""


def table(store: Store, cells: Iterable[Cell], reported: str = "test") -> pd.DataFrame:
    """One row per cell and round of the finished cells, in the order of ``cells``.

    ``reported`` decides what the column ``accuracy`` (%) has: accuracy on the ``test`` set after
    the last epoch, or the best or the last evaluation on the held-out set (``heldout-best``,
    ``heldout-last``). It is NaN if a record has no such number.
    """
    rows = []
    for cell, record in finished_records(store, cells):
        for done, (arm, number) in rounds(cell, record):
            plain = {k: v for k, v in done.items() if not isinstance(v, (list, dict))}
            held = done["heldout_accuracy"]
            best = {"heldout_best": max(held), "heldout_last": held[-1]} if held else {}
            fields = {"figure": cell.figure, "dataset": cell.dataset, "arm": arm, "seed": cell.seed}
            fields |= {"encoder": cell.encoder}
            rows.append(fields | {"round": number + 1} | plain | best | {"record": cell.name})
    results = pd.DataFrame(rows, columns=None if rows else COLUMNS)
    if rows:
        column = results.get({"test": "test_accuracy"}.get(reported, reported.replace("-", "_")))
        results["accuracy"] = float("nan") if column is None else 100 * column
        results["reported"] = reported
    return results


def by_setting(results: pd.DataFrame, settings: Iterable[FactorLevel]) -> pd.DataFrame:
    """The rows, once per setting that uses their record, with ``factor`` and ``level``."""
    served = [{"record": s.cell.name, "factor": s.factor, "level": s.level} for s in settings]
    return results.merge(pd.DataFrame(served), on="record")


def complete(results: pd.DataFrame, cells: Iterable[Cell]) -> pd.DataFrame:
    """The rows of the seeds that have finished every cell of their figure and dataset."""
    return _without_gaps(results, results["figure"], ((str(cell.figure), cell) for cell in cells))


def complete_seeds(results: pd.DataFrame, settings: Iterable[FactorLevel]) -> pd.DataFrame:
    """The rows of the seeds that have finished every cell of their factor, level and dataset.

    ``results`` and ``settings`` are as in ``by_setting``. If a factor compares arms, a seed thus
    has all of them or none.
    """
    groups = results["factor"] + " " + results["level"].astype(str)
    return _without_gaps(results, groups, ((f"{s.factor} {s.level}", s.cell) for s in settings))


def _without_gaps(
    results: pd.DataFrame, groups: pd.Series, wanted: Iterable[tuple[str, Cell]]
) -> pd.DataFrame:
    """The rows without those of incomplete seeds; ``groups`` has the group of every row.

    A seed is incomplete in a group and dataset where one of the ``wanted`` cells of that group has
    not finished.
    """
    if results.empty:
        return results
    finished_cells = set(results["record"])
    lacking = {(group, c.dataset, c.seed) for group, c in wanted if c.name not in finished_cells}
    keys = zip(groups.astype(str), results["dataset"], results["seed"], strict=True)
    return results[[key not in lacking for key in keys]]


def read(parameters: Parameters) -> pd.DataFrame:
    """The results so far: one row per round, of the seeds that have every cell."""
    cells = parameters.cells()
    return complete(table(Store(parameters.profile), cells, parameters.reported), cells)


def read_settings(study: FactorStudy) -> pd.DataFrame:
    """A row per setting and round of the cells that are finished (see ``by_setting``)."""
    rows = table(Store(study.profile), study.cells(), study.reported)
    return by_setting(rows, study.settings())


def datasets_of(results: pd.DataFrame, factor: str) -> list[str]:
    """The datasets that have rows of a factor."""
    return list(dict.fromkeys(results.loc[results["factor"] == factor, "dataset"]))
