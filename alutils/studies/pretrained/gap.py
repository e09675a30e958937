"""How much of what choosing could gain the strategies do gain: the gap to the oracle."""

from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, statistics
from alutils.reporting.prose import interval, points
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, estimate
from alutils.studies.pretrained.plan import PARTS
from alutils.studies.pretrained.worth import best_arm


class Gap(NamedTuple):
    """Differences in area (points) of one part of the ranking on one dataset."""

    part: str
    dataset: str
    imbalance: float
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

    @property
    def beaten(self) -> bool:
        """Whether the best arm's mean area is the larger one."""
        return self.gap.mean < 0


def gaps(results: pd.DataFrame) -> list[Gap]:
    """The gap of every part, dataset and imbalance that has an oracle's runs."""
    ranked = results[results["factor"].isin(PARTS)]
    return [
        _gap(rows, str(part), str(dataset), float(level))
        for (level, part, dataset), rows in ranked.groupby(["level", "factor", "dataset"])
        if rows["arm"].isin(ORACLES).any()
    ]


def _gap(rows: pd.DataFrame, part: str, dataset: str, imbalance: float) -> Gap:
    areas, best = statistics.areas(rows), best_arm(rows)
    random, chosen = areas["random"], areas[best]
    renamed = rows[rows["arm"].isin(ORACLES)].assign(arm="seeing")  # oracles have no area
    oracle = statistics.areas(renamed)["seeing"]
    return Gap(
        part, dataset, imbalance, best,
        estimate(chosen - random), estimate(oracle - random), estimate(oracle - chosen),
        statistics.ratio(100 * (chosen - random), oracle - random),
    )  # fmt: skip


def sentences(found: list[Gap], interim: str = "") -> Markdown:
    """In how many rankings an arm beats the oracle, and how much of its gain arms have elsewhere.

    Of the arm with the largest mean area, over the rankings in which the oracle is shown to gain.
    """
    every = [gap for gap in found if gap.gap.seeds >= FEWEST_SEEDS]
    if not every:
        return prose.paragraphs(f"A sentence needs {FEWEST_SEEDS} seeds with every arm.", interim)
    gaining = [gap for gap in every if gap.oracle_gain.low > 0]
    text = (
        f"{_beaten(every)} The oracle is shown to gain over random in {len(gaining)} of "
        f"{len(every)}."
    )
    if shares := [gap.share.mean for gap in gaining if not gap.beaten]:
        ends = dict.fromkeys(f"{end:.0f}" for end in (min(shares), max(shares)))
        text += f" Where it is, and isn't beaten, that arm has {' to '.join(ends)} % of its gain."
    return prose.paragraphs(text, interim)


def _beaten(every: list[Gap]) -> str:
    """In how many rankings the arm with the largest mean area beats the oracle, in a sentence."""
    beaten = [gap for gap in every if gap.beaten]
    parts = {gap.part for gap in beaten}
    alone = f", all with {beaten[0].part} labels" if len(parts) == 1 < len(beaten) else ""
    bound = ": the oracle is greedy, and no bound" if beaten else ""
    return (
        "The arm with the largest mean area beside random has a larger one than the oracle in "
        f"{len(beaten) or 'none'} of {prose.count(len(every), 'ranking')}{alone}{bound}."
    )


def table(found: list[Gap]) -> HTML | Markdown:
    """What the oracle gains over random, what the best arm gains, and what is between them."""
    rows = [
        {
            "dataset": f"{dataset_title(gap.dataset)}, {gap.part} labels{_ratio(gap.imbalance)}",
            "arm with the largest mean area": arm_title(gap.best),
            "its difference to random (points)": points(gap.best_gain, ""),
            "the oracle's difference to random (points)": points(gap.oracle_gain, ""),
            "oracle minus that arm (points)": points(gap.gap, ""),
            "that arm's share of the oracle's gain": _share(gap),
        }
        for gap in found
    ]
    if not rows:
        return Markdown("No seed has the oracle beside every arm.")
    return prose.table(pd.DataFrame(rows))


def _ratio(imbalance: float) -> str:
    return "" if imbalance == 1 else f", 1 : {imbalance:g}"


def _share(gap: Gap) -> str:
    """How much of the oracle's gain an arm has; only where that is shown, and the larger one."""
    if gap.gap.seeds < FEWEST_SEEDS:
        return f"needs {FEWEST_SEEDS} seeds"
    if not gap.oracle_gain.low > 0:
        return "the oracle is not shown to gain"
    if gap.beaten:
        return ""
    return interval(gap.share, "%")
