"""The results of a run in tables and computed sentences.

Every sentence with a number is made here from the results, so that it stays true whatever the
parameters are.
"""

import math

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import arm_comparison, figures, published, statistics
from alutils.reporting.prose import (
    count,
    interval,
    join,
    paired_seeds,
    percent,
    points,
    share_of_labels,
    table,
)
from alutils.reporting.statistics import FEWEST_SEEDS

BY_CHANCE = (
    "An arm that is as good as random gets there in about half of the seeds, because random's last "
    "accuracy is a single noisy value."
)
"""Note on the number of seeds in which an arm reaches random's last accuracy."""


def curve_table(results: pd.DataFrame) -> HTML:
    """Mean accuracy with its interval by label count (rows) and arm or dataset (columns)."""
    curve = statistics.curve(results)
    key = "arm" if curve["arm"].nunique() > 1 else "dataset"
    curve["text"] = [percent(row) for row in curve.itertuples()]
    wide = curve.pivot(index="labels", columns=key, values="text")
    wide = wide[list(dict.fromkeys(curve[key]))].fillna("")
    wide.index = [f"{labels:,}" for labels in wide.index]
    wide = wide.rename(columns=arm_title if key == "arm" else dataset_title)
    shown = table(wide.rename_axis(columns=None).rename_axis("labels").reset_index())
    if results["seed"].nunique() < 2:
        return shown
    return HTML(f"<p>Mean accuracy in %, ± half its 95 % t interval:</p>{shown.data}")


def beside_published(results: pd.DataFrame) -> HTML | Markdown:
    """Figure 2 by the best held-out accuracy of each training, beside the authors' best of ten."""
    if "heldout_best" not in results:
        return Markdown(
            "This run was not evaluated on the held-out set, so it can't be compared with the "
            "published accuracy, the best of ten evaluations on such a set: set `heldout_every`."
        )
    theirs = published.training_size().rename(columns={"accuracy": "published"})
    ours = results.merge(theirs, on=["dataset", "labels"], how="inner")
    rows = []
    for (dataset, labels), group in ours.groupby(["dataset", "labels"], sort=False):
        best = statistics.estimate(100 * group["heldout_best"])
        value = group["published"].iloc[0]
        row = {
            "dataset": dataset_title(dataset),
            "labels": f"{labels:,}",
            "best on held-out (%)": interval(best, "%"),
            "published, best of 10 (%)": f"{value:.2f}",
            "difference (points)": f"{best.mean - value:+.2f}",
        }
        if "test_accuracy" in group:
            last = statistics.estimate(100 * group["test_accuracy"])
            row["last epoch on test (%)"] = interval(last, "%")
        rows.append(row)
    if not rows:
        return Markdown("The authors published no number for any of these sizes.")
    return table(pd.DataFrame(rows).fillna(""))


def size_sentences(results: pd.DataFrame) -> Markdown:
    """Figure 2 in words: gain from the smallest to the largest set, and area, by dataset."""
    lines = []
    for dataset, ours in results.groupby("dataset", sort=False):
        wide = ours.pivot(index="seed", columns="labels", values="accuracy")
        first, last = wide.columns[0], wide.columns[-1]
        gain = statistics.estimate(wide[last] - wide[first])
        area = statistics.estimate(statistics.areas(ours)["random"])
        line = f"- **{dataset_title(dataset)}**: "
        if first == last:
            line += f"{interval(area, '%')} at {first:,} labels."
        else:
            line += (
                f"{wide[first].mean():.2f} % at {first:,} labels and {wide[last].mean():.2f} % at "
                f"{last:,}, a difference of {points(gain)}. Area under the curve "
                f"{interval(area, '%')}."
            )
        lines.append(line)
    return Markdown("\n".join(lines))


def answer(results: pd.DataFrame, interim: str = "") -> Markdown:
    """The active-learning question answered in one paragraph from paired differences in area.

    ``interim`` is the note of ``record_facts.interim``.
    """
    areas, dataset = statistics.areas(results), results["dataset"].iloc[0]
    title, seeds = dataset_title(dataset), results["seed"].nunique()
    low, high = results["labels"].min(), results["labels"].max()
    if seeds < FEWEST_SEEDS:
        return Markdown(
            f"Nothing is tested on {title} with fewer than {FEWEST_SEEDS} paired seeds; this run "
            f"has {seeds}.{interim}"
        )
    return Markdown(
        f"On {title}, from {low:,} to {high:,} labels, over {paired_seeds(seeds)}, judged by area "
        f"under the budget curve ({arm_comparison.tests(areas, dataset)}): "
        f"{arm_comparison.sentence(areas, dataset)}.{interim}"
    )


def savings(results: pd.DataFrame) -> Markdown:
    """How many labels every arm saves, on monotone fits per seed, in a sentence."""
    title, last = dataset_title(results["dataset"].iloc[0]), results["labels"].max()
    every = statistics.label_savings(results)
    by_arm = every.drop(columns="random")
    phrases = [f"{arm_title(arm)} {reached(by_arm[arm], last)}" for arm in by_arm]
    text = (
        f"On {title}, the accuracy of random at its last label count, {last:,}, is reached (on "
        f"monotone fits per seed: {statistics.FIT}) by {join(phrases)}. {head_start(every)}"
    ).rstrip()
    if by_arm.isna().any(axis=None):
        text += f" {BY_CHANCE}"
    return Markdown(text)


def reached(savings: pd.Series, last: int) -> str:
    """The share of the ``last`` labels with which an arm reaches random's accuracy there, in words.

    From its label savings by seed. If some seeds miss that accuracy, it says how many reach it, and
    the median share over all seeds if fewer than half miss.
    """
    missed, seeds = int(savings.isna().sum()), count(len(savings), "seed")
    if not missed:
        return f"with {share_of_labels(savings)}"
    text = f"in {len(savings) - missed or 'none'} of {seeds}"
    if not _told(savings):
        return text
    share = (1 / savings).fillna(math.inf).median()
    return (
        f"{text} (median {100 * share:.0f} %, {share * last:,.0f} labels; seeds that miss it "
        "ranked last)"
    )


def _told(savings: pd.Series) -> bool:
    """Whether a share of the labels is reported for an arm: fewer than half of its seeds miss."""
    return savings.isna().mean() < 0.5


def head_start(*savings: pd.DataFrame) -> str:
    """The share of its labels at which random has its last accuracy, in a sentence, or nothing.

    From the label savings of one or several rankings; only those count in which a share is reported
    for some arm. It is below 100 % if random's own monotone fit is flat up to its end. Such a
    saving is random's, not an arm's.
    """
    shares = [
        (100 / by_arm["random"]).mean()
        for by_arm in savings
        if any(_told(by_arm[arm]) for arm in by_arm.columns.drop("random"))
    ]
    if not shares or min(shares) >= 99.5:
        return ""
    ends = dict.fromkeys(f"{end:.0f}" for end in (min(shares), max(shares)))
    fits = "fit reaches" if len(savings) == 1 else "fits reach"
    return f"Random's own {fits} its last accuracy at {' to '.join(ends)} % of its labels."


def differences_table(results: pd.DataFrame) -> HTML:
    """Every arm's area, and its paired differences from random: area, and last label count.

    If there is a single baseline run, also its difference from that at the last label count.
    """
    areas, last = statistics.areas(results), statistics.final(results)
    by_area = statistics.paired_differences(areas)
    by_last = statistics.paired_differences(last)
    single = statistics.paired_differences(last, BASELINE) if BASELINE in last else {}
    rows = []
    for arm in areas.columns:
        row = {"arm": arm_title(arm), "area (%)": f"{areas[arm].mean():.2f}"}
        if arm in by_area:
            row |= {
                "area, difference from random (points)": points(by_area[arm], ""),
                "last label count, difference from random (points)": points(by_last[arm], ""),
            }
        if single:
            row["last label count, difference from the single baseline run (points)"] = points(
                single[arm], ""
            )
        rows.append(row)
    return table(pd.DataFrame(rows).fillna(""))


def against(results: pd.DataFrame, arm: str) -> HTML:
    """One arm's paired differences in area from every other arm."""
    areas = statistics.areas(results)
    rows = [
        {f"area of {arm_title(arm)} minus that of": arm_title(other), "points": points(gain, "")}
        for other in areas.columns.drop(arm)
        for gain in [statistics.estimate(areas[arm] - areas[other])]
    ]
    return table(pd.DataFrame(rows))


def wins(results: pd.DataFrame) -> HTML | Markdown:
    """Share of label counts, without the first, at which an arm (row) beats another (column)."""
    if (seeds := results["seed"].nunique()) < FEWEST_SEEDS:
        return Markdown(
            f"With {count(seeds, 'seed')} no arm can be said to beat another: {FEWEST_SEEDS} are "
            "needed."
        )
    shares = statistics.win_matrix(statistics.strategies(results))
    shown = shares.map(lambda share: f"{100 * share:.0f} %")
    for arm in shown:
        shown.loc[arm, arm] = ""
    shown = shown.rename(index=arm_title, columns=arm_title)
    corner = f"{dataset_title(results['dataset'].iloc[0])}: wins of, over"
    return table(shown.rename_axis(corner).reset_index())


def published_note(results: pd.DataFrame) -> Markdown:
    """What the hollow points are, and how far the label ranges overlap."""
    theirs = published.active_learning(results["dataset"].iloc[0])
    reach = results["labels"].max()
    if theirs.empty:
        return Markdown("The authors published no numbers for this dataset.")
    if figures.published_arms(results).empty:
        return Markdown("The authors' numbers are for other arms, or for more labels than here.")
    same = "the same rule" if results["reported"].iloc[0] == "heldout-best" else "a different rule"
    return Markdown(
        "Hollow points: the published curve, quoted with its source in "
        f"`alutils/reporting/published.py` ({published.RULE}). It runs from "
        f"{theirs['labels'].min():,} to {theirs['labels'].max():,} labels, ours to {reach:,}. "
        f"Ours shows {figures.reported(results)}, {same}. The authors carried the optimiser state "
        "from round to round, and in part from arm to arm (`adam_state`). 04 measures the effect "
        "of rule and state, 08 of the profile `desktop` that of the training recipe."
    )
