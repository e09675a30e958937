"""Which classes the arms asked for beyond their share of the pool."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.study import Study
from alutils.records.store import Store, finished_records
from alutils.reporting import prose
from alutils.reporting.prose import percent
from alutils.reporting.statistics import estimate
from alutils.studies.class_balance import class_balance

UNEQUAL = 2
"""Ratio of the most frequent class to the rarest from which on classes count as unequal."""


class Shares(NamedTuple):
    """Class shares (%) by seed (rows) and class name (columns): in an arm's picks, and in the pool.

    The pool is the one before any label.
    """

    picks: pd.DataFrame
    pool: pd.DataFrame


def shares(study: Study, results: pd.DataFrame, dataset: Any) -> dict[str, Shares]:
    """Shares by arm, over the seeds in a results table, without arms that asked for nothing."""
    shown, by_arm = set(results["record"]), {}
    for cell, record in finished_records(Store(study.profile), study.cells()):
        if cell.name not in shown or cell.sequence or cell.arm == BASELINE:
            continue
        balance = class_balance(cell, record["rounds"], dataset.train_labels)
        if not any(balance.picks):
            continue
        names = [dataset.classes[i] for i in balance.classes]
        rows = by_arm.setdefault(cell.arm, ({}, {}))
        for row, counts in zip(rows, (balance.picks, balance.pool), strict=True):
            row[cell.seed] = pd.Series(100 * np.array(counts) / sum(counts), index=names)
    order = list(dataset.classes)
    return {
        arm: Shares(*(pd.DataFrame(row).T.reindex(columns=order) for row in rows))
        for arm, rows in by_arm.items()
    }


def table(by_arm: dict[str, Shares]) -> HTML | Markdown:
    """For each arm, the class that it asked for most beyond the pool's share, and the rarest.

    The former is selected post hoc. The rarest class is shown if classes are unequal.
    """
    if not by_arm:
        return Markdown("No arm has selected any images yet.")
    pool = next(iter(by_arm.values())).pool.mean()
    rarest = pool.idxmin() if pool.max() >= UNEQUAL * pool.min() else None
    rows = [_row(arm, each, rarest) for arm, each in by_arm.items()]
    return prose.table(pd.DataFrame(rows))


def _row(arm: str, each: Shares, rarest: str | None) -> dict[str, str]:
    beyond = each.picks.mean() - each.pool.mean()
    row = {"arm": arm_title(arm), "asked for most beyond its share": str(beyond.idxmax())}
    row |= _beside(each, beyond.idxmax(), "its")
    if rarest is not None:
        row |= _beside(each, rarest, f"{rarest} (rarest):")
    return row


def _beside(each: Shares, name: str, whose: str) -> dict[str, str]:
    """A class's share in the picks, with half its interval over seeds, and in the pool."""
    return {
        f"{whose} share of the picks (%)": percent(estimate(each.picks[name])),
        f"{whose} share of the pool (%)": f"{each.pool[name].mean():.2f}",
    }
