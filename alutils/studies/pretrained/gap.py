"""How much of the possible gain from choosing strategies achieve: the gap to the oracle."""

from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import ORACLES, arm_title
from alutils.reporting import prose, statistics
from alutils.reporting.prose import interval, points
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, estimate
from alutils.studies.pretrained.plan import PARTS, part_title
from alutils.studies.pretrained.scratch_comparison import best_arm


class Gap(NamedTuple):
    """Differences in area (points) of one part of the ranking on one dataset."""

    part: str
    dataset: str
    imbalance: float
    best: str
    """The arm with the largest mean area, except random."""
    best_gain: Estimate
    """Its area minus random's."""
    oracle_gain: Estimate
    """The oracle's area minus random's."""
    gap: Estimate
    """The oracle's area minus the best arm's."""
    share: Estimate
    """The best arm's gain as a share (%) of the oracle's; with NaN ends if that may be zero."""


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
    """In how many rankings the oracle is shown to gain, and an arm's share of that in these.

    The arm is the one with the largest mean area.
    """
    every = [gap for gap in found if gap.gap.seeds >= FEWEST_SEEDS]
    if not every:
        return prose.paragraphs(f"A summary needs {FEWEST_SEEDS} seeds with every arm.", interim)
    gaining = [gap for gap in every if gap.oracle_gain.low > 0]
    text = (
        f"The oracle is shown to gain over random in {len(gaining) or 'none'} of "
        f"{prose.count(len(every), 'ranking')}."
    )
    if gaining:
        shares = [gap.share.mean for gap in gaining]
        ends = dict.fromkeys(f"{end:.0f}" for end in (min(shares), max(shares)))
        text += (
            " There, the arm with the largest mean area, random aside, achieves "
            f"{' to '.join(ends)} % of the oracle's gain{_above(gaining)}."
        )
    return prose.paragraphs(text, interim)


def _above(gaining: list[Gap]) -> str:
    """In how many rankings an arm gains more than the oracle, for the end of a sentence."""
    above = [gap for gap in gaining if gap.share.mean > 100]
    if not above:
        return ""
    parts = {gap.part for gap in above}
    alone = f", all with {above[0].part} labels" if len(parts) == 1 < len(above) else ""
    return (
        f", above 100 % in {len(above)} of {len(gaining)}{alone}: a greedy oracle that looks at "
        "only part of the pool is not an upper bound"
    )


def table(found: list[Gap]) -> HTML | Markdown:
    """What the oracle gains over random, what the best arm gains, and the gap between them."""
    rows = [
        {
            "dataset": part_title(gap.part, gap.dataset, gap.imbalance),
            "arm with the largest mean area": arm_title(gap.best),
            "its difference from random (points)": points(gap.best_gain, ""),
            "the oracle's difference from random (points)": points(gap.oracle_gain, ""),
            "oracle minus that arm (points)": points(gap.gap, ""),
            "that arm's share of the oracle's gain": _share(gap),
        }
        for gap in found
    ]
    if not rows:
        return Markdown("No seed has the oracle and every arm.")
    return prose.table(pd.DataFrame(rows))


def _share(gap: Gap) -> str:
    """How much of the oracle's gain an arm has; only if that gain is shown."""
    if gap.gap.seeds < FEWEST_SEEDS:
        return f"needs {FEWEST_SEEDS} seeds"
    if not gap.oracle_gain.low > 0:
        return "the oracle is not shown to gain"
    return interval(gap.share, "%")
