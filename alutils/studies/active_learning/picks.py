"""What the arms asked for: its classes, the picked images, and where they lie in the pool."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import seaborn as sns
from IPython.display import HTML

from alutils.protocol.arms import arm_title
from alutils.reporting import figures
from alutils.reporting.figures import arm_style
from alutils.reporting.picture import Picture, Steps
from alutils.reporting.prose import show
from alutils.reporting.style import house_style
from alutils.studies.active_learning.diagnosed_rounds import (
    DiagnosedRound,
    abbreviated,
    arms_of,
    by_arm,
    needs,
    spread_out,
)

SHOWN = 16
"""Maximum number of picks per round in the gallery."""
LARGEST = 56
"""Gallery images are downscaled, by an integer factor, to no less than this side (pixels)."""
NAMES_IN_A_ROW = 110
"""Maximum number of letters in all class names together that fit side by side under an axis."""
GALLERIES = 4
"""Maximum number of acquisitions whose picks the gallery shows, from the first to the last."""


@needs("class_counts")
@house_style()
def asked_for(diagnosed: list[DiagnosedRound], classes: Sequence[str]) -> HTML:
    """Classes of what every arm asked for, from its first pick to its last.

    If there are many classes, those that the arms asked for most unequally.
    """
    arms, by_class = arms_of(diagnosed), _shares_by_arm(diagnosed)
    shown = _most_unequal([mean for mean, _ in by_class.values()], len(classes))
    names = [classes[label] for label in shown]
    figure, ((axes,),) = figures.grid(size=(10, 3.6))
    width, most_asked = 0.8 / len(arms), []
    for arm, (mean, spread) in by_class.items():
        place = (arms.index(arm) - (len(arms) - 1) / 2) * width
        lines = None if spread is None else spread[shown]
        axes.bar(np.arange(len(shown)) + place, mean[shown], width, yerr=lines,
                 color=arm_style(arm, arms)[0], label=arm_title(arm),
                 error_kw={"linewidth": 0.8})  # fmt: skip
        most = int(mean.argmax())
        most_asked.append(f"{arm_title(arm)}: {classes[most]} ({mean[most]:.0f} %)")
    axes.set_xticks(range(len(shown)), names)
    axes.tick_params(axis="x", rotation=90 if sum(map(len, names)) > NAMES_IN_A_ROW else 0)
    axes.set(ylabel="share of acquired labels (%)")
    figures.legend(axes)
    sns.despine(ax=axes)
    few = f", the {len(shown)} of {len(classes)} in which arms differ most"
    sentence = f" Most often: {'; '.join(most_asked)}." if most_asked else ""
    over = "mean over seeds, error bars of one standard deviation"
    if all(spread is None for _, spread in by_class.values()):
        over = "1 seed"
    caption = (
        f"Classes of the labels that each arm acquired{few if len(shown) < len(classes) else ''}: "
        f"{over}.{sentence}"
    )
    return show(figure, caption, "Bars by class, one colour per arm.")


def _shares_by_arm(
    diagnosed: list[DiagnosedRound],
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Mean and standard deviation over seeds of every class's share (%), by arm that asked.

    None for the deviation of one seed.
    """
    found = {}
    for arm, rounds in by_arm(diagnosed):
        cells = [_class_shares(list(cell)) for _, cell in groupby(rounds, lambda each: each.seed)]
        if shares := [share for share in cells if share is not None]:
            spread = np.std(shares, axis=0, ddof=1) if len(shares) > 1 else None
            found[arm] = np.mean(shares, axis=0), spread
    return found


def _most_unequal(means: list[np.ndarray], classes: int) -> list[int]:
    """The classes (in their order) that fit under an axis and differ most between arms."""
    if classes <= figures.LEGIBLE or not means:
        return list(range(min(classes, figures.LEGIBLE)))
    apart = np.ptp(means, axis=0)
    return sorted(np.argsort(-apart, kind="stable")[: figures.LEGIBLE].tolist())


def _class_shares(rounds: list[DiagnosedRound]) -> np.ndarray | None:
    """Per cent of each class among the labels that one cell added after the first ones."""
    counts = [np.array(each.entries["class_counts"]) for each in rounds]
    added = counts[-1] - counts[0]
    return 100 * added / added.sum() if added.sum() else None


@needs("gallery")
def gallery(diagnosed: list[DiagnosedRound], dataset: Any) -> HTML:
    """The first picks of one seed, arm by arm; one acquisition is shown at a time."""
    seed = diagnosed[0].seed
    arms = [(arm, spread_out(rounds, GALLERIES)) for arm, rounds in by_arm(diagnosed, seed)]
    acquisitions = zip(*([(arm, each) for each in rounds] for arm, rounds in arms), strict=True)
    pictures = {
        f"{picks_by_arm[0][1].labels:,} labels": _acquisition(picks_by_arm, dataset)
        for picks_by_arm in acquisitions
    }
    return Steps("gallery", pictures, f"The first {SHOWN} picks of seed {seed}, selected at")


@house_style()
def _acquisition(picks_by_arm: Sequence[tuple[str, DiagnosedRound]], dataset: Any) -> Picture:
    """What every arm asked for at one acquisition."""
    figure, axes = figures.grid(len(picks_by_arm), 1, (8.2, 0.98 * len(picks_by_arm)))
    for panel, (arm, asking) in zip(axes[:, 0], picks_by_arm, strict=True):
        _strip(panel, asking.entries["gallery"], dataset)
        panel.set_ylabel(arm_title(arm), fontsize=9)
        panel.set(xticks=[], yticks=[])
        panel.grid(False)
        sns.despine(ax=panel, left=True, bottom=True)
    labels, names = picks_by_arm[0][1].labels, dataset.classes
    caption = (
        f"Selected at {labels:,} labels. Under each image its true class, and below that the two "
        "classes that the network found likeliest."
    )
    truths = "; ".join(
        f"{arm_title(arm)}: "
        f"{', '.join(names[i] for i in asking.entries['gallery']['truth'][:SHOWN])}"
        for arm, asking in picks_by_arm
    )
    return show(figure, caption, f"Picked images at {labels:,} labels, by true class. {truths}.")


def _strip(panel: Any, picks: dict[str, list], dataset: Any) -> None:
    """A row of picked images in one picture, each with its classes under it."""
    names = abbreviated(dataset.classes)
    step = max(1, dataset.train_images.shape[-1] // LARGEST)
    size = dataset.train_images.shape[-1] // step
    row = np.full((size, SHOWN * (size + 2), 3), 255, dtype=np.uint8)
    for i, index in enumerate(picks["index"][:SHOWN]):
        image = smaller(dataset.train_images[index].permute(1, 2, 0).numpy(), step)
        row[:, i * (size + 2) : i * (size + 2) + size] = image
        truth, first, second = (names[picks[k][i]] for k in ("truth", "likeliest", "second"))
        text = f"{truth}\n{first} {second}"
        panel.text(i * (size + 2) + size / 2, size + 1, text, ha="center", va="top", fontsize=6.5)
    panel.imshow(row, interpolation="nearest")


def smaller(image_S_S_C: np.ndarray, step: int) -> np.ndarray:
    """An image (uint8) downscaled by averaging blocks of ``step`` x ``step`` pixels."""
    if step == 1:
        return image_S_S_C
    side, channels = len(image_S_S_C) // step, image_S_S_C.shape[-1]
    squares = image_S_S_C[: side * step, : side * step].reshape(side, step, side, step, channels)
    return squares.mean(axis=(1, 3)).round().astype(np.uint8)


@needs("map")
@house_style()
def pool_map(diagnosed: list[DiagnosedRound], dataset: Any) -> HTML:
    """Fixed pool images on two principal components, with the picks of one seed marked."""
    seed = diagnosed[0].seed
    arms = [(arm, spread_out(rounds)) for arm, rounds in by_arm(diagnosed, seed)]
    columns = max(len(rounds) for _, rounds in arms)
    figure, axes = figures.grid(len(arms), columns, (2.6 * columns, 2.1 * len(arms) + 0.6))
    for row, (arm, rounds) in zip(axes, arms, strict=True):
        for panel, each in zip(row, rounds, strict=True):
            _scatter(panel, each.entries["map"], dataset)
        row[0].set_ylabel(arm_title(arm), fontsize=9)
    for panel, each in zip(axes[0], arms[0][1], strict=True):
        panel.set_title(f"{each.labels:,} labels", fontsize=9)
    if len(dataset.classes) <= figures.LEGIBLE:
        points = [axes[0, 0].scatter([], [], s=14, color=c) for c in _class_colours(dataset)]
        # named here, as a point's own label would be hidden if it began with "_"
        figure.legend(points, dataset.classes, loc="outside right upper", fontsize=8, frameon=False)
    first = arms[0][1][0].entries["map"]
    caption = (
        f"{len(first['index']):,} pool images of seed {seed} on the first two principal components "
        "of the network's features, coloured by true class; each map has its own axes. Black "
        "rings: the first picks of the next acquisition or, in the last round, of the last one."
    )
    alt = "Scatter plots of the pool, one row per arm, one column per round."
    return show(figure, caption, alt, 64)


def _class_colours(dataset: Any) -> list[tuple[float, float, float]]:
    """One colour per class; beyond ten classes, evenly spaced hues."""
    count = len(dataset.classes)
    return sns.color_palette("tab10" if count <= 10 else "husl", count)


def _scatter(panel: Any, pool: dict[str, list], dataset: Any) -> None:
    """The pool's images as points coloured by class, the picks ringed in black."""
    truth = dataset.train_labels[pool["index"]].numpy()
    colours = np.array(_class_colours(dataset))[truth]
    panel.scatter(pool["x"], pool["y"], s=1.5, c=colours, linewidths=0, rasterized=True)
    panel.scatter(
        pool["marked_x"], pool["marked_y"], s=16, facecolors="none", edgecolors="black",
        linewidths=0.8,
    )  # fmt: skip
    panel.set(xticks=[], yticks=[])
