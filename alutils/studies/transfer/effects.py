"""What picks and training each contribute to an arm's gain, and whether picks travel.

Tables have a row a seed and a column an arm, random among them, so that ``standing.standings``
takes them: it tests every arm against random. What is concluded is fixed in ``docs/plan.md``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.studies.profiles import load_study
from alutils.studies.transfer.plan import CHOSEN_UNDER, SETS, studies, transfer_study, transfers

Gains = dict[tuple[str, str], pd.DataFrame]
"""By recipe under which the arms chose, and recipe that trained on it."""


def gains(notebook: str, label_counts: tuple[int, ...] = ()) -> Gains:
    """Every arm's mean accuracy (%) over label counts, minus random's of the same seed.

    Over those of ``SETS`` unless given. Of the seeds that have finished every arm. Where both
    recipes are the same, the arm's own rounds at these label counts count.
    """
    counts = label_counts or SETS[notebook].label_counts
    by_recipes = {}
    for recipe, profile in CHOSEN_UNDER.items():
        cells = load_study(profile, notebook).cells()
        by_recipes[recipe, recipe] = _gains(notebook, profile, ((c.arm, c) for c in cells), counts)
    for name, chosen_under, trained_by in transfers():
        if name == notebook:
            study = transfer_study(notebook, chosen_under, trained_by)
            copies = ((source.arm, cell) for source, cell in study.copies())
            by_recipes[chosen_under, trained_by] = _gains(notebook, study.profile, copies, counts)
    return by_recipes


def records_read() -> list[Path]:
    """The files of all records that ``gains`` reads."""
    chosen = (load_study(p, name) for p in CHOSEN_UNDER.values() for name in SETS)
    every = [*chosen, *studies()]
    return [Store(study.profile).path(cell) for study in every for cell in study.cells()]


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

    Of the seeds that have all four gains. The two means add up to the gain under the poster's
    recipe minus that under the reduced one.
    """
    pairs = [(s, t) for s in CHOSEN_UNDER for t in CHOSEN_UNDER]
    seeds = set.intersection(*(set(gains[pair].index) for pair in pairs))
    d = {pair: gains[pair].loc[sorted(seeds)] for pair in pairs}
    p, r = "poster", "reduced"
    picks = Effect(d[p, p] - d[r, p], d[p, r] - d[r, r])
    training = Effect(d[p, p] - d[p, r], d[r, p] - d[r, r])
    return picks, training


def _gains(
    notebook: str, profile: str, cells: Iterable[tuple[str, Cell]], counts: tuple[int, ...]
) -> pd.DataFrame:
    sets = SETS[notebook]
    wanted = {
        cell.name: (arm, cell)
        for arm, cell in cells
        if arm in sets.arms and cell.seed in sets.seeds
    }
    rows = table(Store(profile), [cell for _, cell in wanted.values()])
    rows = rows[rows["labels"].isin(counts)]
    arms = rows["record"].map({name: arm for name, (arm, _) in wanted.items()})
    means = rows.groupby([rows["seed"], arms.rename("arm")])["accuracy"].mean().unstack("arm")
    means = means.reindex(columns=sets.arms).dropna()
    return means.sub(means["random"], axis=0)
