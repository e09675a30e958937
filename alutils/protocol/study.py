"""What all studies that run cells share: their parameters, and cells by the factors they vary.

Nothing here imports torch, so that a wrong parameter is refused within a second.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from alutils.protocol.arms import CUSTOM_ARMS
from alutils.protocol.cell import MOST_ROUNDS, Cell, Protocol
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import Parameters, check_choice, check_unique
from alutils.protocol.validation import check_cell, check_first

RUNTIME = ("profile", "device", "workers", "cells_per_gpu", "scheduler", "train")
"""Parameters that say where a study runs, not what it is."""
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Study(Protocol, Parameters):
    """The parameters of every notebook that runs cells."""

    sequences: ClassVar[bool] = False
    """Whether arms may run one after another, passing on the optimiser's state."""

    seeds: Seeds = (0, 1, 2)
    reported: Literal["test", "heldout-best", "heldout-last"] = "test"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: Annotated[int, Field(ge=0, le=1_024)] = 0
    cells_per_gpu: Annotated[int, Field(ge=1, le=100)] = 1
    scheduler: str = ""
    train: bool = True

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_unique("seeds", self.seeds)
        _check_judging(self)
        for cell in self.cells():
            check_cell(cell)
        return self

    def measured_on(self, dataset: str) -> int:
        """Number of images on which the reported accuracy is measured."""
        return DATASETS[dataset].test if self.reported == "test" else self.heldout_size(dataset)

    def _protocol(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in Protocol.model_fields}

    def _sizes_cell(
        self, figure: int | str, dataset: str, seed: int, sizes: tuple[int, ...], **changes: Any
    ) -> Cell:
        """A cell that trains once per size on nested random labels, with the given changes."""
        schedule = {"label_counts": sizes, "first_labels": sizes[0], "rounds": len(sizes)}
        fields = self._protocol() | schedule | changes
        return Cell(figure=figure, dataset=dataset, arm="random", seed=seed, **fields)


def check_datasets(key: str, names: tuple[str, ...]) -> None:
    """Refuse datasets that are unknown, named twice, or without labels."""
    check_unique(key, names)
    for name in names:
        check_choice(key, name, DATASETS, or_else="the path of a folder of images")
        if not DATASETS[name].classes:
            raise ValueError(
                f"{key} = {name!r} has no labels, which a study needs: give them in the notebook "
                "11-label-your-own, sort its images into class folders, or list them in a CSV "
                "file with the columns file and label"
            )


def _check_judging(study: Study) -> None:
    if study.adam_state == "arms" and not study.sequences:
        raise ValueError("adam_state = 'arms' needs arms that run in sequence: use rounds or fresh")
    if study.reported == "test" and not study.test:
        raise ValueError("reported = 'test' needs test = true: set it, or report heldout-best")
    if study.reported != "test" and not study.heldout_every:
        raise ValueError(f"reported = {study.reported!r} needs heldout_every above 0")


Level = TypeVar("Level")
Levels = Annotated[tuple[Level, ...], Field(min_length=1)]


@dataclass(frozen=True)
class FactorLevel:
    """A cell, the factor that a study varies with it, and the factor's level in it."""

    factor: str
    level: float | str
    cell: Cell


class FactorStudy(Study):
    """A study that varies factors; a cell may serve as a level of several of them."""

    def settings(self) -> list[FactorLevel]:
        """Every cell, once for each factor that it serves."""
        raise NotImplementedError

    def cells(self) -> list[Cell]:
        """The cells of all settings, each once, seed by seed."""
        cells = {setting.cell.name: setting.cell for setting in self.settings()}.values()
        return sorted(cells, key=lambda cell: cell.seed)

    def _arm_cell(
        self, figure: str, dataset: str, arm: str, seed: int, first: int, last: int, **changes: Any
    ) -> Cell:
        """An arm from ``first`` labels to about ``last``, with changes to the study's protocol."""
        fields = self._protocol() | changes
        cell = Cell(
            figure=figure,
            dataset=dataset,
            arm=arm,
            seed=seed,
            first_labels=first,
            strategy_source=CUSTOM_ARMS.get(arm, ""),
            **fields,
        )
        return _ending_near(cell, last)


def _ending_near(cell: Cell, last: int) -> Cell:
    """The cell with the number of rounds that ends nearest to ``last``, above ``first_labels``."""
    if last <= cell.first_labels:
        raise ValueError(
            f"last_labels = {last} is not above first_labels = {cell.first_labels}: raise it"
        )
    check_first(cell)
    counts: list[int] = []
    for count in islice(cell.growing(), MOST_ROUNDS + 1):
        if counts and (counts[-1] >= last or count == counts[-1]):
            break
        counts.append(count)
    if len(counts) > MOST_ROUNDS:
        raise ValueError(
            f"{cell.acquisition} takes more than {MOST_ROUNDS} rounds from {cell.first_labels} to "
            f"{last} labels of {cell.dataset}: raise it, or lower last_labels"
        )
    nearest = min(counts, key=lambda count: abs(count - last))
    if nearest == cell.first_labels:
        raise ValueError(
            f"{cell.acquisition} gives no label count nearer to {last} than the first "
            f"{cell.first_labels} labels of {cell.dataset}: change it, or raise last_labels"
        )
    return cell.model_copy(update={"rounds": counts.index(nearest) + 1})


def refuse_best(study: Study) -> None:
    """Refuse to compare recipes by their best evaluation: the best of more is higher by chance."""
    if study.reported == "heldout-best":
        raise ValueError(
            "reported = 'heldout-best' is the best of more evaluations if training is longer, so "
            "it can't compare recipes: use test or heldout-last"
        )
