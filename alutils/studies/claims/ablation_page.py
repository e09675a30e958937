"""How the effects of the authors' evaluation and optimiser are shown in the audit."""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.datasets import dataset_title
from alutils.reporting import figures, prose, published
from alutils.reporting.prose import count, join, points, show
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, Estimate
from alutils.reporting.style import house_style
from alutils.studies.claims.ablation import Effect, contributions, effects, evaluation

NOTHING = "The outputs folder has no such runs; `.venv/bin/python -m alutils ablation` makes them."
GLOSS = {"evaluation": "evaluation (what judging both by their best adds to the difference)"}
"""Contributions with an explanation of what they are."""


def answer(results: pd.DataFrame) -> Markdown:
    """The parts of a difference that is measured as the authors do, by dataset."""
    if results.empty:
        return Markdown(NOTHING)
    lines = []
    for dataset, rows in results.groupby("dataset", sort=False):
        (_, difference), *shares = contributions(results, dataset).items()
        each = ", ".join(f"{GLOSS.get(what, what)} {points(share, '')}" for what, share in shares)
        labels, title = rows["labels"].max(), dataset_title(dataset)
        at_once = labels - rows["labels"].min()
        lines.append(
            f"- **{title}** at {labels:,} labels, {at_once:,} of them acquired at once: margin "
            "with a carried Adam state minus random labels with a fresh one, both by the best "
            f"held-out evaluation of each training, is {points(difference)}. It is the sum of what "
            "these add when changed one after another, in this order: "
            f"{each}.{_shown(shares)}{_changes_alone(results, dataset)}"
            f"{_evaluation(results, dataset)}{_one_run(rows)}"
            f"{_published(dataset, labels)}"
        )
    return Markdown("\n".join(lines))


def _shown(shares: list[tuple[str, Estimate]]) -> str:
    """Which of the contributions are shown to differ from zero."""
    if shares[0][1].seeds < FEWEST_SEEDS:
        return ""
    shown = [what for what, share in shares if share.differs_from_zero]
    return f" Of these, shown to differ from zero, not corrected: {join(shown or ['none'])}."


def _changes_alone(results: pd.DataFrame, dataset: str) -> str:
    """The changes that alone have an effect whose interval excludes zero, by label count."""
    every = [
        effect
        for effect in effects(results)
        if effect.dataset == dataset and effect.estimate.seeds >= FEWEST_SEEDS
    ]
    if not every:
        return ""
    decided = [
        f"{effect.what} at {effect.labels:,} labels {points(effect.estimate, '')}"
        for effect in every
        if effect.estimate.differs_from_zero
    ]
    listed = f": {join(decided)}" if decided else ""
    by_chance = 100 * (1 - LEVEL ** len(every))
    return (
        f" Of the {count(len(every), 'effect')} of a single change, by label count, "
        f"{len(decided) or 'none'} {'has' if len(decided) == 1 else 'have'} an interval that "
        f"excludes zero{listed}. These are not corrected: if none of the {len(every)} had any "
        "effect, one or more intervals would exclude zero by chance in up to about "
        f"{by_chance:.0f} % of studies."
    )


def _evaluation(results: pd.DataFrame, dataset: str) -> str:
    """How the authors' rule differs from the last epoch on the test set, on random labels."""
    best, heldout = (_by_seed(values) for values in evaluation(results, dataset))
    return (
        " On random labels, the best held-out evaluation of a training minus its last is "
        f"{best}; the last minus the accuracy on the test set, which has other images, is "
        f"{heldout}."
    )


def _by_seed(values: pd.Series) -> str:
    """A mean with its range over seeds."""
    mean = f"{values.mean():+.2f} points"
    if len(values) < 2:
        return f"{mean} (one seed)"
    return f"{mean} ({values.min():+.2f} to {values.max():+.2f} by seed, {len(values)} seeds)"


def _one_run(rows: pd.DataFrame) -> str:
    """How far a single baseline run may lie from the mean of several."""
    random = rows[(rows["variant"] == "random") & (rows["labels"] == rows["labels"].max())]
    if len(random) < 2:
        return ""
    return (
        " One baseline run instead of several: by the best held-out evaluation, the "
        f"{len(random)} seeds of random labels have a standard deviation of "
        f"{(100 * random['heldout_best']).std():.2f} points."
    )


def _published(dataset: str, labels: int) -> str:
    """The published points of margin and of random labels nearest to that label count."""
    if not (nearest := published.margin_beside_random(dataset, labels)):
        return ""
    (margins, margin), (randoms, random) = nearest
    return (
        f" Published, one run each: margin {margin:.2f} % at {margins:,} labels, random labels "
        f"(Figure 2) {random:.2f} % at {randoms:,}, a difference of {margin - random:+.2f} points."
    )


@house_style()
def figure(results: pd.DataFrame) -> HTML | Markdown:
    """Every change's effect with its interval, one panel per dataset and label count."""
    if results.empty:
        return Markdown(NOTHING)
    every = effects(results)
    panels = list(dict.fromkeys((e.dataset, e.labels) for e in every))
    rows = max(sum((e.dataset, e.labels) == panel for e in every) for panel in panels)
    drawing, axes = figures.grid(len(panels), 1, (8.5, len(panels) * (0.7 + 0.3 * rows)))
    tested = [e.estimate for e in every if e.estimate.seeds >= FEWEST_SEEDS]
    ends = [
        0.0,
        *(e.estimate.mean for e in every),
        *(end for e in tested for end in (e.low, e.high)),
    ]
    low, high = min(ends), max(ends)
    pad = 0.03 * (high - low)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        shown = [e for e in every if (e.dataset, e.labels) == panel]
        colours = ["#1f6fa8" if e.estimate.differs_from_zero else "#8a8a8a" for e in shown]
        figures.intervals(
            axis, [(e.what, e.estimate, (c, "o")) for e, c in zip(shown, colours, strict=True)]
        )
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_xlim(low - pad, high + pad)
        axis.set_title(f"{dataset_title(panel[0])}, {panel[1]:,} labels", loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("points of accuracy")
    counts = {effect.estimate.seeds for effect in every}
    caption = (
        f"Effect of each change alone on accuracy, {prose.mean_over(counts)}, not corrected for "
        "their number; grey where no difference is shown."
    )
    return show(drawing, caption, f"Interval plots. {'; '.join(map(_effect_text, every))}.")


def table(results: pd.DataFrame) -> HTML | Markdown:
    """Every change's effect with its interval, as a table."""
    if results.empty:
        return Markdown(NOTHING)
    rows = [
        {
            "dataset": dataset_title(effect.dataset),
            "labels": f"{effect.labels:,}",
            "change": effect.what,
            "effect (points)": points(effect.estimate, ""),
        }
        for effect in effects(results)
    ]
    return prose.table(pd.DataFrame(rows))


def _effect_text(effect: Effect) -> str:
    where = f"{dataset_title(effect.dataset)} at {effect.labels:,} labels"
    return f"{where}, {effect.what}: {points(effect.estimate)}"
