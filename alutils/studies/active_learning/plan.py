"""Figures 3 and 4: every arm on one dataset, paired by seed."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from alutils.protocol.arms import BASELINE, BUILT_IN, CUSTOM_ARMS, ORACLES, POSTER_ARMS
from alutils.protocol.cell import Cell, Count, Rounds, Share
from alutils.protocol.datasets import DATASETS, DatasetName
from alutils.protocol.parameters import check_choice, check_unique
from alutils.protocol.study import Study, check_datasets


class ActiveLearningStudy(Study):
    """Figures 3 and 4: every arm on one dataset, paired by seed."""

    sequences: ClassVar[bool] = True

    dataset: DatasetName = "cifar10"
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = POSTER_ARMS
    single_baseline: bool = False
    first_labels: Share | Count = 0.01
    acquisition_fraction: Share = 0.001
    rounds: Rounds = 150

    @property
    def first_count(self) -> int:
        """First labels as a count: a float is a share of the pool, an integer counts."""
        if isinstance(self.first_labels, int):
            return self.first_labels
        return int(self.first_labels * self.pool_size(self.dataset))

    def cells(self) -> list[Cell]:
        """One cell per seed and arm.

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

    def files(self) -> list[Path]:
        """The record of the training on every label that the figure shows as a line."""
        from alutils.studies.training_size import ceiling

        return ceiling.records_of_recipe(self)

    def _cell(self, arm: str, seed: int) -> Cell:
        return Cell(
            figure=DATASETS[self.dataset].figure or self.dataset,
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
        check_datasets("dataset", (self.dataset,))
        check_unique("arms", self.arms)
        for arm in self.arms:
            check_choice("arms", arm, [*BUILT_IN, *CUSTOM_ARMS])
        if "random" not in self.arms:
            raise ValueError(f"arms = {list(self.arms)} lacks random, the baseline: add it")
        if len(set(self.arms) - set(ORACLES)) < 2:
            raise ValueError(
                f"arms = {list(self.arms)} leaves no strategy to hold against random: add an arm, "
                "or take 01 for random labels alone"
            )
        if self.adam_state == "arms" and set(self.arms) & set(CUSTOM_ARMS):
            raise ValueError(
                f"adam_state = 'arms' goes through the study's own arms one after another, but "
                f"arms = {list(self.arms)}: leave out those of your own, or use rounds"
            )
        if self.first_count < 1:
            raise ValueError(f"first_labels = {self.first_labels} gives no label: raise it")
