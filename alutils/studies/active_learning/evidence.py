"""What a run's records hold beyond accuracy, shown: calibration, errors, picks, maps, time.

Nothing here trains; what is shown was written into the rounds (``diagnostics`` in the parameters).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.study import Study
from alutils.records.store import Store, finished, rounds
from alutils.reporting import figures, statistics
from alutils.reporting.figures import arm_style
from alutils.reporting.picture import Picture, Steps
from alutils.reporting.prose import show, table
from alutils.reporting.style import house_style

PHASES = {
    "seconds_train": "training",
    "seconds_test": "test set",
    "seconds_score": "scoring the pool",
    "seconds_select": "choosing",
    "seconds_diagnose": "diagnostics and checks",
}
SHOWN = 16
"""Picks of a round in the gallery."""
GALLERIES = 4
"""Acquisitions of which the gallery shows picks, from the first to the last."""
SEEN = 20
"""Predictions below which a confidence bin is not drawn."""


@dataclass(frozen=True)
class Look:
    """A round that has diagnostics."""

    arm: str
    seed: int
    number: int
    labels: int
    done: dict[str, Any]


def looks(plan: Study, results: pd.DataFrame) -> list[Look]:
    """The rounds with diagnostics of the cells in a results table, in the order of the cells.

    A single baseline is left out: it has one round alone.
    """
    shown = set(results["record"])
    return [
        Look(arm, cell.seed, number, done["labels"], done)
        for cell, record in finished(Store(plan.profile), plan.cells())
        for done, (arm, number) in rounds(cell, record)
        if cell.diagnostics and cell.name in shown and arm != BASELINE
    ]


def _needs(key: str) -> Callable:
    """Give a figure the rounds that have ``key``, or say that there are none."""

    def decorate(draw: Callable[..., HTML]) -> Callable[..., HTML | Markdown]:
        @wraps(draw)
        def drawn(found: list[Look], *args: Any) -> HTML | Markdown:
            kept = [look for look in found if key in look.done]
            if not kept:
                return Markdown("This run kept no diagnostics (`diagnostics` switches them on).")
            return draw(kept, *args)

        return drawn

    return decorate


@house_style()
def likelihood(results: pd.DataFrame) -> HTML | Markdown:
    """Negative log-likelihood and calibration error against labels, for every arm."""
    if "test_nll" not in results:
        return Markdown("This run did not judge the test set.")
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
    told = "; ".join(
        f"{arm_title(arm)} {ends.loc[arm, 'test_nll']:.2f} nats, calibration error "
        f"{100 * ends.loc[arm, 'test_ece']:.1f} points"
        for arm in arms
        if arm in ends.index
    )
    caption = (
        "Negative log-likelihood and expected calibration error (15 equal-width bins) on the test "
        f"set: mean over seeds. At the last label count: {told}."
    )
    return show(figure, caption, "Two panels of lines, one line an arm, against labels.")


LIKELIHOOD = {
    "test_nll": ("negative log-likelihood (nats)", 1),
    "test_ece": ("expected calibration error (points)", 100),
}
"""Columns with their titles, and what they are multiplied by."""


@_needs("closing")
@house_style()
def reliability(found: list[Look]) -> HTML:
    """Accuracy against confidence at the last round, all seeds of an arm together."""
    figure, ((axes,),) = figures.grid(size=(7, 4.2))
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="calibrated")
    arms, gaps = _arms(found), []
    for arm, own in _by_arm(found):
        count, confidence, accuracy = (_pooled(own, part) for part in BINS)
        seen = count >= SEEN
        colour, marker = arm_style(arm, arms)
        axes.plot(
            confidence[seen], accuracy[seen], color=colour, marker=marker, label=arm_title(arm)
        )
        gap = float((count * (confidence - accuracy)).sum() / count.sum())
        gaps.append(f"{arm_title(arm)} {100 * gap:+.1f}")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    figures.legend(axes)
    sns.despine(ax=axes)
    caption = (
        "Reliability at the last round: accuracy by confidence of the likeliest class; below the "
        "dotted line a network is too sure of itself (test set, or the held-out set where the test "
        "set is not used). Mean confidence minus accuracy, in points: "
        f"{', '.join(gaps)}. Bins of fewer than {SEEN} predictions are left out."
    )
    return show(figure, caption, "Accuracy against confidence, one line an arm.")


BINS = ("bin_count", "bin_confidence", "bin_accuracy")


def _pooled(own: list[Look], part: str) -> np.ndarray:
    """Bins of all seeds together: counts summed, the others weighted by them."""
    counts = np.array([look.done["closing"]["bin_count"] for look in own], dtype=float)
    if part == "bin_count":
        return counts.sum(0)
    values = np.array([look.done["closing"][part] for look in own])
    return (counts * values).sum(0) / np.maximum(counts.sum(0), 1)


@_needs("closing")
@house_style()
def confusion(found: list[Look], classes: Sequence[str]) -> HTML:
    """Confusion matrix of every arm at the last round, in per cent of the true class."""
    arms = _by_arm(found)
    shares = [_errors(own) for _, own in arms]
    figure, axes = figures.grid(1, len(arms), (2.5 * len(arms) + 0.6, 3.1))
    worst = []
    for (arm, _), panel, share in zip(arms, axes[0], shares, strict=True):
        last = arm == arms[-1][0]
        sns.heatmap(
            share, ax=panel, vmin=0, vmax=np.max(shares), cmap="rocket_r", square=True,
            mask=np.eye(len(share), dtype=bool), cbar=last,
            cbar_kws={"shrink": 0.7, "label": "% of the true class"},
            xticklabels=_short(classes), yticklabels=_short(classes),
        )  # fmt: skip
        panel.tick_params(axis="x", labelsize=7, rotation=90)
        panel.tick_params(axis="y", labelsize=7, rotation=0)
        panel.set_title(arm_title(arm), fontsize=10)
        panel.set(xlabel="predicted", ylabel="true" if panel is axes[0, 0] else "")
        true, predicted = np.unravel_index(share.argmax(), share.shape)
        worst.append(f"{arm_title(arm)}: {classes[true]} taken for {classes[predicted]} "
                     f"({share.max():.1f} %)")  # fmt: skip
    caption = (
        "Confusion at the last round, all seeds together: per cent of the true class that is taken "
        f"for another; right answers are left white. Most often: {'; '.join(worst)}."
    )
    return show(figure, caption, f"A confusion matrix for each of {len(arms)} arms.")


def _errors(own: list[Look]) -> np.ndarray:
    """Per cent of each true class (rows) predicted as another (columns); the diagonal is 0."""
    counts = np.sum([look.done["closing"]["confusion"] for look in own], axis=0)
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    return share - np.diag(share.diagonal())


@_needs("closing")
@house_style()
def roc(found: list[Look]) -> HTML:
    """Mean one-against-rest ROC curve of every arm at the last round."""
    figure, ((axes,),) = figures.grid(size=(7, 4.2))
    arms, areas = _arms(found), {}
    for arm, own in _by_arm(found):
        curve = np.mean([look.done["closing"]["roc"] for look in own], axis=(0, 1))
        rates = np.linspace(0, 1, len(curve))
        axes.plot(rates, curve, color=arm_style(arm, arms)[0], label=arm_title(arm))
        areas[arm] = np.mean([look.done["closing"]["auroc"] for look in own])
    reach = 0.1 if min(areas.values()) > 0.98 else 1
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, reach))
    figures.legend(axes)
    sns.despine(ax=axes)
    caption = "ROC at the last round, each class against the rest: mean over classes and seeds."
    told = ", ".join(f"{arm_title(arm)} {1e4 * (1 - area):.2f}" for arm, area in areas.items())
    alt = (
        "True-positive against false-positive rate, one line an arm. 1 - area under them, in "
        f"1/10,000: {told}."
    )
    return show(figure, caption, alt)


@_needs("closing")
def auroc(found: list[Look], classes: Sequence[str]) -> HTML:
    """What the area under the ROC curve lacks to 1, by class and arm, and its mean over classes.

    In 1/10,000, as the area itself would have no digits left where hardly any image is mistaken.
    """
    rows: list[dict[str, str]] = [{"class": name} for name in [*classes, "mean of classes"]]
    for arm, own in _by_arm(found):
        by_seed = 1e4 * (1 - np.array([look.done["closing"]["auroc"] for look in own]))
        for row, values in zip(rows, [*by_seed.T, by_seed.mean(1)], strict=True):
            one = statistics.estimate(values)
            half = f" ± {one.high - one.mean:.2f}" if one.seeds > 1 else ""
            row[arm_title(arm)] = f"{one.mean:.2f}{half if row is rows[-1] else ''}"
    lacking = table(pd.DataFrame(rows)).data
    return HTML(f"<p>1 - area under the ROC curve, in 1/10,000 (0 is perfect):</p>{lacking}")


@_needs("class_counts")
@house_style()
def asked_for(found: list[Look], classes: Sequence[str]) -> HTML:
    """Classes of what every arm asked for, from its first pick to its last."""
    arms = _arms(found)
    figure, ((axes,),) = figures.grid(size=(10, 3.6))
    width, uneven = 0.8 / len(arms), []
    for i, (arm, own) in enumerate(_by_arm(found)):
        shares = [_asked(list(rows)) for _, rows in groupby(own, lambda look: look.seed)]
        shares = [share for share in shares if share is not None]
        if not shares:
            continue
        mean, spread = np.mean(shares, axis=0), np.std(shares, axis=0, ddof=min(1, len(shares) - 1))
        places = np.arange(len(classes)) + (i - (len(arms) - 1) / 2) * width
        colour = arm_style(arm, arms)[0]
        axes.bar(places, mean, width, yerr=spread, color=colour, label=arm_title(arm),
                 error_kw={"linewidth": 0.8})  # fmt: skip
        most = int(mean.argmax())
        uneven.append(f"{arm_title(arm)}: {classes[most]} ({mean[most]:.0f} %)")
    axes.set_xticks(range(len(classes)), classes)
    axes.set(ylabel="share of acquired labels (%)")
    figures.legend(axes)
    sns.despine(ax=axes)
    told = f" Most often: {'; '.join(uneven)}." if uneven else ""
    caption = (
        "Classes of the labels that each arm asked for: mean over seeds, lines one standard "
        f"deviation either way.{told}"
    )
    return show(figure, caption, "Bars by class, one colour an arm.")


def _asked(own: list[Look]) -> np.ndarray | None:
    """Per cent of each class among the labels added after the first ones, of one cell."""
    counts = [np.array(look.done["class_counts"]) for look in own]
    added = counts[-1] - counts[0]
    return 100 * added / added.sum() if added.sum() else None


@_needs("gallery")
def gallery(found: list[Look], dataset: Any) -> HTML:
    """The first picks of one seed, arm by arm; one acquisition is shown at a time."""
    seed = found[0].seed
    arms = [(arm, _moments(own, GALLERIES)) for arm, own in _by_arm(found, seed)]
    parts = {
        f"{moment[0][1].labels:,} labels": _picks(moment, dataset)
        for moment in zip(*([(arm, look) for look in own] for arm, own in arms), strict=True)
    }
    return Steps("gallery", parts, f"The first {SHOWN} picks of seed {seed}, asked for at")


@house_style()
def _picks(moment: Sequence[tuple[str, Look]], dataset: Any) -> Picture:
    """What every arm asked for at one acquisition."""
    figure, axes = figures.grid(len(moment), 1, (8.2, 0.98 * len(moment)))
    for panel, (arm, look) in zip(axes[:, 0], moment, strict=True):
        _strip(panel, look.done["gallery"], dataset)
        panel.set_ylabel(arm_title(arm), fontsize=9)
        panel.set(xticks=[], yticks=[])
        panel.grid(False)
        sns.despine(ax=panel, left=True, bottom=True)
    labels, names = moment[0][1].labels, dataset.classes
    caption = (
        f"Asked for at {labels:,} labels. Under an image its true class; below that the two "
        "classes that the network found likeliest."
    )
    told = "; ".join(
        f"{arm_title(arm)}: {', '.join(names[i] for i in look.done['gallery']['truth'][:SHOWN])}"
        for arm, look in moment
    )
    return show(figure, caption, f"Picked images at {labels:,} labels, by true class. {told}.")


def _strip(panel: Any, picks: dict[str, list], dataset: Any) -> None:
    """A row of picked images in one picture, each with its classes under it."""
    names = _short(dataset.classes)
    size = dataset.train_images.shape[-1]
    whole = np.full((size, SHOWN * (size + 2), 3), 255, dtype=np.uint8)
    for i, index in enumerate(picks["index"][:SHOWN]):
        image = dataset.train_images[index].permute(1, 2, 0).numpy()
        whole[:, i * (size + 2) : i * (size + 2) + size] = image
        truth, first, second = (names[picks[k][i]] for k in ("truth", "likeliest", "second"))
        text = f"{truth}\n{first} {second}"
        panel.text(i * (size + 2) + size / 2, size + 1, text, ha="center", va="top", fontsize=6.5)
    panel.imshow(whole, interpolation="nearest")


@_needs("map")
@house_style()
def pool_map(found: list[Look], dataset: Any) -> HTML:
    """Fixed pool images on two principal components, with what was asked for, of one seed."""
    seed = found[0].seed
    arms = [(arm, _moments(own)) for arm, own in _by_arm(found, seed)]
    moments = max(len(own) for _, own in arms)
    figure, axes = figures.grid(len(arms), moments, (2.6 * moments, 2.1 * len(arms) + 0.6))
    for row, (arm, own) in zip(axes, arms, strict=True):
        for panel, look in zip(row, own, strict=True):
            _scatter(panel, look.done["map"], dataset)
        row[0].set_ylabel(arm_title(arm), fontsize=9)
    for panel, look in zip(axes[0], arms[0][1], strict=True):
        panel.set_title(f"{look.labels:,} labels", fontsize=9)
    for name, colour in zip(dataset.classes, _class_colours(dataset), strict=True):
        axes[0, 0].scatter([], [], s=14, color=colour, label=name)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    first = arms[0][1][0].done["map"]
    caption = (
        f"{len(first['index']):,} pool images of seed {seed} on the first two principal components "
        "of the network's features, each map with axes of its own, coloured by true class. Black "
        "rings: the first picks of the next acquisition; in the last round, of the last one."
    )
    return show(figure, caption, "Scatter plots of the pool, a row an arm, a column a round.", 64)


def _class_colours(dataset: Any) -> list[tuple[float, float, float]]:
    """A colour a class; beyond ten classes they go round the colour wheel."""
    count = len(dataset.classes)
    return sns.color_palette("tab10" if count <= 10 else "husl", count)


def _scatter(panel: Any, places: dict[str, list], dataset: Any) -> None:
    truth = dataset.train_labels[places["index"]].numpy()
    colours = np.array(_class_colours(dataset))[truth]
    panel.scatter(places["x"], places["y"], s=1.5, c=colours, linewidths=0, rasterized=True)
    panel.scatter(
        places["marked_x"], places["marked_y"], s=16, facecolors="none", edgecolors="black",
        linewidths=0.8,
    )  # fmt: skip
    panel.set(xticks=[], yticks=[])


@house_style()
def phases(results: pd.DataFrame) -> HTML:
    """Where the time of a round went, by arm; first rounds, which arms share, are left out."""
    known = [phase for phase in PHASES if phase in results]
    own = results[(results["arm"] != BASELINE) & (results["round"] > 1)]
    mean = (results if own.empty else own).groupby("arm", sort=False)[known].mean()
    figure, ((axes,),) = figures.grid(size=(9, 0.9 + 0.42 * len(mean)))
    left = np.zeros(len(mean))
    for phase, colour in zip(known, sns.color_palette("muted"), strict=False):
        axes.barh(range(len(mean)), mean[phase], left=left, color=colour, label=PHASES[phase])
        left += mean[phase].to_numpy()
    axes.set_yticks(range(len(mean)), [arm_title(arm) for arm in mean.index])
    axes.invert_yaxis()
    which = "rounds" if own.empty else "rounds after the first"
    axes.set(xlabel=f"seconds of one worker, mean of the {which}")
    figures.legend(axes)
    sns.despine(ax=axes)
    left_out = "" if own.empty else "First rounds, which arms mostly share, are left out. "
    total = mean.sum(axis=1)
    told = ", ".join(f"{arm_title(arm)} {seconds:.1f} s" for arm, seconds in total.items())
    caption = (
        f"Time of a round by phase: {told}. {left_out}In the last round nothing is chosen. "
        "Training is the same work in every arm: where it differs, other work was on the machine, "
        "or it was another machine."
    )
    return show(figure, caption, "Stacked bars, one an arm.")


def _arms(found: list[Look]) -> list[str]:
    return list(dict.fromkeys(look.arm for look in found))


def _by_arm(found: list[Look], seed: int | None = None) -> list[tuple[str, list[Look]]]:
    """Arms with their rounds, by seed and number; of one seed where it is given."""
    kept = [look for look in found if seed in (None, look.seed)]
    kept = sorted(kept, key=lambda look: (look.seed, look.number))
    return [(arm, [look for look in kept if look.arm == arm]) for arm in _arms(found)]


def _moments(own: list[Look], count: int = 3) -> list[Look]:
    """Some rounds from the first to the last; fewer where there are not so many."""
    places = np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(int)
    return [own[place] for place in places]


def _short(classes: Sequence[str]) -> list[str]:
    return [name[:3] for name in classes]
