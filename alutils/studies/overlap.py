"""Which trainings of a report repeat another's, judged by the cells of their studies."""

import json
from dataclasses import dataclass
from itertools import takewhile

from IPython.display import Markdown

from alutils.protocol.cell import Cell
from alutils.protocol.study import Study
from alutils.reporting.prose import count
from alutils.studies import profiles
from alutils.studies.recipes import PROFILE_OF_RECIPE
from alutils.studies.setup import OBSERVED

REDUCTIONS = "08-reductions"
"""The notebook that compares the recipes of Figures 3 and 4."""
COMPARED = (
    *profiles.FIGURES,
    "06-sensitivity",
    "07-beyond-the-poster",
    REDUCTIONS,
    "09-pretrained-features",
)
"""The notebooks on built-in arms with at least some networks trained from scratch."""
IGNORED_FIELDS = {"figure", "rounds", "label_counts", *OBSERVED}
"""Fields of a cell that do not affect any single training."""
REPEATED = (
    "they have the same seed and settings, and so are not independent, though not identical if "
    "computed on two types of processor"
)
"""In what sense a training is repeated; rounding may lead it to other picks."""


@dataclass(frozen=True)
class Overlap:
    """What a study's cells have in common with those of another notebook.

    ``notebook`` is named as in texts. ``records`` counts cells with the same record, ``cells``
    other cells with some of the same trainings, apart from those on the first labels, and
    ``trainings`` these trainings.
    """

    notebook: str
    records: int
    cells: int
    trainings: int


def overlaps(study: Study, notebook: str) -> list[Overlap]:
    """What the cells of a notebook's study share with each other notebook."""
    every = (
        common(study.cells(), cells, name)
        for name, cells in others(study.profile, notebook).items()
    )
    return [each for each in every if each.records or each.cells]


def others(profile: str, notebook: str) -> dict[str, list[Cell]]:
    """The cells that those of a profile's notebook are compared with, by notebook as in texts.

    They are those of the profile itself. If it runs Figures 3 and 4 under one of two recipes, and
    for the notebook that compares these, also those of the profiles that have the recipes, except
    for Figure 2.
    """
    if profile not in profiles.profiles():
        return {}
    own = [name for name in profiles.notebooks(profile) if name in COMPARED]
    studies = {(profile, name): _number(name) for name in own if name != notebook}
    if profile in PROFILE_OF_RECIPE.values() or notebook == REDUCTIONS:
        studies |= {
            (other, name): f"{_number(name)} of `{other}`"
            for other in PROFILE_OF_RECIPE.values()
            for name in profiles.notebooks(other)
            if other != profile and name in COMPARED[1:]
        }
    return {
        told: [cell for cell in profiles.load_study(*key).cells() if cell.encoder == "none"]
        for key, told in studies.items()
    }


def common(cells: list[Cell], others: list[Cell], notebook: str) -> Overlap:
    """What ``cells`` share with the ``others``, those of a notebook."""
    names = {other.name for other in others}
    by_training: dict[str, list[Cell]] = {}
    for other in others:
        by_training.setdefault(_training(other), []).append(other)
    rest = [cell for cell in cells if cell.name not in names]
    longest = [
        max((_in_common(cell, other) for other in by_training.get(_training(cell), [])), default=0)
        for cell in rest
    ]
    return Overlap(notebook, len(cells) - len(rest), sum(n > 0 for n in longest), sum(longest))


def _training(cell: Cell) -> str:
    """What determines a cell's trainings apart from its label counts."""
    fields = cell.model_dump(mode="json", exclude=IGNORED_FIELDS)
    return json.dumps([fields, bool(cell.label_counts)], sort_keys=True)


def _in_common(cell: Cell, other: Cell) -> int:
    """Trainings after the first labels for as long as two cells have the same label counts."""
    counts = zip(cell.schedule_of_labels(), other.schedule_of_labels(), strict=False)
    return max(0, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], counts)) - 1)


def sentence(study: Study, notebook: str) -> Markdown:
    """Which of a notebook's cells are not independent evidence, given other reports."""
    own = _number(notebook)
    parts = [part for other in overlaps(study, notebook) for part in _parts(other)]
    if not parts:
        return Markdown(
            f"{own} repeats no training of another report on networks trained from scratch."
        )
    (cells, what), *rest = parts
    first = f"{cells} of {own}'s {count(len(study.cells()), 'run')} {what}"
    more = [f"{number} {each}" for number, each in rest]
    return Markdown(f"{', '.join([first, *more])}: {REPEATED}.")


def _parts(other: Overlap) -> list[tuple[int, str]]:
    """How many cells share what with a notebook, apart from trainings on the first labels."""
    are = "is also a record" if other.records == 1 else "are also records"
    records = f"{are} of {other.notebook}"
    verb = "repeats" if other.cells == 1 else "repeat"
    trainings = f"{verb} {count(other.trainings, 'training')} of {other.notebook}"
    every = ((other.records, records), (other.cells, trainings))
    return [(cells, what) for cells, what in every if cells]


def _number(notebook: str) -> str:
    """The number by which a notebook is named in texts."""
    return notebook.split("-")[0]
