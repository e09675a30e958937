"""What picks and training each contribute to an arm's gain, and whether picks travel.

Tables have a row a seed and a column an arm, random among them, so that ``standing.standings``
takes them: it tests every arm against random. What is concluded is fixed in ``docs/plan.md``.
"""

from collections.abc import Iterable

import pandas as pd

from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.studies.profiles import load_study
from alutils.studies.transfer.plan import CHOSEN_UNDER, SETS, transfer_study, transfers

Gains = dict[tuple[str, str], pd.DataFrame]
"""By recipe under which the arms chose, and recipe that trained on it."""


def gains(notebook: str) -> Gains:
    """Every arm's mean accuracy (%) over the label counts, minus random's of the same seed.

    Of the seeds that have finished every arm. Where both recipes are the same, the arm's own rounds
    at these label counts count.
    """
    by_recipes = {}
    for recipe, profile in CHOSEN_UNDER.items():
        cells = load_study(profile, notebook).cells()
        by_recipes[recipe, recipe] = _gains(notebook, profile, ((c.arm, c) for c in cells))
    for name, chosen_under, trained_by in transfers():
        if name == notebook:
            study = transfer_study(notebook, chosen_under, trained_by)
            copies = ((source.arm, cell) for source, cell in study.copies())
            by_recipes[chosen_under, trained_by] = _gains(notebook, study.profile, copies)
    return by_recipes


def picks_and_training(gains: Gains) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the poster's recipe adds to an arm's gain by its picks, and by its training.

    Their sum is the gain under the poster's recipe minus that under the reduced one. Each is the
    mean of two differences, one with each of what the other recipe picks, or trains.
    """
    own, moved = gains["poster", "poster"], gains["reduced", "reduced"]
    poster_trains, reduced_trains = gains["reduced", "poster"], gains["poster", "reduced"]
    picks = (own - poster_trains + reduced_trains - moved) / 2
    training = (own - reduced_trains + poster_trains - moved) / 2
    return picks.dropna(), training.dropna()


def _gains(notebook: str, profile: str, cells: Iterable[tuple[str, Cell]]) -> pd.DataFrame:
    sets = SETS[notebook]
    wanted = {
        cell.name: (arm, cell)
        for arm, cell in cells
        if arm in sets.arms and cell.seed in sets.seeds
    }
    rows = table(Store(profile), [cell for _, cell in wanted.values()])
    rows = rows[rows["labels"].isin(sets.label_counts)]
    arms = rows["record"].map({name: arm for name, (arm, _) in wanted.items()})
    means = rows.groupby([rows["seed"], arms.rename("arm")])["accuracy"].mean().unstack("arm")
    means = means.reindex(columns=sets.arms).dropna()
    return means.sub(means["random"], axis=0)
