"""What the arms' own settings are worth: areas against random by level, and how that is shown."""

from collections.abc import Iterator
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import figures
from alutils.reporting.figures import arm_style
from alutils.reporting.prose import count, join, mean_over, points, show
from alutils.reporting.statistics import FEWEST_SEEDS, area, estimate
from alutils.reporting.style import house_style

FACTORS = {
    "dropout": "dropout rate",
    "passes": "stochastic passes",
    "clusters": "clusters",
    "acquisition": "share of the remaining pool labelled at a time",
}
POSTER = {"passes": 20, "clusters": 12, "acquisition": 0.001}
"""The poster's levels; it names no number of passes, so that is this study's."""


def areas(results: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Area by dataset and seed (rows) and (arm, level) (columns), for one factor.

    Areas of a dataset are over the same label counts, to be comparable: those of its curve with the
    fewest, up to the end of its shortest. Other curves are interpolated there.
    """
    levels = results[results["factor"] == factor]
    grids = {dataset: _grid(rows) for dataset, rows in levels.groupby("dataset")}
    rows = [
        {"dataset": dataset, "seed": seed, "arm": arm, "level": level,
         "area": area(grids[dataset], _on(curve, grids[dataset]))}
        for (dataset, seed, arm, level), curve in levels.groupby(
            ["dataset", "seed", "arm", "level"], sort=False
        )
    ]  # fmt: skip
    wide = pd.DataFrame(rows).pivot(index=["dataset", "seed"], columns=["arm", "level"])
    return wide["area"]


def _grid(rows: pd.DataFrame) -> list[int]:
    """Label counts of the curve with the fewest, to the end of the shortest."""
    curves = [sorted(curve["labels"]) for _, curve in rows.groupby("record")]
    end = min(curve[-1] for curve in curves)
    return [labels for labels in min(curves, key=len) if labels < end] + [end]


def _on(curve: pd.DataFrame, grid: list[int]) -> np.ndarray:
    """Accuracy of a curve at these label counts, linear between its own label counts."""
    curve = curve.sort_values("labels")
    return np.interp(grid, curve["labels"], curve["accuracy"])


def gains(results: pd.DataFrame, factor: str) -> Iterator[tuple[str, str, float | str, pd.Series]]:
    """Dataset, arm, level, and the area's difference from random, by seed.

    Over the seeds that have every level of the dataset, so that means are comparable; there may be
    none. Random is taken at the same level if it was run at every level, or else the only one.
    """
    if not (results["factor"] == factor).any():
        return
    for dataset, levels in areas(results, factor).groupby("dataset", sort=False):
        differences = {}
        for arm, level in sorted(levels.columns, key=lambda key: (isinstance(key[1], str), key[1])):
            random = ("random", level) if ("random", level) in levels else ("random", "")
            if arm != "random" and random in levels:
                differences[arm, level] = levels[arm, level] - levels[random]
        if differences:
            shared = pd.concat(differences.values(), axis=1).dropna().index
        for (arm, level), gain in differences.items():
            yield dataset, arm, level, gain[shared].droplevel("dataset")


@house_style()
def figure(results: pd.DataFrame, factor: str) -> HTML | Markdown:
    """Difference from random in area at every level of a factor, one panel per dataset."""
    every = [each for each in gains(results, factor) if len(each[-1])]
    if not every:
        return _nothing(factor)
    datasets = list(dict.fromkeys(dataset for dataset, *_ in every))
    drawing, axes = figures.grid(1, len(datasets), (5.2 * len(datasets), 3.6))
    parts = []
    for panel, dataset in zip(axes[0], datasets, strict=True):
        levels = [(arm, level, gain) for name, arm, level, gain in every if name == dataset]
        order = list(dict.fromkeys(arm for arm, *_ in levels))
        levels.sort(key=lambda level: order.index(level[0]))
        for position, (arm, _, gain) in enumerate(levels):
            figures.interval(panel, position, estimate(gain), arm_style(arm), upright=True)
            figures.dots(panel, position, gain, arm_style(arm)[0], upright=True)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xticks(
            range(len(levels)), [_level(factor, arm, level) for arm, level, _ in levels]
        )
        arms = join([arm_title(arm) for arm in order])
        panel.set(title=f"{dataset_title(dataset)}: {arms}", xlabel=FACTORS[factor])
        panel.set_xlim(-0.5, len(levels) - 0.5)
        sns.despine(ax=panel)
        parts.append(f"{dataset_title(dataset)}, {_listed(factor, levels)}")
    axes[0, 0].set_ylabel("area minus random's (points)")
    counts = {len(gain) for *_, gain in every}
    dots = "" if max(counts) < 2 else "; beside it one dot per seed"
    caption = (
        f"Area under the curve minus that of random labels, by {FACTORS[factor]}: "
        f"{mean_over(counts)}{dots}. {_range(results, factor)}. Areas use the label counts of the "
        "curve with the fewest, up to the end of the shortest, interpolated linearly in between."
    )
    return show(drawing, caption, f"Interval plots. {'; '.join(parts)}.")


def sentences(results: pd.DataFrame, factor: str) -> Markdown:
    """By dataset, the level with the largest mean difference, and every level against the poster's.

    With fewer than three seeds, only how many there are. If several arms have the same levels, arm
    by arm.
    """
    every = list(gains(results, factor))
    groups: dict[str, dict[tuple[str, float | str], pd.Series]] = {}
    for dataset, arm, level, gain in every:
        title = dataset_title(dataset)
        if factor == "acquisition":
            title += f", {arm_title(arm)}"
        groups.setdefault(title, {})[arm, level] = gain
    lines = [f"- **{title}**: {_best(factor, levels)}." for title, levels in groups.items()]
    return Markdown("\n".join(lines)) if lines else _nothing(factor)


def _nothing(factor: str) -> Markdown:
    return Markdown(f"No seed has every level yet ({FACTORS[factor]}).")


def _best(factor: str, levels: dict[tuple[str, float | str], pd.Series]) -> str:
    """The level with the largest mean difference from random, in words."""
    seeds = min(map(len, levels.values()))
    if seeds < FEWEST_SEEDS:
        have = f"{count(seeds, 'seed')} {'has' if seeds == 1 else 'have'}"
        return f"{have} every level, and a comparison needs {FEWEST_SEEDS}"
    names = {
        (arm, level): f"{100 * level:g} %"
        if factor == "acquisition"
        else _level(factor, arm, level).replace("\n", " ")
        for arm, level in levels
    }
    best = max(levels, key=lambda key: levels[key].mean())
    parts = [f"the largest mean difference from random is that of {names[best]}, "]
    parts[0] += points(estimate(levels[best]))
    for poster in (key for key in levels if key[1] == POSTER.get(factor)):
        parts += [
            f"{names[key]} minus {names[poster]}: "
            f"{points(estimate(levels[key] - levels[poster]), '')}"
            for key in levels
            if key != poster
        ]
    return "; ".join(parts)


def answer(results: pd.DataFrame) -> Markdown:
    """How many levels of each factor were tried, and how many are above random.

    Only levels with three seeds or more are counted, as in the audit.
    """
    known = {
        title: [
            (dataset, estimate(gain))
            for dataset, *_, gain in gains(results, factor)
            if len(gain) >= FEWEST_SEEDS
        ]
        for factor, title in FACTORS.items()
    }
    parts = [
        f"{title}: {sum(mean.low > 0 for _, mean in levels)} of {len(levels)}"
        for title, levels in known.items()
        if levels
    ]
    if not parts:
        return Markdown(f"No setting has {FEWEST_SEEDS} seeds yet; fewer are not evaluated.")
    counted = {dataset for levels in known.values() for dataset, _ in levels}
    names = [dataset_title(name) for name in dict.fromkeys(results["dataset"]) if name in counted]
    return Markdown(
        "Settings for which the entire 95 % interval of the difference in area from random labels "
        f"is above zero, on {join(names)} (not corrected for their number). By "
        f"{'; by '.join(parts)}."
    )


def _level(factor: str, arm: str, level: float | str) -> str:
    """A level on an axis."""
    if factor == "acquisition":
        level = f"{100 * level:g} %"
    return fill(f"{arm_title(arm)}, {level}", 14) if isinstance(level, str) else f"{level:g}"


def _listed(factor: str, levels: list[tuple[str, float | str, pd.Series]]) -> str:
    texts = (
        f"{_level(factor, arm, level)} {points(estimate(gain))}" for arm, level, gain in levels
    )
    return ", ".join(texts).replace("\n", " ")


def _range(results: pd.DataFrame, factor: str) -> str:
    """Label range of the areas, by dataset."""
    levels = results[results["factor"] == factor]
    ends = levels.groupby(["dataset", "record"], sort=False)["labels"].agg(["min", "max"])
    return "; ".join(
        f"{dataset_title(dataset)} from {spans['min'].min():,} to {spans['max'].min():,} labels"
        for dataset, spans in ends.groupby("dataset", sort=False)
    )
