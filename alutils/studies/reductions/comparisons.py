"""What the reduced recipe is worth beside the poster's, and how that is shown."""

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes

from alutils.protocol.datasets import dataset_title
from alutils.reporting import figures
from alutils.reporting.prose import count, join, mean_over, points, show
from alutils.reporting.statistics import estimate
from alutils.reporting.style import house_style

COMPARED = 1500
"""Labels near which what margin is worth is compared in words."""
DIP = 1
"""Points; a training that ends by more below its best held-out evaluation ends in a dip."""
TITLES = {
    "fresh": "fresh Adam",
    "carried": "carried Adam",
    "poster": "the poster's recipe",
    "reduced": "the reduced recipe",
}
STYLES = dict(zip(TITLES, figures.OTHER_STYLES[:2] * 2, strict=True))
"""Not those of arms."""


def by_size(found: pd.DataFrame, column: str = "accuracy", **where: str) -> pd.DataFrame:
    """A column in percent by seed (rows) and label count (columns), of the rows given by where."""
    own = found
    for key, value in where.items():
        own = own[own[key] == value]
    scale = 1 if column == "accuracy" else 100
    return scale * own.pivot_table(index="seed", columns="labels", values=column)


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Differences by seed and label count, where both are there."""
    return (one - other).dropna()


def datasets_of(found: pd.DataFrame, factor: str) -> list[str]:
    """The datasets that have rows of a factor."""
    return list(dict.fromkeys(found.loc[found["factor"] == factor, "dataset"]))


def recipe_gains(found: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Accuracy with the reduced recipe minus that with the poster's, by seed and label count."""
    reduced, poster = (
        by_size(found, factor="recipe", level=level, dataset=dataset)
        for level in ("reduced", "poster")
    )
    return _paired(reduced, poster)


def recipe_figure(found: pd.DataFrame) -> HTML | Markdown:
    """What the reduced recipe gives more or less than the poster's, size by size."""
    series = {
        dataset: {"reduced": gains}
        for dataset in datasets_of(found, "recipe")
        if (gains := recipe_gains(found, dataset)).size
    }
    what = "reduced recipe minus the poster's (points)"
    return _intervals(series, what, "Accuracy with the reduced recipe minus that with the poster's")


def recipe_sentences(found: pd.DataFrame) -> Markdown:
    """The mean over sizes, and the sizes at which the recipes are apart, by dataset."""
    lines = []
    for dataset in datasets_of(found, "recipe"):
        gains = recipe_gains(found, dataset)
        if gains.size:
            each = {size: estimate(gains[size]) for size in gains.columns}
            apart = [f"{size:,}" for size, one in each.items() if one.decided]
            where = "" if len(gains) < 2 else "; at no size does the interval exclude zero"
            if apart:
                where = f"; the interval excludes zero at {join(apart)} labels (not corrected)"
            lines.append(
                f"- **{dataset_title(dataset)}**: the reduced recipe is worth "
                f"{points(estimate(gains.mean(axis=1)))} on average over "
                f"{count(len(each), 'size')} from {gains.columns[0]:,} to {gains.columns[-1]:,} "
                f"labels{where}."
            )
    return Markdown("\n".join(lines) or "No size is finished under both recipes yet.")


def pick_gains(
    found: pd.DataFrame, dataset: str, column: str = "accuracy"
) -> dict[str, pd.DataFrame]:
    """Margin minus random by recipe, each by seed and label count; only recipes that have both.

    Of the seeds that both recipes have, where there are some. In points of ``column``.
    """
    gains = {}
    for level in ("poster", "reduced"):
        margin, random = (
            by_size(found, column, factor="picks", level=level, dataset=dataset, arm=arm)
            for arm in ("margin", "random")
        )
        after_the_first_labels = _paired(margin, random).iloc[:, 1:]
        if after_the_first_labels.size:
            gains[level] = after_the_first_labels
    shared = set.intersection(*(set(one.index) for one in gains.values())) if gains else set()
    return {level: one.loc[sorted(shared or one.index)] for level, one in gains.items()}


def picks_figure(found: pd.DataFrame) -> HTML | Markdown:
    """Margin minus random labels at every label count, under either recipe."""
    series = {
        dataset: gains
        for dataset in datasets_of(found, "picks")
        if (gains := pick_gains(found, dataset))
    }
    return _intervals(series, "margin minus random (points)", "Accuracy of margin minus random's")


def picks_sentences(found: pd.DataFrame) -> Markdown:
    """``picks_told`` as a list, with the label count near ``COMPARED``, and what dips take away."""
    lines = [
        f"- {line}{_near(found, dataset)}{_dips(found, dataset)}"
        for dataset, line in picks_told(found).items()
    ]
    return Markdown("\n".join(lines) or "Margin is not finished under both recipes yet.")


def picks_told(found: pd.DataFrame) -> dict[str, str]:
    """Whether margin is worth the same under both recipes, over all label counts, by dataset."""
    told = {}
    for dataset in datasets_of(found, "picks"):
        if not (gains := _comparable(found, dataset)):
            continue
        sizes = next(iter(gains.values())).columns
        span = f"{count(len(sizes), 'label count')} from {sizes[0]:,} to {sizes[-1]:,}"
        if len(sizes) == 1:
            span = f"{sizes[0]:,} labels"
        told[dataset] = (
            f"On {dataset_title(dataset)} margin minus random, mean over {span}, is "
            f"{_under({name: one.mean(axis=1) for name, one in gains.items()})}."
        )
    return told


def _comparable(
    found: pd.DataFrame, dataset: str, column: str = "accuracy"
) -> dict[str, pd.DataFrame]:
    """``pick_gains`` at the label counts of both recipes; nothing where they share no seed."""
    gains = pick_gains(found, dataset, column)
    if len(gains) < 2 or not gains["poster"].index.equals(gains["reduced"].index):
        return {}
    sizes = gains["poster"].columns.intersection(gains["reduced"].columns)
    return {name: one[sizes] for name, one in gains.items()} if len(sizes) else {}


def _near(found: pd.DataFrame, dataset: str) -> str:
    """The same at the label count nearest to ``COMPARED``."""
    gains = _comparable(found, dataset)
    sizes = next(iter(gains.values())).columns
    near = min(sizes, key=lambda size: abs(size - COMPARED))
    return f" At {near:,} labels it is {_under({name: one[near] for name, one in gains.items()})}."


def _dips(found: pd.DataFrame, dataset: str) -> str:
    """How many trainings of either recipe end in a dip, and margin's gain by the poster's best.

    Of the label counts and seeds that the gain is of.
    """
    if "heldout_best" not in found or not (gains := _comparable(found, dataset, "heldout_best")):
        return ""
    gain, told = gains["poster"], []
    own = found[(found["factor"] == "picks") & (found["dataset"] == dataset)]
    own = own[own["labels"].isin(gain.columns) & own["seed"].isin(gain.index)]
    for level in gains:
        rows = own[own["level"] == level]
        low = (100 * (rows["heldout_best"] - rows["heldout_last"]) > DIP).sum()
        what = "" if told else f" {'training' if len(rows) == 1 else 'trainings'}"
        told.append(f"{low} of {len(rows):,}{what} under {TITLES[level]}")
    return (
        f" {join(told)} end more than {count(DIP, 'point')} below their best evaluation on "
        f"held-out images; by that best, margin minus random over the same label counts is "
        f"{points(estimate(gain.mean(axis=1)))} under the poster's recipe."
    )


def _under(gains: dict[str, pd.Series]) -> str:
    """A gain by seed under either recipe, and the difference, in words."""
    told = [f"{points(estimate(one))} under {TITLES[name]}" for name, one in gains.items()]
    more = estimate(gains["reduced"] - gains["poster"])
    shown = "" if more.seeds < 2 or more.decided else ", undecided"
    return f"{join(told)}, a difference of {points(more)}{shown}"


@house_style()
def _intervals(series: dict[str, dict[str, pd.DataFrame]], axis: str, what: str) -> HTML | Markdown:
    """Differences by label count with their intervals, a panel a dataset, a colour a recipe."""
    if not series:
        return Markdown("No pair of runs is finished yet.")
    whole, axes = figures.grid(1, len(series), (5.6 * len(series), 3.8))
    for panel, (dataset, gains) in zip(axes[0], series.items(), strict=True):
        _panel(panel, gains)
        panel.set(title=dataset_title(dataset), xlabel="labelled images")
    axes[0, 0].set_ylabel(axis)
    seeds = {len(one) for gains in series.values() for one in gains.values()}
    caption = f"{what}: {mean_over(seeds)}, not corrected."
    told = [
        f"{dataset_title(dataset)}, {TITLES[level]}, {size:,} labels: {points(estimate(one[size]))}"
        for dataset, gains in series.items()
        for level, one in gains.items()
        for size in one.columns
    ]
    return show(whole, caption, f"Interval plots. {'; '.join(told)}.")


def _panel(panel: Axes, gains: dict[str, pd.DataFrame]) -> None:
    """Intervals by label count, those of several recipes side by side."""
    sizes = sorted({size for one in gains.values() for size in one.columns})
    for turn, (level, one) in enumerate(gains.items()):
        for size in one.columns:
            place = sizes.index(size) + 0.18 * (turn - (len(gains) - 1) / 2)
            figures.interval(panel, place, estimate(one[size]), STYLES[level], upright=True)
        panel.plot([], [], STYLES[level][1], color=STYLES[level][0], label=TITLES[level])
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes], rotation=45)
    if len(gains) > 1:
        panel.legend(frameon=False, fontsize=9)
    sns.despine(ax=panel)
