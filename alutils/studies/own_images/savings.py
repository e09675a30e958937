"""How many labels each arm would have saved, and how certain that is."""

import pandas as pd
from IPython.display import Markdown
from scipy import stats

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.reporting import arm_comparison, figures, statistics, tables
from alutils.reporting.forecast import standard_errors
from alutils.reporting.prose import capital, count, interval, join, paired_seeds
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, Estimate, estimate


def saved_labels(savings: pd.DataFrame, last: int) -> pd.DataFrame:
    """How many fewer labels than random an arm needs for random's accuracy at ``last`` labels.

    From label savings (factors) by seed (rows) and arm (columns), in the same form; below zero if
    it needs more, and NaN if it never gets there.
    """
    needed = last / savings
    return needed.rsub(needed["random"], axis=0).drop(columns="random")


def sentences(results: pd.DataFrame) -> Markdown:
    """Random's accuracy at its end, and the labels that each arm saves on the way there."""
    random = results[results["arm"] == "random"]
    last = random["labels"].max()
    ends = estimate(random.loc[random["labels"] == last, "accuracy"])
    savings = statistics.label_savings(results)
    saved = saved_labels(savings, last)
    if len(saved) < FEWEST_SEEDS:
        return Markdown(
            f"With {count(len(saved), 'seed')} no label saving is given: {FEWEST_SEEDS} are needed."
        )
    lines = [f"- **{arm_title(arm)}** {_saving(saved[arm], savings[arm], last)}" for arm in saved]
    if saved.isna().any(axis=None):
        lines.append(f"\n{tables.BY_CHANCE}")
    return Markdown(
        f"On {dataset_title(results['dataset'].iloc[0])}, {last:,} random labels give "
        f"{interval(ends, '%')}. How arms reach that accuracy, on monotone fits seed by seed:\n\n"
        + "\n".join(lines)
    )


def _saving(labels: pd.Series, savings: pd.Series, last: int) -> str:
    """What one arm saves by seed, or that the runs leave it open."""
    if labels.isna().all():
        return "never gets there."
    if labels.isna().any():
        return f"gets there {tables.reached(savings, last)}."
    saved = estimate(labels)
    if not saved.differs_from_zero:
        return f"is not shown to save or to cost labels: {_labels(saved, '+')}."
    if saved.mean > 0:
        return f"would have saved {_labels(saved, '')}."
    return f"would have cost {_labels(estimate(-labels), '')}."


def _labels(saved: Estimate, sign: str) -> str:
    """Labels with their interval, as whole numbers."""
    mean, low, high = (f"{end:{sign},.0f}" for end in (saved.mean, saved.low, saved.high))
    return f"{mean} labels ({low} to {high}, {saved.seeds} seeds)"


def ends(results: pd.DataFrame) -> Markdown:
    """Every arm's accuracy at the last label count, in a sentence."""
    last = statistics.final(results).drop(columns=BASELINE, errors="ignore")
    by_arm = [f"{arm_title(arm)} {interval(estimate(last[arm]), '%')}" for arm in last]
    return Markdown(
        f"{capital(figures.reported(results))} at the end, with {results['labels'].max():,} "
        f"labels: {join(by_arm)}.{_alike(results)}"
    )


def _alike(results: pd.DataFrame) -> str:
    """Which arms have the same accuracy in every round of every seed.

    With two classes this holds for uncertainty, margin and entropy, which then rank images alike.
    """
    by_curve: dict[tuple[float, ...], list[str]] = {}
    for arm, rows in results.groupby("arm", sort=False):
        curve = tuple(rows.sort_values(["seed", "round"])["accuracy"])
        by_curve.setdefault(curve, []).append(arm_title(arm))
    return "".join(
        f" {capital(join(arms))} have the same accuracy in every round of every seed."
        for arms in by_curve.values()
        if len(arms) > 1
    )


def certainty(results: pd.DataFrame) -> Markdown:
    """How many seeds and test images everything rests on, and what these could show."""
    areas, dataset = statistics.areas(results), results["dataset"].iloc[0]
    text = f"All of this rests on {paired_seeds(len(areas))}."
    if len(areas) < FEWEST_SEEDS:
        text += f" A test needs {FEWEST_SEEDS}: with these, differences may be due to chance."
    else:
        by_arm = arm_comparison.compare_with_random(areas, dataset)
        if left := arm_comparison.undecided(by_arm):
            arms = join([arm_title(arm) for arm in left])
            text += f" They leave {arms} undecided.{arm_comparison.power(areas, dataset)}"
        elif all(arm.differs for arm in by_arm.values()):
            text += " They show for every arm on which side of random it lies."
        else:
            text += " They show that every arm differs from random or is equivalent to it."
    return Markdown(f"{text} {_test_error(results)}".strip())


def _test_error(results: pd.DataFrame) -> str:
    """How far an accuracy may be from the true one by the test set's size alone."""
    if results["reported"].iloc[0] != "test":
        return ""
    images = DATASETS[results["dataset"].iloc[0]].test
    best = float(statistics.final(results).mean().max())
    half = stats.norm.ppf((1 + LEVEL) / 2) * standard_errors([best], images)[0]
    return (
        f"The test set has {count(images, 'image')}, the same for every seed and arm: because of "
        f"its size alone, an accuracy of {best:.1f} % is certain only to within {half:.1f} points "
        f"of that on other images of the kind ({100 * LEVEL:.0f} %), and more seeds do not narrow "
        "that."
    )
