"""What an encoder is worth in labels, beside what choosing is worth on its features."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.protocol.study import Setting
from alutils.records.tidy import without_gaps
from alutils.reporting import figures, prose, statistics
from alutils.reporting.picture import Picture
from alutils.reporting.prose import interval, lines_of, show
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, estimate
from alutils.reporting.style import house_style
from alutils.studies.pretrained.plan import PARTS

STYLES = {"scratch": ("#555555", "o"), "random": ("#0173B2", "s"), "best": ("#DE8F05", "^")}
"""Of the network from scratch, the head on random labels, and on those that the best arm chose."""


def complete_seeds(results: pd.DataFrame, settings: Iterable[Setting]) -> pd.DataFrame:
    """The rows without the seeds that lack an arm, in a part of the ranking at one imbalance."""
    ranked = ((f"{s.factor} {s.level}", s.cell) for s in settings if s.factor in PARTS)
    keyed = results.assign(group=results["factor"] + " " + results["level"].astype(str))
    return without_gaps(keyed, "group", ranked).drop(columns="group")


def balanced(results: pd.DataFrame, factor: str, dataset: str) -> pd.DataFrame:
    """The rows of a factor on a dataset whose classes were not made rare."""
    rows = results[(results["factor"] == factor) & (results["dataset"] == dataset)]
    return rows[rows["level"].isin(["", 1.0])]


def best_arm(results: pd.DataFrame, part: str, dataset: str) -> str:
    """The strategy with the largest mean area in a part of the ranking; empty before any run."""
    rows = balanced(results, part, dataset)
    if rows.empty:
        return ""
    return str(statistics.areas(rows).drop(columns="random").mean().idxmax())


def figure(results: pd.DataFrame) -> Picture | Markdown:
    """Accuracy against labels: from scratch, the head on random labels, the best arm's."""
    datasets = list(dict.fromkeys(results.loc[results["factor"].isin(PARTS), "dataset"]))
    if not datasets:
        return Markdown("No seed has every arm yet.")
    caption = (
        f"{prose.capital(figures.reported(results))} against labels (logarithmic): a linear head "
        "on frozen features, on random labels and on those that the arm with the largest mean area "
        "asked for, in both parts of the ranking; and the network trained from scratch on random "
        f"labels. {prose.capital(lines_of([results['seed'].nunique()]))}."
    )
    ends = [_end(results, dataset) for dataset in datasets]
    return show(_drawn(results, datasets), caption, f"Learning curves. {'; '.join(ends)}.")


@house_style()
def _drawn(results: pd.DataFrame, datasets: list[str]) -> Figure:
    drawn, axes = figures.grid(1, len(datasets), (4.6 * len(datasets), 4.2))
    for panel, dataset in zip(axes[0], datasets, strict=True):
        scratch = balanced(results, "scratch", dataset)
        if len(scratch):
            figures.curve(panel, scratch, STYLES["scratch"], "from scratch, random labels")
        for part in PARTS:
            rows, best = balanced(results, part, dataset), best_arm(results, part, dataset)
            random = rows[rows["arm"] == "random"]
            chosen = rows[rows["arm"] == best]
            label = f"frozen features, {arm_title(best)} ({part} labels)"
            first = "frozen features, random labels" if part == PARTS[0] else ""
            figures.curve(panel, random, STYLES["random"], first or "_random")
            figures.curve(panel, chosen, STYLES["best"], label)
        figures.finish(panel, dataset_title(dataset), figures.reported(results))
        panel.set_xscale("log")
        figures.thousands(panel)
        panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return drawn


def _end(results: pd.DataFrame, dataset: str) -> str:
    rows = balanced(results, PARTS[-1], dataset)
    last = rows[(rows["arm"] == "random") & (rows["labels"] == rows["labels"].max())]
    return (
        f"{dataset_title(dataset)}: the head on random labels ends at "
        f"{last['accuracy'].mean():.1f} % with {rows['labels'].max():,}"
    )


def head_table(results: pd.DataFrame) -> HTML | Markdown:
    """Accuracy of the head on nested random labels, and the labels that scratch needs for it."""
    rows = results[results["factor"] == "head"]
    if rows.empty:
        return Markdown("The head has no finished run yet.")
    lines = []
    for (dataset, labels), group in rows.groupby(["dataset", "labels"], sort=False):
        scratch = balanced(results, "scratch", dataset)
        lines.append(
            {
                "dataset": dataset_title(dataset),
                "random labels": f"{labels:,}",
                "frozen features (%)": interval(estimate(group["accuracy"]), ""),
                "labels that the network from scratch needs": _needed(scratch, group["accuracy"]),
            }
        )
    return prose.table(pd.DataFrame(lines))


def _needed(scratch: pd.DataFrame, accuracy: pd.Series) -> str:
    """Labels at which the mean curve from scratch, made monotone, has the mean accuracy."""
    if scratch.empty:
        return "not run"
    mean = scratch.groupby("labels")["accuracy"].mean()
    labels = statistics.labels_to_reach(mean.index.to_numpy(), mean.to_numpy(), accuracy.mean())
    if np.isnan(labels):
        return f"more than {mean.index.max():,} (there {mean.iloc[-1]:.2f} %)"
    if labels == mean.index.min():
        return f"{labels:,.0f} or fewer"
    return f"{labels:,.0f}"


def savings(results: pd.DataFrame, part: str, dataset: str) -> dict[str, Estimate]:
    """Label saving (times) of every arm that reaches random's last accuracy in all seeds."""
    by_arm = statistics.label_savings(balanced(results, part, dataset))
    return {
        arm: estimate(by_arm[arm].to_numpy())
        for arm in by_arm
        if arm not in ("random", *ORACLES) and by_arm[arm].notna().all()
    }


def sentences(results: pd.DataFrame, interim: str = "") -> Markdown:
    """What the encoder is worth, and what choosing is worth on top, dataset by dataset."""
    lines = []
    for dataset in dict.fromkeys(results.loc[results["factor"].isin(PARTS), "dataset"]):
        parts = [_encoder(results, dataset), *(_choosing(results, p, dataset) for p in PARTS)]
        lines.append(f"- **{dataset_title(dataset)}**: {' '.join(part for part in parts if part)}")
    text = "\n".join(lines) or "No seed has every arm yet."
    return Markdown(f"{text}\n\n{interim.strip()}".strip())


def _encoder(results: pd.DataFrame, dataset: str) -> str:
    """The head's accuracy at its first label count beside the network from scratch at its last."""
    head, scratch = balanced(results, "head", dataset), balanced(results, "scratch", dataset)
    if head.empty or scratch.empty:
        return "the network was not trained from scratch here, so the encoder's worth is open."
    last = scratch["labels"].max()
    at_last = estimate(scratch.loc[scratch["labels"] == last, "accuracy"])
    means = head.groupby("labels")["accuracy"]
    enough = [labels for labels, group in means if group.mean() >= at_last.mean]
    text = f"the network from scratch has {interval(at_last, '%')} with {last:,} random labels; "
    if not enough:
        labels = head["labels"].max()
        return (
            f"{text}a linear head on frozen features has no more than "
            f"{interval(estimate(means.get_group(labels)), '%')} with {labels:,}."
        )
    labels = enough[0]
    fewest = " (the fewest tried)" if labels == head["labels"].min() else ""
    return (
        f"{text}a linear head on frozen features has "
        f"{interval(estimate(means.get_group(labels)), '%')} with {labels:,}{fewest}."
    )


def _choosing(results: pd.DataFrame, part: str, dataset: str) -> str:
    """How many labels the arm with the largest mean area saves against random labels."""
    rows = balanced(results, part, dataset)
    if rows.empty or rows["seed"].nunique() < FEWEST_SEEDS:
        return ""
    best = best_arm(results, part, dataset)
    span = f"From {rows['labels'].min():,} to {rows['labels'].max():,} labels"
    if best not in (saved := savings(results, part, dataset)):
        return (
            f"{span} the largest mean area is that of {arm_title(best)}, which does not reach "
            "random's last accuracy in every seed."
        )
    return (
        f"{span} {arm_title(best)}, the arm with the largest mean area, reaches the accuracy that "
        f"random has at the end with {prose.share_of_labels(saved[best])}."
    )
