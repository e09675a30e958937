"""Arms proposed for a start with hardly any labels, compared with random and margin."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import arm_comparison, prose, statistics
from alutils.reporting.arm_comparison import ArmComparison
from alutils.reporting.prose import join, paired_seeds, points
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, estimate
from alutils.studies.pretrained.scratch_comparison import ranked_datasets, rows_of

LOW_BUDGET_ARMS = ("typiclust", "probcover", "kmeans-centre")
"""TypiClust, ProbCover, and K-means centres: typical or covering images, whatever their labels."""

NONE = "No seed has margin and one of these arms yet."


class Start(NamedTuple):
    """An arm's differences in area with few labels on one dataset."""

    dataset: str
    arm: str
    to_random: ArmComparison
    to_margin: Estimate


def starts(results: pd.DataFrame) -> Iterator[Start]:
    """Every such arm on every dataset whose classes were not made rare."""
    for dataset in ranked_datasets(results):
        rows = rows_of(results, "few", dataset)
        if "margin" not in set(rows["arm"]):
            continue
        areas = statistics.areas(rows)
        by_arm = arm_comparison.compare_with_random(areas, dataset)
        for arm in (arm for arm in LOW_BUDGET_ARMS if arm in by_arm):
            yield Start(dataset, arm, by_arm[arm], estimate(areas[arm] - areas["margin"]))


def table(results: pd.DataFrame) -> HTML | Markdown:
    """Their differences from random, with simultaneous intervals, and from margin."""
    rows = [
        {
            "dataset": dataset_title(start.dataset),
            "arm": arm_title(start.arm),
            "difference from random, simultaneous interval (points)": points(
                start.to_random.difference, ""
            ),
            "difference from margin, not corrected (points)": points(start.to_margin, ""),
        }
        for start in starts(results)
    ]
    return prose.table(pd.DataFrame(rows)) if rows else Markdown(NONE)


def sentences(results: pd.DataFrame, interim: str = "") -> Markdown:
    """Whether they are shown above or below random, and how they compare with margin.

    ``interim`` says that runs are still to come, here and in the other sentences of this study.
    """
    lines = []
    every = list(starts(results))
    for dataset in dict.fromkeys(start.dataset for start in every):
        of_dataset = [start for start in every if start.dataset == dataset]
        seeds = of_dataset[0].to_margin.seeds
        if seeds < FEWEST_SEEDS:
            continue
        to_random = [start.to_random.word(dataset) for start in of_dataset]
        to_margin = [_margin(start.to_margin) for start in of_dataset]
        lines.append(
            f"- **{dataset_title(dataset)}**, {paired_seeds(seeds)}: "
            f"{_said(of_dataset, to_random)} (corrected for all arms); "
            f"{_said(of_dataset, to_margin)} (95 % intervals, not corrected)."
        )
    few = NONE if not every else f"A test needs {FEWEST_SEEDS} seeds with every arm."
    return prose.paragraphs("\n".join(lines) or few, interim)


def _margin(difference: Estimate) -> str:
    if not difference.differs_from_zero:
        return "not shown to differ from margin"
    return f"{'above' if difference.mean > 0 else 'below'} margin"


def _said(every: list[Start], sides: list[str]) -> str:
    """Arms by their side, in one phrase: A and B above, C below."""
    phrases = []
    for side in dict.fromkeys(sides):
        arms = [arm_title(s.arm) for s, where in zip(every, sides, strict=True) if where == side]
        phrases.append(f"{join(arms)} {'is' if len(arms) == 1 else 'are'} {side}")
    return ", ".join(phrases)
