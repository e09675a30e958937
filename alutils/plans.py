"""The studies of the poster's figures: parameters, and the cells they unfold into.

Nothing here imports torch, so that a wrong parameter is refused within a second.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from alutils.parameters import Parameters, increasing, known, no_duplicates
from alutils.protocol import (
    ARMS,
    BASELINE,
    BUILT_IN,
    DATASETS,
    Cell,
    Count,
    Protocol,
    Rounds,
    Share,
)
from alutils.validation import check

CUSTOM_ARMS: dict[str, str] = {}
"""Name to source hash of the strategies that a user registered (see ``strategies.register``)."""

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Study(Protocol, Parameters):
    """The parameters that every notebook of runs has."""

    sequences: ClassVar[bool] = False
    """Whether arms may run one after another, the optimiser's state going from arm to arm."""

    seeds: Seeds = (0, 1, 2)
    reported: Literal["test", "heldout-best", "heldout-last"] = "test"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: Annotated[int, Field(ge=0, le=1_024)] = 0
    cells_per_gpu: Annotated[int, Field(ge=1, le=100)] = 1
    scheduler: str = ""
    train: bool = True

    @model_validator(mode="after")
    def _sound(self) -> Self:
        no_duplicates("seeds", self.seeds)
        _check_judging(self)
        for cell in self.cells():
            check(cell)
        return self

    def _protocol(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in Protocol.model_fields}

    def _sizes_cell(
        self, figure: int | str, dataset: str, seed: int, sizes: tuple[int, ...], **changes: Any
    ) -> Cell:
        """One training a size on nested random labels, with changes to the study's protocol."""
        own = {"label_counts": sizes, "first_labels": sizes[0], "rounds": len(sizes)}
        fields = self._protocol() | own | changes
        return Cell(figure=figure, dataset=dataset, arm="random", seed=seed, **fields)


def check_datasets(key: str, names: tuple[str, ...]) -> None:
    """Refuse datasets that are unknown or named twice."""
    no_duplicates(key, names)
    for name in names:
        known(key, name, DATASETS)


class TrainingSizeStudy(Study):
    """Figure 2: accuracy against training-set size, on nested random labels."""

    datasets: Annotated[tuple[str, ...], Field(min_length=1)] = ("mnist", "cifar10")
    label_counts: Annotated[tuple[Count, ...], Field(min_length=1)] = (
        540, 590, 690, 840, 990, 1240, 1490, 1990, 2490, 2990, 3490, 3990, 4490, 4990, 5490,
    )  # fmt: skip

    def cells(self) -> list[Cell]:
        """One cell a seed and dataset; its rounds are the sizes."""
        check_datasets("datasets", self.datasets)
        increasing("label_counts", self.label_counts)
        return [
            self._sizes_cell(2, dataset, seed, self.label_counts)
            for seed in self.seeds
            for dataset in self.datasets
        ]


class ActiveLearningStudy(Study):
    """Figures 3 and 4: every arm on one dataset, paired by seed."""

    sequences: ClassVar[bool] = True

    dataset: str = "cifar10"
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = ARMS
    single_baseline: bool = False
    first_labels: Share | Count = 0.01
    acquisition_fraction: Share = 0.001
    rounds: Rounds = 150

    @property
    def first_count(self) -> int:
        """First labels as a count: a float is a share of the pool, an integer counts."""
        if isinstance(self.first_labels, int):
            return self.first_labels
        return int(self.first_labels * DATASETS[self.dataset].pool(self.heldout_fraction))

    def cells(self) -> list[Cell]:
        """One cell a seed and arm.

        With ``adam_state = "arms"`` all arms but random are one cell, in their order. The single
        baseline is one training at the last label count, with a fresh Adam.
        """
        self._check_arms()
        cells: list[Cell] = []
        for seed in self.seeds:
            arms = [self._cell(arm, seed) for arm in self.arms]
            if self.adam_state == "arms":
                others = tuple(arm for arm in self.arms if arm != "random")
                sequence = self._cell("sequence", seed).model_copy(update={"sequence": others})
                random = self._cell("random", seed).model_copy(update={"adam_state": "rounds"})
                arms = [random, sequence]
            if self.single_baseline:
                last = arms[0].schedule_of_labels()[-1]
                fresh = {"adam_state": "fresh", "start": "cold"}
                once = {"first_labels": last, "rounds": 1} | fresh
                arms.append(self._cell(BASELINE, seed).model_copy(update=once))
            cells += arms
        return cells

    def _cell(self, arm: str, seed: int) -> Cell:
        return Cell(
            figure={"cifar10": 3, "mnist": 4}.get(self.dataset, self.dataset),
            dataset=self.dataset,
            arm=arm,
            seed=seed,
            first_labels=self.first_count,
            acquisition_fraction=self.acquisition_fraction,
            rounds=self.rounds,
            strategy_source=CUSTOM_ARMS.get(arm, ""),
            **self._protocol(),
        )

    def _check_arms(self) -> None:
        known("dataset", self.dataset, DATASETS)
        no_duplicates("arms", self.arms)
        for arm in self.arms:
            known("arms", arm, [*BUILT_IN, *CUSTOM_ARMS])
        if "random" not in self.arms:
            raise ValueError(f"arms = {list(self.arms)} lacks random, the baseline: add it")
        if len(self.arms) < 2:
            raise ValueError(
                f"arms = {list(self.arms)} leaves nothing to hold against random: add an arm, or "
                "take 01 for random labels alone"
            )
        if self.adam_state == "arms" and set(self.arms) & set(CUSTOM_ARMS):
            raise ValueError(
                f"adam_state = 'arms' goes through the study's own arms one after another, but "
                f"arms = {list(self.arms)}: leave out those of your own, or use rounds"
            )
        if self.first_count < 1:
            raise ValueError(f"first_labels = {self.first_labels} gives no label: raise it")


def _check_judging(study: Study) -> None:
    if study.adam_state == "arms" and not study.sequences:
        raise ValueError("adam_state = 'arms' needs arms to go through: use rounds or fresh")
    if study.reported == "test" and not study.test:
        raise ValueError("reported = 'test' needs test = true, or report heldout-best")
    if study.reported != "test" and not study.heldout_every:
        raise ValueError(f"reported = {study.reported!r} needs heldout_every above 0")
