"""What README and the guide on results say about the poster's and the reduced recipe."""

import pandas as pd

from alutils.protocol.arms import arm_title
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.parameters import Parameters
from alutils.records import tidy
from alutils.reporting import arm_comparison, statistics
from alutils.reporting.markdown import markdown_table
from alutils.reporting.prose import count, join, points
from alutils.reporting.record_facts import has_pending_runs
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies import profiles
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.recipes import (
    CIFAR10,
    DATASET_OF,
    PROFILE_OF_RECIPE,
    STRONG_PROFILE,
    TITLES,
    recipe_of,
)
from alutils.studies.reductions import (
    both_recipes,
    comparisons,
    other_profiles,
    published_curves,
)
from alutils.studies.reductions.both_recipes import ACTIVE_LEARNING_CLAIMS, BothRecipes
from alutils.studies.reductions.plan import ReductionsStudy

FIRST, LAST = ACTIVE_LEARNING_CLAIMS[0], ACTIVE_LEARNING_CLAIMS[-1]
"""The first and last of the claims on choosing."""
INTERIM = "Interim: some of these runs are still to come."


def recipe_paragraphs(study: ReductionsStudy) -> list[str]:
    """Paragraphs on the recipe of Figures 3 and 4, the verdicts under both, and a strong recipe.

    Empty if the study's profile holds neither recipe.
    """
    if not (recipe := recipe_of(study.profile)):
        return []
    phrases = [_recipe_gain(dataset_title(name), gains) for name, gains in _gains(study).items()]
    gain = (
        " On the same random labels, the reduced recipe's accuracy minus the poster's is "
        f"{join(phrases)} ({link(study)})."
        if phrases
        else ""
    )
    trained = f"02 and 03, on which {FIRST} to {LAST} are judged, use {TITLES[recipe]}"
    trained += ", not the poster's." if recipe == "reduced" else "."
    both = both_recipes.read()
    return [f"{trained}{gain}{_whole_curves(both)}", *_verdicts(both), *_strong(study)]


def _strong(study: ReductionsStudy) -> list[str]:
    """What choosing is worth with better training; empty without runs."""
    strong = profiles.load_study(STRONG_PROFILE, CIFAR10)
    trained = (
        f"Choosing under a stronger recipe ({join([arm_title(arm) for arm in strong.arms])} with "
        f"crops and flips, {strong.epochs} epochs; profile `{strong.profile}`, {link(study)})"
    )
    texts = (part.data for part in other_profiles.strong_recipe())
    return [f"{trained}: {text[0].lower()}{text[1:]}" for text in texts]


def strong_in_short(dataset: str) -> str:
    """What is shown about arms with better training, after a space; empty with too few seeds."""
    study = profiles.load_study(STRONG_PROFILE, CIFAR10)
    results = tidy.read(study) if study.dataset == dataset else pd.DataFrame()
    areas = statistics.areas(results) if len(results) else results
    if len(areas) < FEWEST_SEEDS:
        return ""
    runs = f"{study.epochs} epochs, up to {results['labels'].max():,} labels"
    runs += f", {count(len(areas), 'seed')}"
    return f" With crops and flips ({runs}), {arm_comparison.sentence(areas, dataset)}."


def _gains(study: ReductionsStudy) -> dict[str, pd.DataFrame]:
    """By dataset, the reduced recipe's gain on random labels, if any of it is finished."""
    results = tidy.read_settings(study)
    gains = {name: comparisons.recipe_gains(results, name) for name in DATASETS}
    return {name: each for name, each in gains.items() if each.size}


def _recipe_gain(title: str, gains: pd.DataFrame) -> str:
    """The reduced recipe's gain, in words: its mean over the sizes, and that at the largest."""
    mean = f"{points(estimate(gains.mean(axis=1)))} on {title}"
    if gains.shape[1] < 2:
        return mean
    last = gains.columns[-1]
    return (
        f"{mean} (mean over {count(gains.shape[1], 'size')}; at {last:,} labels "
        f"{points(estimate(gains[last]), '')})"
    )


def _whole_curves(both: BothRecipes) -> str:
    """What is shown under both recipes over the whole range, by dataset, or that it is open."""
    sentences, open_ = [], []
    for notebook, dataset in DATASET_OF.items():
        if text := both_recipes.compared(both, notebook):
            note = f" {INTERIM}" if _interim(notebook) else ""
            sentences.append(
                f"Over the whole range of labels on {dataset_title(dataset)}, on the "
                f"{both.seeds(notebook)} seeds that are complete under both, {text}.{note}"
            )
        else:
            open_.append(dataset_title(dataset))
    if open_:
        keys = sorted(sum(both_recipes.missing_runs(both).values(), []))
        sentences.append(
            f"Whether the verdicts on {join(keys)} depend on the recipe is open until "
            f"{FEWEST_SEEDS} seeds are complete under both on {join(open_)} ([plan](plan.md)); "
            "partial results are in 04 and 08."
        )
    return "".join(f" {sentence}" for sentence in sentences)


def _interim(notebook: str) -> bool:
    """Whether runs of a figure are to come under either recipe."""
    return has_pending_runs(*(profiles.load_study(p, notebook) for p in PROFILE_OF_RECIPE.values()))


def _verdicts(both: BothRecipes) -> list[str]:
    """The claims on choosing under either recipe, as a sentence and a table; none if too few."""
    if not both_recipes.enough_for_claims(both):
        return []
    note = f" {INTERIM}" if any(map(_interim, DATASET_OF)) else ""
    sentence = (
        "Does a verdict depend on the recipe? On the seeds that are complete under both, "
        f"{both_recipes.agreement(both)}. C1 and C2 rest on 01, which uses the poster's "
        f"recipe.{note}"
    )
    rows = both_recipes.verdict_rows(both)
    return [sentence, markdown_table(rows.columns, rows.to_numpy())]


def on_recipe(cells: list[Cell]) -> str:
    """The precision and recipe that README's verdicts rest on.

    Empty if these are the poster's.
    """
    precision, less = _precision(cells), _reductions([c for c in cells if c.figure != 2])
    on_choosing = f"{FIRST} to {LAST}"
    if not less:
        return f"All verdicts rest on {precision}." if precision else ""
    text = f"{on_choosing} rest on {join(less)}"
    if precision:
        text = f"All verdicts rest on {precision}, {on_choosing} also on {join(less)}"
    both = both_recipes.read()
    if not both_recipes.enough_for_claims(both):
        return f"{text}."
    interim = " so far" if any(map(_interim, DATASET_OF)) else ""
    other = [poster.key for poster, reduced in both.pairs if poster.verdict != reduced.verdict]
    differ = f"that on {join(other)}" if other else "none"
    where = "on the seeds of both recipes"
    return f"{text}; {where} {differ} depends on the recipe{interim} ([results](docs/results.md))."


def _precision(cells: list[Cell]) -> str:
    """The precision of these runs, with the poster's; empty if some run has the poster's."""
    poster, used = ActiveLearningStudy().precision, {cell.precision for cell in cells}
    return "" if poster in used else f"{join(sorted(used))} (poster: {poster})"


def _reductions(arms: list[Cell]) -> list[str]:
    """Where Figures 3 and 4 fall short of the poster's, with its values, except precision."""
    cell, poster = arms[0], ActiveLearningStudy()
    phrases = []
    if (cell.epochs, cell.schedule) != (poster.epochs, poster.schedule):
        phrases.append(
            f"{cell.epochs} epochs per training with a {cell.schedule} schedule (poster: "
            f"{poster.epochs}, {poster.schedule})"
        )
    if cell.rounds != poster.rounds:
        phrases.append(f"{cell.rounds} trainings per arm (poster: {poster.rounds})")
    return phrases


def scope_bullets(study: ReductionsStudy, arms: list[Cell]) -> str:
    """Bullets of the guide: how runs fall short of the poster's, and the published curves."""
    bullets, share = [], arms[0].acquisition_fraction
    if less := list(filter(None, [*_reductions(arms), _precision(arms)])):
        theirs = ActiveLearningStudy().acquisition_fraction
        step = (
            f"{100 * share:.2g} % of the remaining pool labelled per round (poster: "
            f"{100 * theirs:.2g} %)"
        )
        bullets.append(f"- Scope of {FIRST} to {LAST}: 02 and 03 have {join([*less, step])}.")
    if near := published_curves.short(tidy.read_settings(study)):
        bullets.append(f"- {near} ({link(study)}).")
    return "\n".join(bullets)


def link(study: Parameters) -> str:
    """A link from a guide to the kept report of 04 or 08, by the study."""
    name = "08-reductions" if isinstance(study, ReductionsStudy) else "04-claims"
    return f"[{name[:2]}](../outputs/{study.profile}/{name}.ipynb)"
