"""What other recipes are worth, rung by rung, compared with choosing labels."""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.reporting import figures, prose, statistics
from alutils.reporting.prose import count, interval, join, points, show
from alutils.reporting.statistics import estimate
from alutils.reporting.style import house_style
from alutils.studies.beyond.plan import LADDER
from alutils.studies.beyond.ranking import ranked_rows

RUNGS = ("own", *LADDER)
"""The recipes; each adds to the ones before it, except that the one after SGD drops it again."""
STYLES = dict(zip(RUNGS, figures.OTHER_STYLES, strict=True))
"""Colours and markers of recipes, different from those of arms."""
NOTHING = "No recipe other than the report's own is finished yet."


def titles(results: pd.DataFrame) -> dict[str, str]:
    """The recipes in words, on the dataset that they were tried on."""
    (dataset,) = results.loc[results["factor"] == "recipe", "dataset"].unique()
    longer = "more epochs"
    base = f"{longer}, crops and flips" if DATASETS[dataset].crops else longer
    return {
        "own": "this report's recipe",
        "longer": longer,
        "augmentation": base,
        "SGD": f"{base}, SGD",
        "3x3 stem": f"{base}, 3x3 stem",
    }


def gains_of(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracy of every rung minus that of the report's own recipe, by seed and label count."""
    curves = curves_of(results)
    if (own := curves.pop("own", None)) is None:
        return {}
    gains = {name: (curve - own)[curve.columns].dropna() for name, curve in curves.items()}
    return {name: gain for name, gain in gains.items() if gain.size}


def curves_of(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracy by seed and label count of every rung with results, in order."""
    rows = results[results["factor"] == "recipe"]
    return {
        name: rows[rows["level"] == name].pivot(index="seed", columns="labels", values="accuracy")
        for name in RUNGS
        if (rows["level"] == name).any()
    }


def labels_of(results: pd.DataFrame, rung: str, labels: int) -> pd.Series:
    """Labels that the report's own recipe needs for a rung's accuracy at ``labels``, by seed.

    On monotone fits; NaN if it never gets there.
    """
    curves = curves_of(results)
    own, accuracy = curves["own"], curves[rung][labels]
    seeds = own.index.intersection(accuracy.index)
    return pd.Series(
        {s: statistics.labels_to_reach(own.columns, own.loc[s], accuracy[s]) for s in seeds}
    )


def table(results: pd.DataFrame, timed: bool = False) -> HTML | Markdown:
    """Every rung at every label count: accuracy, gain, labels that the gain replaces, and cost.

    Over the seeds that have both the rung and the report's own recipe. ``timed`` says that one kind
    of processor computed all of them, so that their seconds can be compared; steps always can.
    """
    gains, curves = gains_of(results), curves_of(results)
    if not gains:
        return Markdown(NOTHING)
    title = titles(results)
    rows = [
        {
            "random labels": f"{labels:,}",
            "recipe": title[rung],
            "accuracy": interval(estimate(curves[rung].loc[gain.index, labels]), "%"),
            "difference from this report's recipe (points)": points(estimate(gain[labels]), ""),
            "labels that this report's recipe needs for it": _needed(
                labels_of(results, rung, labels), curves["own"].columns
            ),
        }
        | {
            f"{name} (times this report's)": f"{mean:,.0f} ({times:.1f})"
            for name, (mean, times) in _costs(results, rung, labels, gain.index, timed).items()
        }
        for labels in next(iter(gains.values())).columns
        for rung, gain in gains.items()
    ]
    return prose.table(pd.DataFrame(rows))


def _costs(
    results: pd.DataFrame, rung: str, labels: int, seeds: pd.Index, timed: bool
) -> dict[str, tuple[float, float]]:
    """Optimiser steps of a rung's training and, if ``timed``, its seconds: means over seeds.

    Each comes with its ratio to that of the report's own recipe.
    """
    rows = results[(results["factor"] == "recipe") & (results["labels"] == labels)]
    mean = rows[rows["seed"].isin(seeds)].groupby("level").mean(numeric_only=True)
    names = {"steps": "steps"} | ({"seconds_train": "seconds of one worker"} if timed else {})
    return {
        name: (mean.loc[rung, column], mean.loc[rung, column] / mean.loc["own", column])
        for column, name in names.items()
        if column in mean and mean[column].notna().all()
    }


def _needed(labels: pd.Series, sizes: pd.Index) -> str:
    """Mean labels with their range, or only a lower bound if some seed never gets there."""
    if missed := int(labels.isna().sum()):
        seeds = "" if missed == len(labels) else f" in {missed} of {count(len(labels), 'seed')}"
        return f"more than {sizes[-1]:,}{seeds}"
    return _by_seed(labels, sizes[0])


def _by_seed(labels: pd.Series, first: int) -> str:
    """Mean labels over seeds, the fewest and the most; an upper bound if one is the first count."""
    bound = "at most " if labels.min() < first + 0.5 else ""  # a quotient may be off by rounding
    if len(labels) < 2:
        return f"{bound}{labels.mean():,.0f} (one seed)"
    return f"{bound}{labels.mean():,.0f} ({labels.min():,.0f} to {labels.max():,.0f} by seed)"


@house_style()
def figure(results: pd.DataFrame) -> HTML | Markdown:
    """Accuracy on random labels by recipe, over labels on a logarithmic axis."""
    rows = results[results["factor"] == "recipe"]
    if rows.empty:
        return Markdown(NOTHING)
    drawing, axes = figures.grid()
    title = titles(results)
    for name in curves_of(results):
        figures.curve(axes[0, 0], rows[rows["level"] == name], STYLES[name], title[name])
    head = f"Recipes on random labels of {dataset_title(rows['dataset'].iloc[0])}"
    figures.finish(axes[0, 0], head, figures.reported(rows))
    sizes = sorted(rows["labels"].unique())
    figures.logarithmic(axes[0, 0])
    axes[0, 0].set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes[0, 0].minorticks_off()
    caption = (
        f"{prose.capital(figures.reported(rows))} on random labels, by training recipe. "
        f"{prose.capital(prose.lines_of(rows.groupby('level')['seed'].nunique()))}."
    )
    ends = [
        f"{title[name]}, {curve.columns[-1]:,} labels: {curve.iloc[:, -1].mean():.1f} %"
        for name, curve in curves_of(results).items()
    ]
    return show(drawing, caption, f"Learning curves of {len(ends)} recipes. {'; '.join(ends)}.")


def sentences(results: pd.DataFrame, timed: bool = False) -> Markdown:
    """What the best recipe is worth, in points and labels, compared with choosing labels.

    The best is one of the recipes that have the most seeds. ``timed`` is as in ``table``.
    """
    gains = gains_of(results)
    if not gains:
        return Markdown(NOTHING)
    dataset = results.loc[results["factor"] == "recipe", "dataset"].iloc[0]
    ranked = ranked_rows(results, "ranking", dataset)
    sizes = next(iter(gains.values())).columns
    end = sizes[-1] if ranked.empty else ranked["labels"].max()
    labels = min(sizes, key=lambda size: abs(size - end))
    most = max(len(gain) for gain in gains.values())
    by_seed = {name: gain[labels] for name, gain in gains.items() if len(gain) == most}
    rung = max(by_seed, key=lambda name: by_seed[name].mean())
    needed = _needed(labels_of(results, rung, labels), curves_of(results)["own"].columns)
    title = titles(results)[rung]
    costs = _costs(results, rung, labels, gains[rung].index, timed)
    cost = [f"{times:.1f} times the {name}" for name, (_, times) in costs.items()]
    better = sum(gain.mean() > 0 for gain in by_seed.values())
    return Markdown(
        f"On {dataset_title(dataset)}, {better or 'none'} of {count(len(by_seed), 'other recipe')} "
        f"{'has' if better == 1 else 'have'} a larger mean accuracy than this report's at "
        f"{labels:,} random labels. The one with the largest mean (“{title}”; picked after seeing "
        f"the results) is worth {points(estimate(gains[rung][labels]))}"
        f"{f', at {join(cost)}' if cost else ''}. Labels that this report's recipe needs to match "
        f"it: {needed}, on monotone fits ({statistics.FIT}). {_choosing(ranked)}"
    )


def _choosing(ranked: pd.DataFrame) -> str:
    """What choosing labels is worth at the end of the ranking, in points and in labels."""
    if ranked.empty:
        return "This run does not show what choosing labels is worth on this dataset."
    last = statistics.paired_differences(statistics.final(ranked))
    arm = max(last, key=lambda name: last[name].mean)
    end = ranked["labels"].max()
    needed = end / statistics.label_savings(ranked)[arm]
    there = needed.dropna()
    reached = f"{arm_title(arm)} never reaches the accuracy that random labels have there"
    if len(there):
        labels = _by_seed(there, ranked["labels"].min())
        reached = f"labels that {arm_title(arm)} needs to match random labels there: {labels}"
    if 0 < len(there) < len(needed):
        reached += f", in {len(there)} of {count(len(needed), 'seed')}"
    return (
        f"Choosing labels instead is worth {points(last[arm])} at {end:,} labels with "
        f"{arm_title(arm)}, the arm with the largest mean there of {len(last)} (picked after "
        f"seeing the results); {reached}."
    )
