"""What an encoder is worth in labels, compared with choosing on its features."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import figures, prose, statistics, tables
from alutils.reporting.picture import Picture
from alutils.reporting.prose import interval, lines_of, show
from alutils.reporting.statistics import Estimate, estimate
from alutils.reporting.style import house_style
from alutils.studies.pretrained.plan import PARTS, part_title

SCRATCH_STYLE = figures.OTHER_STYLES[0]
"""Colour and marker of the network from scratch, not used by any arm of the study."""
NO_SEED = "No seed has every arm yet."


def without_imbalance(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs whose classes were not made rare."""
    return results[results["level"].isin(["", 1.0])]


def rows_of(results: pd.DataFrame, factor: str, dataset: str) -> pd.DataFrame:
    """The rows of a factor on a dataset whose classes were not made rare."""
    rows = results[(results["factor"] == factor) & (results["dataset"] == dataset)]
    return without_imbalance(rows)


def ranked_datasets(results: pd.DataFrame) -> list[str]:
    """The datasets with rows of a ranking whose classes were not made rare."""
    ranked = results["factor"].isin(PARTS) & (results["level"] == 1.0)
    return list(dict.fromkeys(results.loc[ranked, "dataset"]))


def best_arm(rows: pd.DataFrame) -> str:
    """The arm with the largest mean area, except random, in one part of the ranking."""
    return str(statistics.areas(rows).drop(columns="random").mean().idxmax())


class HeadVsScratch(NamedTuple):
    """The head compared with the network from scratch, on random labels: accuracies in percent.

    The network is taken at its last label count, the head at the first at which it is as good, or
    at its last if there is none. ``first`` says that this is the lowest label count of its series.
    """

    scratch_labels: int
    scratch: Estimate
    labels: int
    head: Estimate
    first: bool

    @property
    def reached(self) -> bool:
        """Whether the head is as good."""
        return self.head.mean >= self.scratch.mean


def head_vs_scratch(results: pd.DataFrame, dataset: str) -> HeadVsScratch | None:
    """The head beside the network from scratch on a dataset; None if either has no run."""
    head, scratch = rows_of(results, "head", dataset), rows_of(results, "scratch", dataset)
    if head.empty or scratch.empty:
        return None
    last = int(scratch["labels"].max())
    at_last = estimate(scratch.loc[scratch["labels"] == last, "accuracy"])
    by_labels = {int(n): estimate(group) for n, group in head.groupby("labels")["accuracy"]}
    enough = [labels for labels, each in by_labels.items() if each.mean >= at_last.mean]
    labels = min(enough, default=max(by_labels))
    return HeadVsScratch(last, at_last, labels, by_labels[labels], labels == min(by_labels))


def figure(results: pd.DataFrame) -> Picture | Markdown:
    """Accuracy against labels: from scratch, and the head on random and the best arm's labels."""
    datasets = ranked_datasets(results)
    if not datasets:
        return Markdown(NO_SEED)
    curves = {
        (dataset, factor): rows
        for dataset in datasets
        for factor in ("scratch", *PARTS)
        if len(rows := rows_of(results, factor, dataset))
    }
    scratch = any(factor == "scratch" for _, factor in curves)
    besides = ", and for the network trained from scratch on random labels" if scratch else ""
    seeds = [rows["seed"].nunique() for rows in curves.values()]
    caption = (
        f"{prose.capital(figures.reported(results))} against labels (logarithmic axis) for a "
        "linear head on frozen features, on random labels and on those selected by the arm with "
        f"the largest mean area{besides}; the parts with few and with many labels have recipes and "
        f"labels of their own. {prose.capital(lines_of(seeds))}."
    )
    ends = [_end(rows, dataset, part) for (dataset, part), rows in curves.items() if part in PARTS]
    return show(_drawn(results, datasets), caption, f"Learning curves. {'; '.join(ends)}.")


@house_style()
def _drawn(results: pd.DataFrame, datasets: list[str]) -> Figure:
    drawn, axes = figures.grid(1, len(datasets), (4.6 * len(datasets), 4.2))
    for panel, dataset in zip(axes[0], datasets, strict=True):
        if len(scratch := rows_of(results, "scratch", dataset)):
            figures.curve(panel, scratch, SCRATCH_STYLE, "from scratch, random labels")
        for part in PARTS:
            rows = rows_of(results, part, dataset)
            arms = list(dict.fromkeys(rows["arm"]))
            for arm in ("random", best_arm(rows)) if arms else ():
                label = f"frozen features, {'random labels' if arm == 'random' else arm_title(arm)}"
                figures.curve(panel, rows[rows["arm"] == arm], figures.arm_style(arm, arms), label)
        figures.finish(panel, dataset_title(dataset), figures.reported(results))
        figures.logarithmic(panel)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.tick_params(axis="x", labelrotation=45)
        handles, labels = panel.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))  # an arm may have a curve in both parts
        panel.legend(
            once.values(), once.keys(), frameon=False, fontsize=8, loc="upper center",
            bbox_to_anchor=(0.5, -0.27),
        )  # fmt: skip
    return drawn


def _end(rows: pd.DataFrame, dataset: str, part: str) -> str:
    last = rows[(rows["arm"] == "random") & (rows["labels"] == rows["labels"].max())]
    return (
        f"{part_title(part, dataset)}: the head on random labels ends at "
        f"{last['accuracy'].mean():.1f} % with {rows['labels'].max():,}"
    )


def head_table(results: pd.DataFrame, recipe: str = "a recipe of its own") -> HTML | Markdown:
    """Accuracy of the head on nested random labels, and the labels that scratch needs for it.

    ``recipe`` is what the network from scratch is trained by, in words.
    """
    rows = results[results["factor"] == "head"]
    if rows.empty:
        return Markdown("The head has no finished run yet.")
    lines = []
    for (dataset, labels), group in rows.groupby(["dataset", "labels"], sort=False):
        accuracy = estimate(group["accuracy"])
        lines.append(
            {
                "dataset": dataset_title(dataset),
                "random labels": f"{labels:,}",
                "frozen features (%)": interval(accuracy, ""),
                f"labels that the network from scratch needs, by {recipe}": needed(
                    results, dataset, accuracy.mean
                ),
            }
        )
    return prose.table(pd.DataFrame(lines))


def needed(results: pd.DataFrame, dataset: str, accuracy: float) -> str:
    """Labels at which the mean curve from scratch, made monotone, reaches an accuracy (%)."""
    scratch = rows_of(results, "scratch", dataset)
    if scratch.empty:
        return "not trained"
    mean = scratch.groupby("labels")["accuracy"].mean()
    labels = statistics.labels_to_reach(mean.index, mean, accuracy)
    if np.isnan(labels):
        return f"more than {mean.index.max():,} ({mean.iloc[-1]:.2f} % there)"
    if labels == mean.index.min():
        return f"{labels:,.0f} or fewer"
    return f"{labels:,.0f}"


def sentences(
    results: pd.DataFrame, interim: str = "", recipe: str = "a recipe of its own"
) -> Markdown:
    """What the encoder is worth, and what choosing is worth on top, dataset by dataset.

    ``recipe`` is what the network from scratch is trained by, in words.
    """
    lines, savings = [], []
    for dataset in ranked_datasets(results):
        parts = [_encoder(results, dataset, recipe)]
        for rows in (rows_of(results, part, dataset) for part in PARTS):
            if statistics.enough_seeds(rows):
                best = best_arm(rows)
                savings.append(statistics.label_savings(rows)[["random", best]])
                parts.append(_choosing(rows, best, savings[-1][best]))
        lines.append(f"- **{dataset_title(dataset)}**: {' '.join(parts)}")
    return prose.paragraphs("\n".join(lines) or NO_SEED, tables.head_start(*savings), interim)


def _encoder(results: pd.DataFrame, dataset: str, recipe: str) -> str:
    """The network from scratch at its last label count, and the head where it is as good."""
    if not (beside := head_vs_scratch(results, dataset)):
        lacks = "run of the head is finished"
        if rows_of(results, "scratch", dataset).empty:
            lacks = "network was trained from scratch"
        return f"no {lacks} on it, so the encoder's worth is not known."
    fewer = ""
    if beside.reached and beside.first:
        fewer = f", the fewest of its series{_with_fewer(results, dataset, beside.scratch.mean)}"
    return (
        f"the network trained from scratch with {recipe} reaches {interval(beside.scratch, '%')} "
        f"with {beside.scratch_labels:,} random labels; a linear head on frozen features "
        f"{'reaches' if beside.reached else 'stays below that and reaches'} "
        f"{interval(beside.head, '%')} with {beside.labels:,}{fewer}."
    )


def _with_fewer(results: pd.DataFrame, dataset: str, accuracy: float) -> str:
    """At how many random labels the head gets to an accuracy in the part with few labels."""
    few = rows_of(results, "few", dataset)
    mean = few[few["arm"] == "random"].groupby("labels")["accuracy"].mean()
    if mean.empty:
        return ""
    labels = statistics.labels_to_reach(mean.index, mean, accuracy)
    if np.isnan(labels):
        return ""
    about = f"{labels:.0f} or fewer" if labels == mean.index.min() else f"about {labels:.0f}"
    return (
        f"; with the recipe of the part with few labels, {about} random labels are enough for "
        f"{accuracy:.2f} %, as read off its mean curve"
    )


def _choosing(rows: pd.DataFrame, best: str, savings: pd.Series) -> str:
    """What the arm with the largest mean area saves, from its label savings by seed."""
    last = rows["labels"].max()
    return (
        f"From {rows['labels'].min():,} to {last:,} labels, {arm_title(best)} has the largest mean "
        "area of the arms other than random, and reaches random's last accuracy "
        f"{tables.reached(savings, last)}."
    )
