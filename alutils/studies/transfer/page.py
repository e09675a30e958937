"""How the report says what picks and training contribute, and whether picks travel."""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose
from alutils.reporting.arm_comparison import ArmComparison, compare_with_random, normality
from alutils.reporting.prose import paired_seeds, points
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies.recipes import DATASET_OF, PROFILE_OF_RECIPE, TITLES
from alutils.studies.transfer.effects import Effect, Gains, gains, has_ended, picks_and_training
from alutils.studies.transfer.plan import LABEL_SETS

NOTHING = (
    "The outputs folder has these runs for no dataset: `.venv/bin/python -m alutils transfer` "
    "trains on the labels that 02 and 03 had under each recipe, once those are finished."
)
ABOUT_PICKS = (
    "the recipe changed what is picked for the better",
    "the recipe changed what is picked for the worse",
    "which recipe picked makes no difference",
)
ABOUT_TRAINING = (
    "the recipe makes more of what is picked",
    "the recipe makes less of what is picked",
    "which recipe trained makes no difference",
)
"""What is said about a part of a gain that is shown above zero, below it, or equivalent to it."""


def shown() -> list[HTML | Markdown]:
    """What 08 shows about copied label sets; empty until one is trained on."""
    every = table()
    return [] if every is None else [parts(), travel(), every]


def parts() -> Markdown:
    """How much of the recipes' difference is due to picks and how much to training, arm by arm."""
    lines, notes = [], []
    for notebook, dataset in DATASET_OF.items():
        picks, training = picks_and_training(gains(notebook))
        if seeds := len(picks.mean):
            lines += [f"- **{dataset_title(dataset)}**, {_seeds(notebook, seeds)}:"]
            lines += [f"  - {line}" for line in _parts(picks, training, dataset)]
            notes.append(normality(picks.mean, dataset))
    return _page(lines, notes)


def _page(lines: list[str], notes: list[str]) -> Markdown:
    """The lines, and below them each note once."""
    return prose.paragraphs("\n".join(lines), *notes) if lines else Markdown(NOTHING)


def _seeds(notebook: str, seeds: int) -> str:
    """How many seeds there are, and why fewer than planned: to come, or a training failed."""
    planned = len(LABEL_SETS[notebook].seeds)
    few = f"; a test needs {FEWEST_SEEDS}" if seeds < FEWEST_SEEDS else ""
    if seeds == planned:
        return paired_seeds(seeds)
    why = "a training failed in the others" if has_ended(notebook) else "interim"
    return f"{paired_seeds(seeds)} of {planned} ({why}{few})"


def _parts(picks: Effect, training: Effect, dataset: str) -> list[str]:
    """One sentence per arm: by how much its gain differs, and which part of that is shown."""
    whole = picks.mean + training.mean
    by_picks = compare_with_random(picks.mean, dataset)
    by_training = compare_with_random(training.mean, dataset)
    lines = []
    for arm in by_picks:
        by_its_picks, by_the_training = by_picks[arm], by_training[arm]
        lines.append(
            f"{arm_title(arm)}: gain over random under the poster's recipe minus that under the "
            f"reduced one: {points(estimate(whole[arm]))}, not corrected. Of this, "
            f"{points(by_its_picks.difference, '')} is due to its picks "
            f"({_verdict(by_its_picks, ABOUT_PICKS)}; trained with the poster's recipe "
            f"{_both(picks, arm)}), and {points(by_the_training.difference, '')} to the training "
            f"({_verdict(by_the_training, ABOUT_TRAINING)}; on the poster's picks "
            f"{_both(training, arm)})."
        )
    return lines


def _both(effect: Effect, arm: str) -> str:
    """The two differences whose mean is the effect on an arm."""
    first, second = (estimate(each[arm]) for each in (effect.with_poster, effect.with_reduced))
    return f"{points(first, '')}, the reduced {points(second, '')}, not corrected"


def _verdict(comparison: ArmComparison, sentences: tuple[str, str, str]) -> str:
    """What is concluded about a part of a gain, by the plan's rule."""
    if comparison.difference.seeds < FEWEST_SEEDS:
        return "not tested"
    if comparison.differs:
        small = ", by too little to matter" if comparison.equivalent else ""
        return f"{sentences[comparison.difference.mean < 0]}{small}"
    return sentences[2] if comparison.equivalent else "undecided"


def travel() -> Markdown:
    """Whether picks are worth something to a recipe that did not choose them, arm by arm."""
    lines, notes = [], []
    for notebook, dataset in DATASET_OF.items():
        every = gains(notebook)
        for (chosen_under, trained_by), moved in every.items():
            if trained_by not in PROFILE_OF_RECIPE and len(moved):
                lines.append(
                    f"- **{dataset_title(dataset)}**, chosen under {TITLES[chosen_under]}, "
                    f"trained with {TITLES[trained_by]}, {_seeds(notebook, len(moved))}: "
                    f"{_travel(every[chosen_under, chosen_under], moved, dataset)}."
                )
                notes.append(normality(moved, dataset))
    return _page(lines, notes)


def _travel(own: pd.DataFrame, moved: pd.DataFrame, dataset: str) -> str:
    at_home, elsewhere = compare_with_random(own, dataset), compare_with_random(moved, dataset)
    parts = []
    for arm, there in elsewhere.items():
        change = points(estimate((moved[arm] - own[arm]).dropna()), "")
        parts.append(
            f"{arm_title(arm)} gains {points(there.difference, '')}, simultaneous; minus its gain "
            f"with its own recipe: {change}, not corrected; {_travels(at_home[arm], there)}"
        )
    return "; ".join(parts)


def _travels(own: ArmComparison, moved: ArmComparison) -> str:
    """Whether an arm's picks travel, by the plan's rule."""
    if min(own.difference.seeds, moved.difference.seeds) < FEWEST_SEEDS:
        return "not tested"
    if own.side != "above":
        return "with its own recipe no gain is shown that could travel"
    if moved.side == "above":
        small = ", by too little to matter" if moved.equivalent else ""
        return f"its picks travel{small}"
    if moved.equivalent or moved.differs:
        return "its picks do not travel"
    return "undecided"


def table() -> HTML | None:
    """Every arm's gain over random, by who chose and who trained, and that at the last count.

    With intervals that are not corrected. None without gains on copied labels.
    """
    rows = [row for notebook in DATASET_OF for row in _rows(notebook)]
    return prose.table(pd.DataFrame(rows)) if rows else None


def _rows(notebook: str) -> list[dict[str, str]]:
    whole, last = gains(notebook), gains(notebook, LABEL_SETS[notebook].label_counts[-1:])
    return [
        {
            "dataset": dataset_title(DATASET_OF[notebook]),
            "chosen under": TITLES[recipes[0]],
            "trained by": TITLES[recipes[1]],
            "arm": arm_title(arm),
            "minus random, mean of the label counts (points, not corrected)": points(
                estimate(table[arm]), ""
            ),
            "at the last one": points(estimate(last[recipes][arm]), ""),
        }
        for recipes, table in _trained(whole).items()
        for arm in table
        if arm != "random"
    ]


def _trained(every: Gains) -> Gains:
    """The gains with finished runs, if at least one of them is on copied labels."""
    if not any(len(table) for (s, t), table in every.items() if s != t):
        return {}
    return {recipes: table for recipes, table in every.items() if len(table)}
