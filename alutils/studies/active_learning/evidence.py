"""Figures of what a run's records hold beyond accuracy: calibration, errors, time.

Nothing here trains; what is shown was written into the rounds (``diagnostics`` in the parameters).
What the arms asked for is shown by ``picks``.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.datasets import DATASETS
from alutils.reporting import figures, statistics
from alutils.reporting.figures import arm_style
from alutils.reporting.prose import show, table
from alutils.reporting.style import house_style
from alutils.studies.active_learning.diagnosed_rounds import (
    DiagnosedRound,
    abbreviated,
    arms_of,
    by_arm,
    needs,
)

PHASES = {
    "seconds_train": "training",
    "seconds_test": "test set",
    "seconds_score": "scoring the pool",
    "seconds_select": "choosing",
    "seconds_diagnose": "diagnostics and checks",
}
MIN_PREDICTIONS, MIN_SHARE, LEAST_PREDICTIONS = 100, 1 / 50, 20
"""Fewest predictions for a confidence bin to be drawn: the first number, or the share of an arm's
predictions if that is less, but not below the last number."""


@house_style()
def likelihood(results: pd.DataFrame) -> HTML | Markdown:
    """Negative log-likelihood and calibration error against labels, for every arm."""
    if "test_nll" not in results:
        return Markdown("This run was not evaluated on the test set.")
    arms = list(dict.fromkeys(results["arm"]))
    figure, axes = figures.grid(1, 2, (10, 3.8))
    for panel, (column, (title, scale)) in zip(axes[0], LIKELIHOOD.items(), strict=True):
        for arm in arms:
            colour, marker = arm_style(arm, arms)
            mean = scale * results[results["arm"] == arm].groupby("labels")[column].mean()
            panel.plot(mean.index, mean, color=colour, marker=marker, label=arm_title(arm))
        panel.set(xlabel="labelled images", ylabel=title)
        figures.thousands(panel)
        panel.set_ylim(0, 1.08 * max(line.get_ydata().max() for line in panel.lines))
        sns.despine(ax=panel)
    figures.legend(axes[0, 1])
    last = results[results["arm"] != BASELINE].sort_values("labels").groupby(["arm", "seed"])
    ends = last[list(LIKELIHOOD)].last().groupby("arm").mean()
    at_the_end = "; ".join(
        f"{arm_title(arm)} {ends.loc[arm, 'test_nll']:.2f} nats, calibration error "
        f"{100 * ends.loc[arm, 'test_ece']:.1f} points"
        for arm in arms
        if arm in ends.index
    )
    seeds = results["seed"].nunique()
    caption = (
        "Negative log-likelihood and expected calibration error (15 equal-width bins) on the test "
        f"set: {f'mean over {seeds} seeds' if seeds > 1 else 'one seed'}. At the last label "
        f"count: {at_the_end}.{_worse_than_uniform(results)}"
    )
    return show(figure, caption, "Two line plots against labels, one line per arm.")


def _worse_than_uniform(results: pd.DataFrame) -> str:
    """Up to how many random labels a uniform guess has the better likelihood, or no text."""
    uniform = math.log(len(DATASETS[results["dataset"].iloc[0]].classes))
    random = results[results["arm"] == "random"].groupby("labels")["test_nll"].mean()
    worse = random.index[(random > uniform).cummin()]
    if worse.empty:
        return ""
    return (
        f" Up to {worse.max():,} random labels, the networks' likelihood is worse than that of a "
        f"uniform guess ({uniform:.2f} nats): they are overconfident where they are wrong."
    )


LIKELIHOOD = {
    "test_nll": ("negative log-likelihood (nats)", 1),
    "test_ece": ("expected calibration error (points)", 100),
}
"""Columns with their titles and scale factors."""


@needs("closing")
@house_style()
def reliability(diagnosed: list[DiagnosedRound]) -> HTML:
    """Accuracy against confidence at the last round, pooled over each arm's seeds."""
    figure, ((axes,),) = figures.grid(size=(7, 4.2))
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="calibrated")
    arms, gaps = arms_of(diagnosed), []
    pooled = {
        arm: [_pooled(rounds, column) for column in BINS] for arm, rounds in by_arm(diagnosed)
    }
    all_of_an_arm = max(count.sum() for count, *_ in pooled.values())
    fewest = min(MIN_PREDICTIONS, max(LEAST_PREDICTIONS, round(MIN_SHARE * all_of_an_arm)))
    for arm, (count, confidence, accuracy) in pooled.items():
        drawn = count >= fewest
        colour, marker = arm_style(arm, arms)
        axes.plot(
            confidence[drawn], accuracy[drawn], color=colour, marker=marker, label=arm_title(arm)
        )
        gap = float((count * (confidence - accuracy)).sum() / count.sum())
        gaps.append(f"{arm_title(arm)} {100 * gap:+.1f}")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    figures.legend(axes)
    sns.despine(ax=axes)
    caption = (
        "Reliability diagram at the last round: accuracy against confidence in the likeliest "
        "class; below the dotted line, a network is overconfident (test set, or the held-out set "
        "if the test set is not used). Mean confidence minus accuracy, in points: "
        f"{', '.join(gaps)}. Bins of fewer than {fewest} predictions are left out."
    )
    return show(figure, caption, "Accuracy against confidence, one line per arm.")


BINS = ("bin_count", "bin_confidence", "bin_accuracy")
"""Keys of a record's equal-width confidence bins, with counts, confidences and accuracies."""


def _pooled(rounds: list[DiagnosedRound], column: str) -> np.ndarray:
    """A column of ``BINS`` over all seeds: counts summed, the others weighted by the counts."""
    counts = np.array([each.entries["closing"]["bin_count"] for each in rounds], dtype=float)
    if column == "bin_count":
        return counts.sum(0)
    values = np.array([each.entries["closing"][column] for each in rounds])
    return (counts * values).sum(0) / np.maximum(counts.sum(0), 1)


@needs("closing")
@house_style()
def confusion(diagnosed: list[DiagnosedRound], classes: Sequence[str]) -> HTML:
    """Confusion matrix of every arm at the last round, in per cent of the true class."""
    arms = by_arm(diagnosed)
    shares = [_errors(rounds) for _, rounds in arms]
    figure, axes = figures.grid(1, len(arms), (2.5 * len(arms) + 0.6, 3.1))
    worst = []
    names = abbreviated(classes) if len(classes) <= figures.LEGIBLE else "auto"
    for (arm, _), panel, share in zip(arms, axes[0], shares, strict=True):
        last = arm == arms[-1][0]
        sns.heatmap(
            share, ax=panel, vmin=0, vmax=np.max(shares) or 1, cmap="rocket_r", square=True,
            mask=np.eye(len(share), dtype=bool), cbar=last,
            cbar_kws={"shrink": 0.7, "label": "% of the true class"},
            xticklabels=names, yticklabels=names,
        )  # fmt: skip
        panel.tick_params(axis="x", labelsize=7, rotation=90)
        panel.tick_params(axis="y", labelsize=7, rotation=0)
        panel.set_title(arm_title(arm), fontsize=10)
        panel.set(xlabel="predicted", ylabel="true" if panel is axes[0, 0] else "")
        worst.append(f"{arm_title(arm)}: {_most_often(share, classes)}")
    caption = (
        "Confusion matrices at the last round, all seeds together: per cent of each true class "
        f"that is taken for another; the diagonal is left white. Most often: {'; '.join(worst)}."
    )
    return show(figure, caption, f"A confusion matrix for each of {len(arms)} arms.")


def _most_often(share: np.ndarray, classes: Sequence[str]) -> str:
    """Which class is most often taken for which other, from what ``_errors`` returns."""
    if not share.any():
        return "none"
    true, predicted = np.unravel_index(share.argmax(), share.shape)
    return f"{classes[true]} taken for {classes[predicted]} ({share.max():.1f} %)"


def _errors(rounds: list[DiagnosedRound]) -> np.ndarray:
    """Per cent of each true class (rows) predicted as another (columns); the diagonal is 0."""
    counts = np.sum([each.entries["closing"]["confusion"] for each in rounds], axis=0)
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    return share - np.diag(share.diagonal())


@needs("closing")
def auroc(diagnosed: list[DiagnosedRound], classes: Sequence[str]) -> HTML:
    """1 minus the area under the ROC curve at the last round, by class and arm, and its mean.

    In units of 1/10,000: if hardly any image is misclassified, the area itself would round to 1.
    """
    rows: list[dict[str, str]] = [{"class": name} for name in [*classes, "mean of classes"]]
    for arm, rounds in by_arm(diagnosed):
        by_seed = 1e4 * (1 - np.array([each.entries["closing"]["auroc"] for each in rounds]))
        for row, values in zip(rows, [*by_seed.T, by_seed.mean(1)], strict=True):
            lacking = statistics.estimate(values)
            half = f" ± {lacking.high - lacking.mean:.2f}" if lacking.seeds > 1 else ""
            row[arm_title(arm)] = f"{lacking.mean:.2f}{half if row is rows[-1] else ''}"
    lacking_table = table(pd.DataFrame(rows)).data
    return HTML(
        "<p>1 minus the area under the ROC curve of each class against the rest, at the last "
        f"round, in units of 1/10,000 (0 is perfect):</p>{lacking_table}"
    )


@house_style()
def phases(results: pd.DataFrame) -> HTML:
    """Where the time of a round went, by arm; first rounds, which arms share, are left out."""
    known = [phase for phase in PHASES if phase in results]
    later = results[(results["arm"] != BASELINE) & (results["round"] > 1)]
    mean = (results if later.empty else later).groupby("arm", sort=False)[known].mean()
    figure, ((axes,),) = figures.grid(size=(9, 0.9 + 0.42 * len(mean)))
    left = np.zeros(len(mean))
    for phase, colour in zip(known, sns.color_palette("muted"), strict=False):
        axes.barh(range(len(mean)), mean[phase], left=left, color=colour, label=PHASES[phase])
        left += mean[phase].to_numpy()
    axes.set_yticks(range(len(mean)), [arm_title(arm) for arm in mean.index])
    axes.invert_yaxis()
    which = "rounds" if later.empty else "rounds after the first"
    axes.set(xlabel=f"seconds of one worker, mean of the {which}")
    figures.legend(axes)
    sns.despine(ax=axes)
    left_out = "" if later.empty else "First rounds, which arms mostly share, are left out. "
    total = mean.sum(axis=1)
    seconds = ", ".join(f"{arm_title(arm)} {s:.1f} s" for arm, s in total.items())
    caption = (
        f"Time per round by phase: {seconds}. {left_out}Nothing is chosen in the last round. "
        "Training takes the same work in every arm: where its time differs, the machine was busy "
        "with other work, or it was a different machine."
    )
    return show(figure, caption, "Stacked bars, one per arm.")
