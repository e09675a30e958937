"""How near the runs come to the published curves, by the authors' own rule."""

from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import figures, published
from alutils.reporting.figures import arm_style
from alutils.reporting.prose import count, join, lines_of, paired_seeds, points, show
from alutils.reporting.statistics import Estimate, estimate
from alutils.reporting.style import house_style
from alutils.studies.reductions.comparisons import STYLES, TITLES, by_size

NEAR = {"mnist": 0.5, "cifar10": 1.0}
"""Points from the published curve within which Figure 2 counts as reproduced; fixed beforehand."""
SETTLED = 1240
"""Labels from which on that is judged: the authors' first sizes depend on what ran before."""


def distance_to_published(results: pd.DataFrame, dataset: str, level: str) -> pd.DataFrame:
    """Figure 2 minus the published one by the authors' rule, by seed and label count, in points."""
    ours = by_size(results, "heldout_best", factor="optimiser", level=level, dataset=dataset)
    theirs = published.training_size()
    theirs = theirs[theirs["dataset"] == dataset].set_index("labels")["accuracy"]
    shared = [size for size in ours.columns if size in theirs.index]
    return ours[shared] - theirs[shared]


def nearness(results: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, Estimate]]:
    """Dataset, state, differences, and their mean over the settled sizes, over seeds."""
    for dataset in tidy.datasets_of(results, "optimiser"):
        for level in ("fresh", "carried"):
            apart = distance_to_published(results, dataset, level)
            if (settled := _settled(apart)).size:
                yield dataset, level, apart, estimate(settled.mean(axis=1))


def _settled(apart: pd.DataFrame) -> pd.DataFrame:
    """The columns of the sizes that are judged."""
    return apart[[size for size in apart.columns if size >= SETTLED]]


def sentences(results: pd.DataFrame) -> Markdown:
    """How far Figure 2 lies from the published one by the same rule, state by state."""
    lines = []
    for dataset, level, apart, mean in nearness(results):
        sizes = _settled(apart).columns
        text = (
            f"- **{dataset_title(dataset)}, {TITLES[level]}**: {points(mean)} from the published "
            f"curve, mean over {count(len(sizes), 'size')} from {sizes[0]:,} to {sizes[-1]:,} "
            f"labels: {_nearness_in_words(mean, NEAR[dataset])}"
        )
        before = [size for size in apart.columns if size < SETTLED]
        if before:
            text += f"; at {before[0]:,} labels {points(estimate(apart[before[0]]))}"
        lines.append(f"{text}.")
    if not lines:
        return Markdown("No size that the authors published is finished yet.")
    shown = [name for name in NEAR if name in tidy.datasets_of(results, "optimiser")]
    limits = join([f"{NEAR[name]:g} on {dataset_title(name)}" for name in shown])
    return Markdown(
        "A curve counts as near if its mean lies within this many points of the published one, "
        f"fixed beforehand: {limits}.\n\n" + "\n".join(lines)
    )


def short(results: pd.DataFrame) -> str:
    """How far Figure 2 lies from the published one, dataset by dataset, in half a sentence."""
    by_dataset: dict[str, list[str]] = {}
    for dataset, level, _, mean in nearness(results):
        near = f"{'near' if abs(mean.mean) <= NEAR[dataset] else 'not near'} by the mean"
        by_dataset.setdefault(dataset, []).append(f"{points(mean)} with {TITLES[level]} ({near})")
    if not by_dataset:
        return ""
    apart = join([f"on {dataset_title(name)} {join(each)}" for name, each in by_dataset.items()])
    limits = join([f"{NEAR[name]:g} on {dataset_title(name)}" for name in by_dataset])
    return (
        "Random labels minus the published curve, by the authors' rule, mean over the sizes from "
        f"{SETTLED:,} labels on (near: a mean within {limits}): {apart}"
    )


def _nearness_in_words(mean: Estimate, near: float) -> str:
    """Whether a mean lies within ``near`` of zero, and whether the entire interval agrees."""
    inside = abs(mean.mean) <= near
    verdict = "near" if inside else "not near"
    if mean.seeds < 2:
        return verdict
    if (-near <= mean.low and mean.high <= near) or mean.low > near or mean.high < -near:
        return f"{verdict}, with the entire interval"
    return f"mean {'' if inside else 'not '}within {near:g}, interval only in part"


def state_sentences(results: pd.DataFrame) -> Markdown:
    """What carrying Adam's state from size to size is worth, on the same labels."""
    lines = []
    for dataset in tidy.datasets_of(results, "optimiser"):
        fresh, carried = (
            distance_to_published(results, dataset, level) for level in ("fresh", "carried")
        )
        settled = _settled((carried - fresh).dropna())
        if settled.size:
            lines.append(
                f"- **{dataset_title(dataset)}**: carried minus fresh is "
                f"{points(estimate(settled.mean(axis=1)))}, mean over "
                f"{count(settled.shape[1], 'size')} from {settled.columns[0]:,} to "
                f"{settled.columns[-1]:,} labels."
            )
    return Markdown("\n".join(lines) or "No seed has both states yet.")


@house_style()
def figure(results: pd.DataFrame) -> HTML | Markdown:
    """Figure 2 by the authors' rule with fresh and carried state, and their points."""
    datasets = tidy.datasets_of(results, "optimiser")
    if not datasets or "heldout_best" not in results:
        return Markdown("No run that was evaluated on the held-out set is finished yet.")
    drawing, axes = figures.grid(1, len(datasets), (6 * len(datasets), 4.2))
    theirs, curves = published.training_size(), []
    for panel, dataset in zip(axes[0], datasets, strict=True):
        shown = results[(results["factor"] == "optimiser") & (results["dataset"] == dataset)]
        shown = shown.assign(accuracy=100 * shown["heldout_best"])
        for level, rows in shown.groupby("level"):
            figures.curve(panel, rows, STYLES[level], TITLES[level])
        published_points = theirs[theirs["dataset"] == dataset]
        figures.draw_published(panel, figures.near(published_points, shown), ("#555555", "o"))
        figures.finish(panel, dataset_title(dataset), figures.REPORTED["heldout-best"])
        curves += [
            f"{dataset_title(dataset)}, {TITLES[level]}" for level in shown["level"].unique()
        ]
    shown = results[results["factor"] == "optimiser"]
    seeds = shown.groupby(["dataset", "level"])["seed"].nunique()
    caption = (
        "Random labels, by the authors' rule (best evaluation on the held-out set): "
        f"{lines_of(seeds)}."
    )
    if theirs["dataset"].isin(datasets).any():
        caption += f" Hollow points: published ({published.RULE})."
    text = sentences(results).data.replace("- **", "").replace("**", "")
    return show(drawing, caption, f"Learning curves: {join(curves)}. {text}")


@house_style()
def replica_figure(results: pd.DataFrame) -> HTML | Markdown:
    """A piece of the authors' protocol, by their rule, beside their points."""
    if not (datasets := tidy.datasets_of(results, "replica")) or "heldout_best" not in results:
        return Markdown("No run of the authors' own protocol is finished yet.")
    shown = results[results["factor"] == "replica"]
    shown = shown.assign(accuracy=100 * shown["heldout_best"])
    drawing, axes = figures.grid()
    theirs = figures.near(published.active_learning(datasets[0]), shown)
    for arm, rows in shown.groupby("arm", sort=False):
        figures.curve(axes[0, 0], rows, arm_style(arm), arm_title(arm))
        figures.draw_published(axes[0, 0], theirs[theirs["arm"] == arm], arm_style(arm))
    title = f"The authors' protocol on {dataset_title(datasets[0])}"
    figures.finish(axes[0, 0], title, figures.REPORTED["heldout-best"])
    caption = (
        "The authors' training protocol (no dropout, Adam's state carried from round to round), "
        "judged by their rule, the best evaluation on the held-out set; "
        f"{paired_seeds(shown['seed'].nunique())}. The random arm is ours."
    )
    if len(theirs):
        caption += f" Hollow points: published ({published.RULE})."
    text = replica_sentences(results).data.replace("- ", "").replace("**", "")
    return show(drawing, caption, f"Learning curves of {shown['arm'].nunique()} arms. {text}")


def replica_sentences(results: pd.DataFrame) -> Markdown:
    """How far that piece lies from the published curve, at the label counts of both."""
    lines = []
    for dataset in tidy.datasets_of(results, "replica"):
        theirs = published.active_learning(dataset)
        for arm in theirs["arm"].unique():
            curve = theirs[theirs["arm"] == arm].set_index("labels")["accuracy"]
            ours = by_size(results, "heldout_best", factor="replica", dataset=dataset, arm=arm)
            shared = [size for size in ours.columns if size in curve.index]
            pairs = [
                f"{ours[size].mean():.2f} % against {curve[size]:.2f} % at {size:,}"
                for size in shared
            ]
            if pairs:
                mean = estimate((ours[shared] - curve[shared]).mean(axis=1))
                lines.append(
                    f"- **{dataset_title(dataset)}, {arm_title(arm)}**: {join(pairs)} labels; "
                    f"{points(mean)} on average."
                )
    return Markdown("\n".join(lines) or "No label count that the authors published is done yet.")
