"""The study's figures, each drawn by one function from a table; nothing here trains."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from alutils.protocol.arms import ARMS, BASELINE, arm_title
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.reporting import published, statistics
from alutils.reporting.statistics import FEWEST_SEEDS
from alutils.reporting.style import MOST_BANDS, MOST_LINES, house_style

REPORTED = {
    "test": "test accuracy",
    "heldout-best": "best held-out accuracy",
    "heldout-last": "last held-out accuracy",
}
OTHER_STYLES = [
    ("#8c0800", "X"), ("#56b4e9", "*"), ("#12711c", "<"), ("#d55e00", ">"), ("#001c7f", "p"),
]  # fmt: skip
"""Colours and markers of user-registered arms, and of curves other than arms."""
SAMPLES = 40
"""Maximum number of classes that the figure of sample images shows."""
LEGIBLE = 20
"""Maximum number of classes whose names fit in a figure."""
NO_CEILING = pd.DataFrame(columns=["dataset", "labels", "accuracy"])
CEILING_COLOUR = "#222222"
KIND_COLOUR = {"conv": "#cfe3f5", "block": "#dcefdc", "pool": "#f3ecd2", "head": "#f6dcd6"}


def arm_style(arm: str, arms: Sequence[str] = ()) -> tuple[object, str]:
    """Colour and marker of an arm, the same in every figure.

    An arm that a user registered gets one of ``OTHER_STYLES``, by its place among such ``arms``.
    """
    if arm == BASELINE:
        return ARMS["random"].colour, "_"
    if arm in ARMS:
        return ARMS[arm].colour, ARMS[arm].marker
    others = [name for name in arms if name not in ARMS]
    return OTHER_STYLES[others.index(arm) % len(OTHER_STYLES) if arm in others else 0]


def reported(results: pd.DataFrame) -> str:
    """Name of the accuracy that a results table reports."""
    return REPORTED[results["reported"].iloc[0]]


def trained(results: pd.DataFrame) -> str:
    """How long each network of a results table was trained, such as "20 epochs per training"."""
    return f"{' or '.join(map(str, sorted(set(results['epochs']))))} epochs per training"


@house_style()
def grid(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 5)) -> tuple:
    """A figure of ``size`` inches with an array (rows, columns) of axes."""
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def with_spread(arms: Sequence[str]) -> Sequence[str]:
    """The arms drawn with interval and seeds: all, or random alone above ``MOST_BANDS`` arms."""
    return arms if len(arms) <= MOST_BANDS else ["random"]


def curve(
    axes: Axes,
    results: pd.DataFrame,
    style: tuple,
    label: str,
    above: bool = False,
    spread: bool = True,
) -> None:
    """Draw the mean line and, with ``spread``, the interval band and the seeds' lines.

    Seeds' lines are drawn for up to ``MOST_LINES`` seeds. ``above`` puts the mean line above those
    of other curves.
    """
    colour, marker = style
    mean = statistics.curve(results).sort_values("labels")
    if spread:
        _spread(axes, results, mean, colour)
    axes.plot(
        mean["labels"], mean["mean"], color=colour, marker=marker, markersize=5, label=label,
        zorder=3 if above else 2,
    )  # fmt: skip


def _spread(axes: Axes, results: pd.DataFrame, mean: pd.DataFrame, colour: object) -> None:
    """Draw the interval band of a curve and, with up to ``MOST_LINES`` seeds, each one's line."""
    seeds = results.groupby("seed")
    for _, of_seed in seeds if len(seeds) <= MOST_LINES else ():
        axes.plot(of_seed["labels"], of_seed["accuracy"], color=colour, alpha=0.35, linewidth=0.7)
    if len(mean) == 1:
        axes.vlines(mean["labels"], mean["low"], mean["high"], color=colour, alpha=0.5)
    axes.fill_between(mean["labels"], mean["low"], mean["high"], color=colour, alpha=0.13)


def near(points: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The published points up to 1.25 times our last label count."""
    return points[points["labels"] <= 1.25 * results["labels"].max()]


def published_sizes(results: pd.DataFrame) -> pd.DataFrame:
    """The authors' points of Figure 2 for one dataset, ``near`` enough to draw with ours."""
    theirs = published.training_size()
    return near(theirs[theirs["dataset"] == results["dataset"].iloc[0]], results)


def published_arms(results: pd.DataFrame) -> pd.DataFrame:
    """The authors' points of the same arms and dataset that are ``near`` enough to draw with ours.

    None for runs on frozen features, as their network is not the authors'.
    """
    theirs = near(published.active_learning(results["dataset"].iloc[0]), results)
    on_features = results.get("encoder", pd.Series("none", results.index)) != "none"
    return theirs[theirs["arm"].isin(results.loc[~on_features, "arm"])]


def limits(accuracies: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis that shows every accuracy (%); wide intervals are clipped there."""
    low, high = min(accuracies), max(accuracies)
    pad = 0.08 * (high - low) + 0.2
    return low - pad, min(high + pad, 100)


def draw_published(axes: Axes, points: pd.DataFrame, style: tuple) -> None:
    """Draw the authors' points, hollow and without a line."""
    axes.plot(
        points["labels"], points["accuracy"], linestyle="", marker=style[1], markersize=6,
        markerfacecolor="none", markeredgecolor=style[0], alpha=0.8,
    )  # fmt: skip


def thousands(axes: Axes) -> None:
    """Write the label counts of the x axis with thousands separators."""
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def logarithmic(axes: Axes, which: Literal["x", "y"] = "x") -> None:
    """Make an axis logarithmic, with plain tick labels: matplotlib's default is mathtext."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis

    def major(value: float, _: int | None) -> str:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"

    def minor(value: float, _: int | None) -> str:
        low, high = axis.get_view_interval()
        return major(value, _) if high < 10 * low else ""  # may hold no power of ten

    axis.set_major_formatter(major)
    axis.set_minor_formatter(minor)


def legend(axes: Axes) -> None:
    """Put the legend beside the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def finish(axes: Axes, title: str, accuracy: str) -> None:
    """Add axis labels and a legend, and limits that show every line."""
    axes.set(xlabel="labelled images", ylabel=f"{accuracy} (%)", title=title)
    axes.set_ylim(limits([y for line in axes.lines for y in line.get_ydata()]))
    thousands(axes)
    if any(line.get_linestyle() == "None" and len(line.get_xdata()) for line in axes.lines):
        axes.plot(
            [],
            [],
            "o",
            markerfacecolor="none",
            color="grey",
            label=f"published\n({published.RULE_SHORT})",
        )
    legend(axes)
    sns.despine(ax=axes)


def ceiling_line(axes: Axes, ceiling: pd.DataFrame) -> None:
    """Draw the accuracy of a training on every label as a horizontal line, for each row."""
    for labels, accuracy in ceiling[["labels", "accuracy"]].itertuples(index=False):
        label = f"all {labels:,} labels\n(one training)"
        axes.axhline(accuracy, color=CEILING_COLOUR, linestyle=":", label=label)


@house_style()
def training_size(results: pd.DataFrame, ceiling: pd.DataFrame = NO_CEILING) -> Figure:
    """Figure 2: accuracy against training-set size, one panel per dataset.

    ``ceiling`` has one row per dataset, a training on every label, drawn as a line.
    """
    datasets = list(dict.fromkeys(results["dataset"]))
    figure, axes = grid(1, len(datasets), (6 * len(datasets), 4.2))
    for panel, dataset in zip(axes[0], datasets, strict=True):
        ours = results[results["dataset"] == dataset]
        style = DATASETS[dataset].colour, DATASETS[dataset].marker
        curve(panel, ours, style, "random labels, ours")
        draw_published(panel, published_sizes(ours), style)
        ceiling_line(panel, ceiling[ceiling["dataset"] == dataset])
        finish(panel, dataset_title(dataset), reported(results))
    return figure


@house_style()
def learning_curves(results: pd.DataFrame, ceiling: pd.DataFrame = NO_CEILING) -> Figure:
    """Figures 3 and 4: accuracy against labels for every arm of one dataset.

    ``ceiling`` has the row of a training on every label, drawn as a line.
    """
    dataset, arms = results["dataset"].iloc[0], list(dict.fromkeys(results["arm"]))
    figure, axes = grid()
    theirs = published_arms(results)
    if BASELINE in arms:
        arms.remove(BASELINE)
        level = results.loc[results["arm"] == BASELINE, "accuracy"].mean()
        axes[0, 0].axhline(level, color="#555555", linestyle="--", label=arm_title(BASELINE))
    for arm in arms:
        of_arm, style = results[results["arm"] == arm], arm_style(arm, arms)
        last, spread = arm == "random", arm in with_spread(arms)
        curve(axes[0, 0], of_arm, style, arm_title(arm), above=last, spread=spread)
    for arm in arms:
        draw_published(axes[0, 0], theirs[theirs["arm"] == arm], arm_style(arm, arms))
    ceiling_line(axes[0, 0], ceiling)
    finish(axes[0, 0], f"Active learning on {dataset_title(dataset)}", reported(results))
    return figure


@house_style()
def area_differences(areas: pd.DataFrame, title: str) -> Figure:
    """Each arm's paired difference from random in area: intervals, and one dot per seed.

    ``areas`` has a row per seed and a column per arm; the thin interval is the simultaneous one.
    """
    differences = statistics.paired_differences(areas)
    wide = statistics.paired_differences(areas, tests=len(differences))
    figure, axes = grid(size=(7, 0.8 + 0.5 * len(differences)))
    panel = axes[0, 0]
    arms = list(differences)
    styles = {arm: arm_style(arm, arms) for arm in arms}
    intervals(panel, [(arm_title(arm), differences[arm], styles[arm]) for arm in arms])
    for row, arm in enumerate(arms):
        if len(arms) > 1 and len(areas) >= FEWEST_SEEDS:
            simultaneous_interval(panel, row, wide[arm], styles[arm][0])
        dots(panel, row, areas[arm] - areas["random"], styles[arm][0])
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set(title=title, xlabel="difference in area from random (points of accuracy)")
    return figure


@house_style()
def gains(results: pd.DataFrame) -> Figure:
    """Accuracy minus random's against labels, one panel per arm, from ``statistics.gains``."""
    arms = list(dict.fromkeys(results["arm"]))
    columns = min(len(arms), 4)
    rows = -(-len(arms) // columns)
    figure, axes = grid(rows, columns, (0.8 + 2.1 * columns, 0.6 + 2.0 * rows))
    low, high = limits(results["accuracy"])
    for panel, arm in zip(axes.flat, arms, strict=False):
        curve(panel, results[results["arm"] == arm], arm_style(arm, arms), arm_title(arm))
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(title=arm_title(arm), ylim=(min(low, 0), max(high, 0)))
        thousands(panel)
        panel.label_outer()
        sns.despine(ax=panel)
    for panel in axes.flat[len(arms) :]:
        panel.set_axis_off()
    figure.supxlabel("labelled images", fontsize=10)
    figure.supylabel("accuracy minus random's (points)", fontsize=10)
    return figure


def interval(
    axes: Axes, at: float, estimate: statistics.Estimate, style: tuple, upright: bool = False
) -> None:
    """Draw a mean with its interval: horizontal at y = ``at``, or ``upright`` at x = ``at``.

    With fewer than ``FEWEST_SEEDS`` the marker is hollow, and no interval is drawn.
    """
    colour, marker = style
    line, ends = [at, at], [estimate.low, estimate.high]
    if enough := estimate.seeds >= FEWEST_SEEDS:
        axes.plot(*((line, ends) if upright else (ends, line)), color=colour, linewidth=2)
    mean = (at, estimate.mean) if upright else (estimate.mean, at)
    fill = colour if enough else "white"
    axes.plot(*mean, color=colour, marker=marker, markersize=7, markerfacecolor=fill)


def dots(axes: Axes, at: float, by_seed: pd.Series, colour: object, upright: bool = False) -> None:
    """Draw one dot per seed below or beside a mean drawn by ``interval``; none for one seed."""
    if len(by_seed) > 1:
        line = [at + 0.22] * len(by_seed)
        xy = (line, by_seed) if upright else (by_seed, line)
        axes.plot(*xy, ".", color=colour, alpha=0.7)


def simultaneous_interval(
    axes: Axes, at: float, estimate: statistics.Estimate, colour: str
) -> None:
    """Draw an interval without its mean at y = ``at``, as a thin line with end caps."""
    ends = [estimate.low, estimate.high]
    axes.plot(ends, [at, at], color=colour, linewidth=0.8, marker="|", markersize=7)


def intervals(axes: Axes, rows: Sequence[tuple[str, statistics.Estimate, tuple]]) -> None:
    """Draw means with their intervals from the top down, by name, estimate and style."""
    for row, (_, estimate, style) in enumerate(rows):
        interval(axes, row, estimate, style)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    sns.despine(ax=axes)


@house_style()
def samples(images: Any, labels: Any, classes: Sequence[str]) -> Figure:
    """The first image of each class, from tensors: images, uint8 (N, C, H, W), and labels (N,).

    At most ten per row, and only the first ``SAMPLES`` classes.
    """
    shown = classes[:SAMPLES]
    rows, columns = -(-len(shown) // 10), min(len(shown), 10)
    figure = Figure(figsize=(9, 1.25 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for i, (panel, name) in enumerate(zip(panels, shown, strict=False)):
        image = images[(labels == i).nonzero()[0, 0]].permute(1, 2, 0)
        panel.imshow(image.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
        panel.set_title(name if len(name) <= 12 else f"{name[:10]}…", fontsize=9)
        panel.set_axis_off()
    return figure


@house_style()
def architecture(stages: Sequence[dict]) -> Figure:
    """Figure 1: the network's stages as boxes in two rows, from ``network.stages``.

    The second row runs from right to left. Each stage has a title, a kind, the output's shape
    (C, H, W) and a parameter count.
    """
    per_row = -(-len(stages) // 2)
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.05, per_row - 0.1), ylim=(-0.1, 2.2))
    axes.set_axis_off()
    corners = [(i, 1.2) if i < per_row else (2 * per_row - 1 - i, 0) for i in range(len(stages))]
    for stage, corner in zip(stages, corners, strict=True):
        _stage(axes, stage, corner)
    for before, after in zip(corners, corners[1:], strict=False):
        _arrow(axes, before, after)
    return figure


def _stage(axes: Axes, stage: dict, corner: tuple[float, float]) -> None:
    """One box with its title, output shape and parameters; an arc where it has a shortcut."""
    x, y = corner
    box = FancyBboxPatch(
        corner, 0.8, 0.8, boxstyle="round,pad=0.02", linewidth=0.8,
        edgecolor="#444444", facecolor=KIND_COLOUR[stage["kind"]],
    )  # fmt: skip
    axes.add_patch(box)
    shape = " × ".join(str(n) for n in stage["output"])
    count = f"{stage['parameters']:,}\nparameters" if stage["parameters"] else ""
    for text, height, size in ((stage["title"], 0.66, 10), (shape, 0.45, 9.5), (count, 0.18, 9)):
        axes.text(x + 0.4, y + height, text, ha="center", va="center", fontsize=size)
    if stage["kind"] == "block":
        arc = FancyArrowPatch(
            (x + 0.06, y + 0.82), (x + 0.74, y + 0.82), connectionstyle="arc3,rad=-0.3",
            arrowstyle="-|>", mutation_scale=8, color="#2f7d3c",
        )  # fmt: skip
        axes.add_patch(arc)


def _arrow(axes: Axes, before: tuple[float, float], after: tuple[float, float]) -> None:
    """An arrow from the edge of one box to the facing edge of the next: right, down or left."""
    (x0, y0), (x1, y1) = before, after
    if y0 > y1:
        start, end = (x0 + 0.4, y0 - 0.02), (x1 + 0.4, y1 + 0.82)
    elif x1 > x0:
        start, end = (x0 + 0.82, y0 + 0.4), (x1 - 0.02, y1 + 0.4)
    else:
        start, end = (x0 - 0.02, y0 + 0.4), (x1 + 0.82, y1 + 0.4)
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444"})
