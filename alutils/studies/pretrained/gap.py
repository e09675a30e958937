"""How much of what choosing could gain the strategies do gain: the gap to the oracle."""

from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, statistics
from alutils.reporting.prose import interval, points
from alutils.reporting.statistics import Estimate, estimate
from alutils.studies.pretrained.plan import PARTS
from alutils.studies.pretrained.worth import balanced, best_arm, ranked_datasets


class Gap(NamedTuple):
    """Differences in area (points) of one part of the ranking on one dataset."""

    part: str
    dataset: str
    best: str
    """The arm with the largest mean area, random aside."""
    best_gain: Estimate
    """Its area minus random's."""
    oracle_gain: Estimate
    """The oracle's area minus random's."""
    gap: Estimate
    """The oracle's area minus the best arm's."""
    share: Estimate
    """The best arm's gain as a share (%) of the oracle's; without ends where that may be zero."""


def gaps(results: pd.DataFrame) -> list[Gap]:
    """The gap of every part and dataset, classes as they are, that has an oracle's runs."""
    each = [(part, dataset) for part in PARTS for dataset in ranked_datasets(results)]
    return [
        _gap(rows, part, dataset, best_arm(results, part, dataset))
        for part, dataset in each
        if (rows := balanced(results, part, dataset))["arm"].isin(ORACLES).any()
    ]


def _gap(rows: pd.DataFrame, part: str, dataset: str, best: str) -> Gap:
    areas = statistics.areas(rows)
    random, chosen = areas["random"], areas[best]
    renamed = rows[rows["arm"].isin(ORACLES)].assign(arm="seeing")  # oracles have no area
    oracle = statistics.areas(renamed)["seeing"]
    return Gap(
        part, dataset, best,
        estimate(chosen - random), estimate(oracle - random), estimate(oracle - chosen),
        statistics.ratio(100 * (chosen - random), oracle - random),
    )  # fmt: skip


def table(results: pd.DataFrame) -> HTML | Markdown:
    """What the oracle gains over random, what the best arm gains, and what is between them."""
    rows = [
        {
            "dataset": f"{dataset_title(gap.dataset)}, {gap.part} labels",
            "arm with the largest mean area": arm_title(gap.best),
            "its difference to random (points)": points(gap.best_gain, ""),
            "the oracle's difference to random (points)": points(gap.oracle_gain, ""),
            "oracle minus that arm (points)": points(gap.gap, ""),
            "that arm's share of the oracle's gain": _share(gap),
        }
        for gap in gaps(results)
    ]
    if not rows:
        return Markdown("No seed has the oracle beside every arm.")
    return prose.table(pd.DataFrame(rows))


def _share(gap: Gap) -> str:
    """How much of the oracle's gain an arm has; only where the oracle is shown to gain."""
    if not gap.oracle_gain.low > 0:
        return "the oracle is not shown to gain"
    return interval(gap.share, "%")
