"""The study's figures with their captions and alternative text, as a report shows them."""

from typing import Any

import pandas as pd
from IPython.display import HTML

from alutils.protocol.arms import ARMS, BASELINE, arm_title
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.reporting import figures, published, statistics
from alutils.reporting.picture import Chart
from alutils.reporting.prose import capital, count, join, lines_of, mean_over, points, show
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate


def architecture(stages: list[dict], dataset: str) -> HTML:
    """Figure 1: the network, from ``network.stages``."""
    total = sum(stage["parameters"] for stage in stages)
    size = DATASETS[dataset].size
    caption = (
        f"Figure 1. ResNet-18 for {dataset_title(dataset)} ({size} × {size}): each stage with its "
        f"output shape (channels × height × width) and number of parameters, {total:,} in total. "
        "Green arcs are residual connections."
    )
    path = "; ".join(f"{s['title']}, {' by '.join(map(str, s['output']))}" for s in stages)
    alt = f"Block diagram of the network from input to output: {path}."
    return show(figures.architecture(stages), caption, alt)


def samples(dataset: Any) -> HTML:
    """The first training image of every class of a loaded dataset."""
    title = dataset_title(dataset.name)
    picture = figures.samples(dataset.train_images, dataset.train_labels, dataset.classes)
    number, shown = len(dataset.classes), min(len(dataset.classes), figures.SAMPLES)
    of = "every class" if shown == number else f"the first {shown} of {number} classes"
    caption = f"{title}: the first training image of {of}."
    return show(picture, caption, f"{shown} small images of {title}, one per class.")


def training_size(results: pd.DataFrame, ceiling: pd.DataFrame = figures.NO_CEILING) -> HTML:
    """Figure 2; ``ceiling`` optionally has one row per dataset: a training on every label."""
    seeds = results.groupby("dataset")["seed"].nunique()
    caption = (
        f"Figure 2. {capital(figures.reported(results))} against the number of randomly drawn "
        f"labels, {figures.trained(results)}: {lines_of(seeds)}."
    )
    if any(len(figures.published_sizes(ours)) for _, ours in results.groupby("dataset")):
        caption += f" Hollow points: published ({published.RULE})."
    caption += _ceiling(ceiling)
    alt = f"Learning curves on random labels. {_ends(results, 'dataset')}{_ceiling(ceiling)}"
    return show(figures.training_size(results, ceiling), caption, alt)


def learning_curves(results: pd.DataFrame, ceiling: pd.DataFrame = figures.NO_CEILING) -> Chart:
    """Figure 3 or 4: a static figure, and a chart for web pages with numbers in tooltips.

    It has no figure number if a user's arm is included. ``ceiling`` optionally has the row of a
    training on every label.
    """
    from alutils.reporting import charts  # altair takes a second to import

    figure, title = results["figure"].iloc[0], dataset_title(results["dataset"].iloc[0])
    arms = [arm for arm in dict.fromkeys(results["arm"]) if arm != BASELINE]
    posters = str(figure).isdigit() and set(arms) <= set(ARMS)  # users' arms are not on it
    name = f"Figure {figure}" if posters else "Learning curves"
    every = len(figures.with_spread(arms)) == len(arms)
    alone = "" if every else "; for arms other than random, only the mean"
    caption = (
        f"{name}. {capital(figures.reported(results))} on {title} against labels, by arm, "
        f"{figures.trained(results)}: {lines_of([results['seed'].nunique()])}{alone}."
    )
    if len(figures.published_arms(results)):
        caption += f" Hollow points: published ({published.RULE}; the baseline is a single point)."
    if BASELINE in set(results["arm"]):
        caption += f" Dashed: {arm_title(BASELINE)}."
    caption += _ceiling(ceiling)
    ends = f"{_ends(results, 'arm')}{_ceiling(ceiling)}"
    alt = f"Learning curves of {results['arm'].nunique()} arms. {ends}"
    static = show(figures.learning_curves(results, ceiling), caption, alt)
    return Chart(static, charts.learning_curves(results, ceiling))


def _ceiling(ceiling: pd.DataFrame) -> str:
    """The accuracy of trainings on every label, for a caption; empty without any."""
    if ceiling.empty:
        return ""
    parts = [
        f"{row.accuracy:.2f} % on {dataset_title(row.dataset)} with all {row.labels:,} labels"
        for row in ceiling.itertuples()
    ]
    each = "one training" if len(parts) == 1 else "one training each"
    of = "with the same recipe, test accuracy after the last epoch"
    return f" Dotted: {join(parts)}, {each} {of}."


def area_differences(results: pd.DataFrame) -> HTML:
    """Every arm's difference from random in area, with both intervals."""
    areas = statistics.areas(results)
    differences = statistics.paired_differences(areas)
    wide = statistics.paired_differences(areas, tests=len(differences))
    title = dataset_title(results["dataset"].iloc[0])
    caption = (
        f"{title}: area under the budget curve of each arm minus that of random, "
        f"{mean_over([len(areas)])}"
    )
    if len(areas) >= FEWEST_SEEDS:
        together = f"; thin: the simultaneous interval for {count(len(wide), 'arm')} (Bonferroni)"
        caption += f", not corrected{together if len(wide) > 1 else ''}"
    if len(areas) > 1:
        caption += "; dots below: one per seed"
    by_arm = "; ".join(
        f"{arm_title(arm)} {points(each)}{_simultaneous(wide[arm])}"
        for arm, each in differences.items()
    )
    alt = f"Interval plot of area differences from random: {by_arm}."
    return show(figures.area_differences(areas, title), f"{caption}.", alt)


def _simultaneous(wide: Estimate) -> str:
    """The bounds of a simultaneous interval, for alt text; empty below ``FEWEST_SEEDS``."""
    few = wide.seeds < FEWEST_SEEDS
    return "" if few else f", simultaneous {wide.low:+.2f} to {wide.high:+.2f}"


def gains(results: pd.DataFrame) -> HTML:
    """Every arm's accuracy minus random's at each label count."""
    differences = statistics.gains(results)
    caption = (
        f"{capital(figures.reported(results))} of each arm minus that of random labels at the same "
        f"label count, paired by seed: {lines_of([results['seed'].nunique()])}, not corrected."
    )
    alt = f"Curves of the difference from random. {_ends(differences, 'arm', '{:+.1f} points')}"
    return show(figures.gains(differences), caption, alt)


def _ends(results: pd.DataFrame, key: str, form: str = "{:.1f} %") -> str:
    """First and last mean accuracy of every curve, in words."""
    curves = statistics.curve(results).sort_values("labels", kind="stable")
    title = arm_title if key == "arm" else dataset_title
    parts = [
        f"{title(name)} from {form.format(curve['mean'].iloc[0])} at "
        f"{curve['labels'].iloc[0]:,} labels to {form.format(curve['mean'].iloc[-1])} at "
        f"{curve['labels'].iloc[-1]:,}"
        for name, curve in curves.groupby(key, sort=False)
    ]
    return "; ".join(parts) + "."
