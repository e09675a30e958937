"""How much of what choosing could gain the strategies do gain: the gap to the oracle."""

from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, statistics
from alutils.reporting.prose import points
from alutils.reporting.statistics import Estimate, estimate
from alutils.studies.pretrained.plan import PARTS


class Gap(NamedTuple):
    """Differences to random in area (points) of one part on one dataset."""

    part: str
    dataset: str
    best: str
    best_gain: Estimate
    oracle_gain: Estimate
    gap: Estimate
    """The oracle's area minus the best strategy's."""


def gaps(results: pd.DataFrame) -> list[Gap]:
    """The gap of every part and dataset, classes as they are, that has an oracle's runs."""
    rows = results[results["factor"].isin(PARTS) & (results["level"] == 1.0)]
    found = []
    for (part, dataset), group in rows.groupby(["factor", "dataset"], sort=False):
        oracle = group[group["arm"].isin(ORACLES)]
        if oracle.empty:
            continue
        areas = statistics.areas(group)
        sees = statistics.areas(oracle.assign(arm="sees labels"))["sees labels"]
        best = str(areas.drop(columns="random").mean().idxmax())
        found.append(
            Gap(
                str(part), str(dataset), best,
                estimate(areas[best] - areas["random"]),
                estimate(sees - areas["random"]),
                estimate(sees - areas[best]),
            )
        )  # fmt: skip
    return found


def table(results: pd.DataFrame) -> HTML | Markdown:
    """What the oracle gains over random, what the best strategy gains, and what is between them."""
    rows = [
        {
            "dataset": f"{dataset_title(gap.dataset)}, {gap.part} labels",
            "largest mean area": arm_title(gap.best),
            "its difference to random (points)": points(gap.best_gain, ""),
            "the oracle's (points)": points(gap.oracle_gain, ""),
            "oracle minus that arm (points)": points(gap.gap, ""),
            "share of the oracle's gain": _share(gap),
        }
        for gap in gaps(results)
    ]
    if not rows:
        return Markdown("No seed has the oracle and every arm yet.")
    return prose.table(pd.DataFrame(rows))


def _share(gap: Gap) -> str:
    """How much of the oracle's gain an arm has; nothing where the oracle isn't shown to gain."""
    if not gap.oracle_gain.low > 0:
        return "the oracle is not shown to gain"
    return f"{100 * gap.best_gain.mean / gap.oracle_gain.mean:.0f} %"
