"""Runs of other profiles that say what a reduction is worth: a strong recipe, and 150 rounds.

What is concluded from them was fixed beforehand: ``docs/plan.md``.
"""

import pandas as pd
from IPython.display import Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.protocol.study import Study
from alutils.records import tidy
from alutils.reporting import arm_comparison, record_facts, statistics
from alutils.reporting.prose import count, paired_seeds, points
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies.profiles import load_study
from alutils.studies.recipes import (
    CIFAR10,
    MNIST,
    PROFILE_OF_RECIPE,
    ROUNDS_PROFILE,
    STRONG_PROFILE,
)

REDUCED = PROFILE_OF_RECIPE["reduced"]
"""The profile of the reduced recipe, with which these runs are compared."""


def studies_read() -> list[Study]:
    """The studies whose records are read here."""
    return [
        load_study(STRONG_PROFILE, CIFAR10),
        *(load_study(p, name) for p in (ROUNDS_PROFILE, REDUCED) for name in (CIFAR10, MNIST)),
    ]


def strong_recipe() -> list[Markdown]:
    """Whether choosing is worth something with better training, and whether more or less.

    Empty if no seed is complete.
    """
    study = load_study(STRONG_PROFILE, CIFAR10)
    results = tidy.read(study)
    if results.empty:
        return []
    areas, interim = statistics.areas(results), record_facts.interim(study)
    title, seeds = dataset_title(study.dataset), paired_seeds(len(areas))
    if len(areas) < FEWEST_SEEDS:
        few = (
            f"Nothing is tested on {title} with fewer than {FEWEST_SEEDS} paired seeds; these runs "
            f"have {len(areas)}.{interim}"
        )
        return [Markdown(few)]
    by_arm = "; ".join(
        f"{arm_title(arm)} {points(each.difference, '')}"
        for arm, each in arm_comparison.compare_with_random(areas, study.dataset).items()
    )
    rests_on = arm_comparison.normality(areas, study.dataset)
    text = (
        f"On {title}, from {results['labels'].min():,} to {results['labels'].max():,} labels, over "
        f"{seeds}, judged by area under the budget curve "
        f"({arm_comparison.tests(areas, study.dataset)}): "
        f"{arm_comparison.sentence(areas, study.dataset)}. In points, with simultaneous intervals: "
        f"{by_arm}.{_more_than_reduced(results)} {rests_on}{interim}"
    )
    return [Markdown(text)]


def _more_than_reduced(results: pd.DataFrame) -> str:
    """How much more margin gains than under the reduced recipe, on the same seeds and counts."""
    reduced = tidy.read(load_study(REDUCED, CIFAR10))
    same = reduced["labels"].isin(results["labels"]) & reduced["seed"].isin(results["seed"])
    if not same.any():
        return " Margin's difference under the reduced recipe is not available for comparison."
    both = [statistics.areas(rows) for rows in (results, reduced[same])]
    gain, before = (areas["margin"] - areas["random"] for areas in both)
    more = estimate((gain - before).dropna())
    return (
        " Margin's difference minus that under the reduced recipe, on the same seeds and label "
        f"counts (not tested): {points(more)}."
    )


def poster_rounds() -> list[Markdown]:
    """Every arm's difference with 0.1 % asked for at a time, compared with other seeds with 1 %.

    The same seed is left out, as its split, first labels and weights are the same, so that it is
    not a further one. Empty if no seed is complete.
    """
    lines = []
    for notebook in (CIFAR10, MNIST):
        study = load_study(ROUNDS_PROFILE, notebook)
        fine = statistics.areas(tidy.read(study))
        coarse = statistics.areas(tidy.read(load_study(REDUCED, notebook)))
        coarse = coarse.drop(index=fine.index, errors="ignore")
        if len(fine):
            beside = "no comparison, which takes 3 other seeds under the reduced recipe"
            if len(coarse) >= FEWEST_SEEDS:
                beside = f"compared with {len(coarse)} other seeds under the reduced recipe"
            lines.append(
                f"- **{dataset_title(study.dataset)}**, {count(study.rounds, 'round')}, "
                f"{paired_seeds(len(fine))}, {beside}: {_beside(fine, coarse)}."
                f"{record_facts.interim(study)}"
            )
    return [Markdown("\n".join(lines))] if lines else []


def _beside(fine: pd.DataFrame, coarse: pd.DataFrame) -> str:
    """Each arm's difference from random in area, and whether one more seed could well give it."""
    parts = []
    for arm in fine.columns.drop("random"):
        difference = estimate(fine[arm] - fine["random"]).mean
        if len(coarse) < FEWEST_SEEDS:
            parts.append(f"{arm_title(arm)} {difference:+.2f} points over random")
            continue
        seeds = statistics.prediction_interval(coarse[arm] - coarse["random"])
        inside = "within" if seeds.low <= difference <= seeds.high else "outside"
        parts.append(
            f"{arm_title(arm)} {difference:+.2f} points over random, {inside} the prediction "
            f"interval for one more seed ({seeds.low:+.2f} to {seeds.high:+.2f}, centred on "
            f"{seeds.mean:+.2f})"
        )
    return "; ".join(parts)
