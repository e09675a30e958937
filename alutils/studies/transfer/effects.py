"""What picks and training each contribute to an arm's gain, and whether picks travel.

Tables have one row per seed and one column per arm, including random, as expected by
``arm_comparison.compare_with_random``, which tests every arm against random. What is concluded is
fixed in ``docs/plan.md``.
"""

from dataclasses import dataclass

import pandas as pd

from alutils.protocol.cell import Cell
from alutils.protocol.study import Study
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.studies.profiles import load_study
from alutils.studies.recipes import PROFILE_OF_RECIPE
from alutils.studies.transfer.plan import LABEL_SETS, studies, transfer_study, transfers

Gains = dict[tuple[str, str], pd.DataFrame]
"""By recipe under which the arms chose, and recipe that trained on their labels."""


def gains(notebook: str, label_counts: tuple[int, ...] = ()) -> Gains:
    """Every arm's mean accuracy (%) over label counts, minus random's of the same seed.

    Label counts are those of ``LABEL_SETS`` unless given, seeds those that have finished every arm.
    If both recipes are the same, the arm's own rounds at these label counts are used.
    """
    counts = label_counts or LABEL_SETS[notebook].label_counts
    return {
        recipes: _gains(notebook, profile, cells, counts)
        for recipes, (profile, cells) in _compared(notebook).items()
    }


def has_ended(notebook: str) -> bool:
    """Whether no runs are to come of the cells that ``gains`` compares.

    Then all cells of a seed are finished, or one of them failed, which leaves the seed out.
    """
    status = [
        (cell.seed, Store(profile).facts(cell).status)
        for profile, cells in _compared(notebook).values()
        for _, cell in cells
    ]
    left_out = {seed for seed, each in status if each == "failed"}
    return all(each == "finished" for seed, each in status if seed not in left_out)


def _compared(notebook: str) -> dict[tuple[str, str], tuple[str, list[tuple[str, Cell]]]]:
    """By recipes as in ``Gains``: the profile, and the cells of the set's seeds with their arms."""
    sets, every = LABEL_SETS[notebook], {}
    for recipe, profile in PROFILE_OF_RECIPE.items():
        cells = [(cell.arm, cell) for cell in load_study(profile, notebook).cells()]
        every[recipe, recipe] = profile, cells
    for name, chosen_under, trained_by in transfers():
        if name == notebook:
            study = transfer_study(notebook, chosen_under, trained_by)
            cells = [(source.arm, cell) for source, cell in study.copies()]
            every[chosen_under, trained_by] = study.profile, cells
    return {
        recipes: (profile, [c for c in cells if c[0] in sets.arms and c[1].seed in sets.seeds])
        for recipes, (profile, cells) in every.items()
    }


def studies_read() -> list[Study]:
    """The studies whose records ``gains`` reads."""
    chosen = (load_study(p, name) for p in PROFILE_OF_RECIPE.values() for name in LABEL_SETS)
    return [*chosen, *studies()]


@dataclass(frozen=True)
class Effect:
    """What the poster's recipe adds to an arm's gain by one of its two parts.

    Attributes
    ----------
    with_poster, with_reduced : with the other part by the poster's recipe, and by the reduced one
    """

    with_poster: pd.DataFrame
    with_reduced: pd.DataFrame

    @property
    def mean(self) -> pd.DataFrame:
        """The mean of both."""
        return (self.with_poster + self.with_reduced) / 2


def picks_and_training(gains: Gains) -> tuple[Effect, Effect]:
    """What the poster's recipe adds to an arm's gain by its picks, and by its training.

    On the seeds that have all four gains. The two means add up to the gain under the poster's
    recipe minus that under the reduced one.
    """
    pairs = [(s, t) for s in PROFILE_OF_RECIPE for t in PROFILE_OF_RECIPE]
    seeds = set.intersection(*(set(gains[pair].index) for pair in pairs))
    d = {pair: gains[pair].loc[sorted(seeds)] for pair in pairs}
    p, r = "poster", "reduced"
    picks = Effect(d[p, p] - d[r, p], d[p, r] - d[r, r])
    training = Effect(d[p, p] - d[p, r], d[r, p] - d[r, r])
    return picks, training


def _gains(
    notebook: str, profile: str, cells: list[tuple[str, Cell]], counts: tuple[int, ...]
) -> pd.DataFrame:
    rows = table(Store(profile), [cell for _, cell in cells])
    rows = rows[rows["labels"].isin(counts)]
    arms = rows["record"].map({cell.name: arm for arm, cell in cells})
    means = rows.groupby([rows["seed"], arms.rename("arm")])["accuracy"].mean().unstack("arm")
    means = means.reindex(columns=LABEL_SETS[notebook].arms).dropna()
    return means.sub(means["random"], axis=0)
