"""What the reduced recipe is worth compared with the poster's, and how that is shown."""

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes

from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import figures, prose
from alutils.reporting.prose import capital, count, join, mean_over, points, show
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.reporting.style import house_style
from alutils.studies import recipes
from alutils.studies.active_learning import best_evaluation

QUOTED_LABELS = 1500
"""Margin minus random is also quoted at the label count nearest to this one."""
TITLES = {
    "fresh": "fresh Adam",
    "carried": "carried Adam",
    **{name: recipes.TITLES[name] for name in recipes.RECIPES},
}
STYLES = dict(zip(TITLES, figures.OTHER_STYLES[:2] * 2, strict=True))
"""Colours and markers of recipes and states, different from those of arms."""


def by_size(results: pd.DataFrame, column: str = "accuracy", **where: str) -> pd.DataFrame:
    """A column in percent by seed (rows) and label count (columns), of the rows given by where."""
    rows = results
    for key, value in where.items():
        rows = rows[rows[key] == value]
    scale = 1 if column == "accuracy" else 100
    return scale * rows.pivot_table(index="seed", columns="labels", values=column)


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Differences by seed and label count, where both exist."""
    return (first - second).dropna()


def recipe_gains(results: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Accuracy with the reduced recipe minus that with the poster's, by seed and label count."""
    reduced, poster = (
        by_size(results, factor="recipe", level=level, dataset=dataset)
        for level in ("reduced", "poster")
    )
    return _paired(reduced, poster)


def recipe_figure(results: pd.DataFrame) -> HTML | Markdown:
    """The reduced recipe's accuracy minus the poster's, size by size."""
    series = {
        dataset: {"reduced": gains}
        for dataset in tidy.datasets_of(results, "recipe")
        if (gains := recipe_gains(results, dataset)).size
    }
    what = "reduced recipe minus the poster's (points)"
    return _intervals(series, what, "Accuracy with the reduced recipe minus that with the poster's")


def recipe_sentences(results: pd.DataFrame) -> Markdown:
    """The mean over sizes, and the sizes whose interval excludes zero, by dataset."""
    lines, matters, open_ = [], [], []
    for dataset in tidy.datasets_of(results, "recipe"):
        gains = recipe_gains(results, dataset)
        if gains.size:
            tested = len(gains) >= FEWEST_SEEDS
            if tested:
                shown = matters if estimate(gains.mean(axis=1)).differs_from_zero else open_
                shown.append(dataset_title(dataset))
            each = {size: estimate(gains[size]) for size in gains.columns}
            apart = [f"{size:,}" for size, gain in each.items() if gain.differs_from_zero]
            where = "; at no size does the interval exclude zero" if tested else ""
            if apart:
                where = f"; the interval excludes zero at {join(apart)} labels (not corrected)"
            lines.append(
                f"- **{dataset_title(dataset)}**: the reduced recipe is worth "
                f"{points(estimate(gains.mean(axis=1)))} on average over "
                f"{count(len(each), 'size')} from {gains.columns[0]:,} to {gains.columns[-1]:,} "
                f"labels{where}."
            )
    if not lines:
        return Markdown("No size is finished under both recipes yet.")
    matter = f"The recipe matters on random labels of {join(matters)}" if matters else ""
    it = "it" if matters else "the recipe"
    not_shown = f"{it} is not shown to matter on random labels of {join(open_)}" if open_ else ""
    concluded = f"Nothing is tested with fewer than {FEWEST_SEEDS} seeds."
    if matters or open_:
        concluded = capital("; ".join(filter(None, (matter, not_shown))))
        concluded += ", judged by the mean over sizes (95 % intervals, not corrected)."
    return prose.paragraphs(concluded, "\n".join(lines))


def pick_gains(
    results: pd.DataFrame, dataset: str, column: str = "accuracy"
) -> dict[str, pd.DataFrame]:
    """Margin minus random by recipe, each by seed and label count; only recipes that have both.

    On the seeds that both recipes have, if there are any. In points of ``column``.
    """
    gains = {}
    for level in recipes.RECIPES:
        margin, random = (
            by_size(results, column, factor="picks", level=level, dataset=dataset, arm=arm)
            for arm in ("margin", "random")
        )
        after_the_first_labels = _paired(margin, random).iloc[:, 1:]
        if after_the_first_labels.size:
            gains[level] = after_the_first_labels
    shared = set.intersection(*(set(gain.index) for gain in gains.values())) if gains else set()
    return {level: gain.loc[sorted(shared or gain.index)] for level, gain in gains.items()}


def picks_figure(results: pd.DataFrame) -> HTML | Markdown:
    """Margin minus random labels at every label count, under either recipe."""
    series = {
        dataset: gains
        for dataset in tidy.datasets_of(results, "picks")
        if (gains := pick_gains(results, dataset))
    }
    return _intervals(series, "margin minus random (points)", "Accuracy of margin minus random's")


def picks_sentences(results: pd.DataFrame) -> Markdown:
    """Whether margin is worth the same under both recipes, by dataset, and how trainings end."""
    lines = []
    for dataset in tidy.datasets_of(results, "picks"):
        if gains := _comparable(results, dataset):
            sizes = next(iter(gains.values())).columns
            span = f"{count(len(sizes), 'label count')} from {sizes[0]:,} to {sizes[-1]:,}"
            if len(sizes) == 1:
                span = f"{sizes[0]:,} labels"
            near = min(sizes, key=lambda size: abs(size - QUOTED_LABELS))
            lines.append(
                f"- On {dataset_title(dataset)}, margin minus random (mean over {span}) is "
                f"{_under({name: gain.mean(axis=1) for name, gain in gains.items()})}. At {near:,} "
                f"labels it is {_under({name: gain[near] for name, gain in gains.items()})}."
                f"{_dips(results, dataset)}"
            )
    return Markdown("\n".join(lines) or "Margin is not finished under both recipes yet.")


def _comparable(
    results: pd.DataFrame, dataset: str, column: str = "accuracy"
) -> dict[str, pd.DataFrame]:
    """``pick_gains`` at the label counts of both recipes; empty if they share no seed."""
    gains = pick_gains(results, dataset, column)
    if len(gains) < 2 or not gains["poster"].index.equals(gains["reduced"].index):
        return {}
    sizes = gains["poster"].columns.intersection(gains["reduced"].columns)
    return {name: gain[sizes] for name, gain in gains.items()} if len(sizes) else {}


def _dips(results: pd.DataFrame, dataset: str) -> str:
    """How many trainings of either recipe end in a dip, and margin's gain by the best evaluation.

    Only label counts and seeds that the gain is averaged over are counted.
    """
    if "heldout_best" not in results or not (
        gains := _comparable(results, dataset, "heldout_best")
    ):
        return ""
    gain, dips = gains["poster"], []
    rows = results[(results["factor"] == "picks") & (results["dataset"] == dataset)]
    rows = rows[rows["labels"].isin(gain.columns) & rows["seed"].isin(gain.index)]
    for level in gains:
        trainings = rows[rows["level"] == level]
        low = best_evaluation.dips(trainings)
        noun = "" if dips else f" {'training' if len(trainings) == 1 else 'trainings'}"
        dips.append(f"{low} of {len(trainings):,}{noun} under {TITLES[level]}")
    return (
        f" {join(dips)} end more than {count(best_evaluation.DIP, 'point')} below their best "
        "evaluation on held-out images; by that evaluation, margin minus random over the same "
        f"label counts is {_under({name: gain.mean(axis=1) for name, gain in gains.items()})}."
    )


def _under(gains: dict[str, pd.Series]) -> str:
    """A gain by seed under either recipe, and the difference, in words."""
    values = [f"{points(estimate(gain))} under {TITLES[name]}" for name, gain in gains.items()]
    more = estimate(gains["reduced"] - gains["poster"])
    shown = "" if more.seeds < FEWEST_SEEDS or more.differs_from_zero else ", undecided"
    return f"{join(values)}, a difference of {points(more)}{shown}"


@house_style()
def _intervals(series: dict[str, dict[str, pd.DataFrame]], axis: str, what: str) -> HTML | Markdown:
    """Differences by label count with intervals, one panel per dataset, one colour per recipe."""
    if not series:
        return Markdown("No pair of runs is finished yet.")
    drawing, axes = figures.grid(1, len(series), (5.6 * len(series), 3.8))
    for panel, (dataset, gains) in zip(axes[0], series.items(), strict=True):
        _panel(panel, gains)
        panel.set(title=dataset_title(dataset), xlabel="labelled images")
    axes[0, 0].set_ylabel(axis)
    seeds = {len(gain) for gains in series.values() for gain in gains.values()}
    caption = f"{what}: {mean_over(seeds)}, not corrected."
    intervals = [
        f"{dataset_title(dataset)}, {TITLES[level]}, {size:,} labels: {points(estimate(by_seed))}"
        for dataset, gains in series.items()
        for level, gain in gains.items()
        for size, by_seed in gain.items()
    ]
    return show(drawing, caption, f"Interval plots. {'; '.join(intervals)}.")


def _panel(panel: Axes, gains: dict[str, pd.DataFrame]) -> None:
    """Intervals by label count, those of several recipes side by side."""
    sizes = sorted({size for gain in gains.values() for size in gain.columns})
    for series, (level, gain) in enumerate(gains.items()):
        for size in gain.columns:
            position = sizes.index(size) + 0.18 * (series - (len(gains) - 1) / 2)
            figures.interval(panel, position, estimate(gain[size]), STYLES[level], upright=True)
        panel.plot([], [], STYLES[level][1], color=STYLES[level][0], label=TITLES[level])
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes], rotation=45)
    if len(gains) > 1:
        panel.legend(frameon=False, fontsize=9)
    sns.despine(ax=panel)
