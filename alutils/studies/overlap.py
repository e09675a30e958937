"""Which trainings the reports of a profile share, told from the cells of their studies."""

import json
from dataclasses import dataclass
from itertools import takewhile

from IPython.display import Markdown

from alutils.protocol.cell import Cell
from alutils.protocol.study import Study
from alutils.reporting.prose import count, join
from alutils.studies import profiles
from alutils.studies.setup import OBSERVED

COMPARED = (*profiles.FIGURES, "06-sensitivity", "07-beyond-the-poster", "08-reductions")
"""The notebooks of built-in arms whose networks are trained from scratch."""
NO_PART = {"figure", "rounds", "label_counts", *OBSERVED}
"""Fields of a cell that leave each of its trainings as it is."""


@dataclass(frozen=True)
class Shared:
    """What a study's cells have in common with those of another notebook.

    Cells with the same record; other cells with some of the same trainings, those on the first
    labels apart, and how many trainings these are.
    """

    notebook: str
    records: int
    cells: int
    trainings: int


def shared(study: Study, notebook: str) -> list[Shared]:
    """What the cells of a notebook's study share with each other notebook of its profile."""
    every = (
        common(study.cells(), other.cells(), name)
        for name, other in others(study.profile, notebook).items()
    )
    return [each for each in every if each.records or each.cells]


def others(profile: str, notebook: str) -> dict[str, Study]:
    """The studies of a profile with which one of its notebooks is compared, by their notebooks."""
    if profile not in profiles.profiles():
        return {}
    names = [name for name in profiles.notebooks(profile) if name in COMPARED and name != notebook]
    return {name: profiles.load_study(profile, name) for name in names}


def common(cells: list[Cell], others: list[Cell], notebook: str) -> Shared:
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
    return Shared(notebook, len(cells) - len(rest), sum(n > 0 for n in longest), sum(longest))


def _training(cell: Cell) -> str:
    """What decides a cell's trainings beside its label counts."""
    fields = cell.model_dump(mode="json", exclude=NO_PART)
    return json.dumps([fields, bool(cell.label_counts)], sort_keys=True)


def _in_common(cell: Cell, other: Cell) -> int:
    """Trainings after the first labels up to which two cells have the same label counts."""
    counts = zip(cell.schedule_of_labels(), other.schedule_of_labels(), strict=False)
    return max(0, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], counts)) - 1)


def sentence(study: Study, notebook: str) -> Markdown:
    """Which of a notebook's cells are no independent evidence beside other reports."""
    found, own = shared(study, notebook), _number(notebook)
    if not found:
        return Markdown(
            f"No training of {own} is one of the profile's other reports on networks trained from "
            "scratch."
        )
    same = " (by the same seed, arm, recipe and label counts, those on the first labels apart)"
    return Markdown(
        f"Of the {count(len(study.cells()), 'cell')} of {own}, "
        f"{join([part for other in found for part in _parts(other)])}"
        f"{same if any(other.cells for other in found) else ''}: these reports are not "
        "independent."
    )


def _parts(other: Shared) -> list[str]:
    """What is shared with a notebook, in words."""
    parts, name = [], _number(other.notebook)
    if other.records:
        parts.append(f"{other.records} are records of {name} too")
    if other.cells:
        parts.append(f"{other.cells} repeat {count(other.trainings, 'training')} of {name}")
    return parts


def _number(notebook: str) -> str:
    """The number by which a notebook is named in texts."""
    return notebook.split("-")[0]
