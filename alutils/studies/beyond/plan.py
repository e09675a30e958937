"""Strategies and recipes beyond the poster's."""

from typing import Annotated, Any

from pydantic import Field

from alutils.protocol.arms import BUILT_IN, CUSTOM_ARMS, FURTHER, ORACLES, POSTER_ARMS
from alutils.protocol.cell import Count, Share
from alutils.protocol.datasets import DATASETS, DatasetName
from alutils.protocol.parameters import check_choice, check_increasing, check_unique
from alutils.protocol.study import (
    FactorLevel,
    FactorStudy,
    Levels,
    Seeds,
    check_datasets,
    refuse_best,
)

CROPS = {"augmentation": "crop-flip"}
LADDER: dict[str, dict[str, Any]] = {
    "longer": {},
    "augmentation": CROPS,
    "SGD": CROPS
    | {"optimiser": "sgd", "learning_rate": 0.01, "schedule": "cosine", "weight_decay": 5e-4},
    "3x3 stem": CROPS | {"stem": "3x3"},
}
"""Other recipes, rung by rung, each trained longer than the study's own.

Crops, flips and the stem are those of He et al. (arXiv 1512.03385) on CIFAR-10. SGD's rate,
and to train the stem with Adam, were decided on held-out data (``choices.recipe``).
"""


class BeyondStudy(FactorStudy):
    """Strategies and recipes beyond the poster's.

    Every arm from ``first_labels`` to about ``last_labels`` (``ranking``); other recipes on random
    labels, each rung building on those before it, and the report's own recipe on more labels
    (``recipe``); and a start with few labels, trained in small batches (``start``).
    """

    datasets: Levels[DatasetName] = ("mnist", "cifar10")
    arms: Levels[str] = (*POSTER_ARMS, "entropy", *(arm for arm in FURTHER if arm != "batchbald"))
    first_labels: Count = 540
    acquisition_fraction: Share = 0.0098
    last_labels: Count = 2700
    recipes_dataset: DatasetName = "cifar10"
    recipe_counts: Levels[Count] = (990, 2490, 4990)
    recipe_seeds: Seeds = (0, 1, 2)
    recipe_epochs: Count = 150
    own_counts: Levels[Count] = (540, 990, 2490, 4990, 10_000, 20_000)
    start_dataset: DatasetName = "mnist"
    start_arms: Levels[str] = ("random", "margin", "typiclust", "probcover", "coreset", "badge")
    start_first: Count = 20
    start_step: Count = 20
    start_last: Count = 200
    start_batch_size: Annotated[int, Field(ge=2)] = 10
    start_epochs: Count = 50

    def settings(self) -> list[FactorLevel]:
        """Every cell with what is varied in it, the ranking first."""
        self._check()
        every: list[FactorLevel] = []
        for seed in self.seeds:
            every += [self._ranked(name, arm, seed) for name in self.datasets for arm in self.arms]
        for seed in self.recipe_seeds:
            every += self._recipes(seed)
        for seed in self.seeds:
            every += [self._started(arm, seed) for arm in self.start_arms]
        return every

    def _ranked(self, dataset: str, arm: str, seed: int) -> FactorLevel:
        cell = self._arm_cell(
            "beyond", dataset, arm, seed, self.first_labels, self.last_labels,
            acquisition_fraction=self.acquisition_fraction,
        )  # fmt: skip
        return FactorLevel("ranking", "", cell)

    def _recipes(self, seed: int) -> list[FactorLevel]:
        own = self._sizes_cell("beyond", self.recipes_dataset, seed, self.own_counts)
        rungs = [FactorLevel("recipe", "own", own)]
        for name, changes in LADDER.items():
            if not DATASETS[self.recipes_dataset].crops:
                if changes == CROPS:
                    continue
                changes = {key: changes[key] for key in changes.keys() - CROPS.keys()}
            cell = self._sizes_cell(
                "beyond", self.recipes_dataset, seed, self.recipe_counts,
                epochs=self.recipe_epochs, **changes,
            )  # fmt: skip
            rungs.append(FactorLevel("recipe", name, cell))
        return rungs

    def _started(self, arm: str, seed: int) -> FactorLevel:
        unlabelled = self.pool_size(self.start_dataset) - self.start_first
        share = (self.start_step + 0.5) / unlabelled
        small = {"batch_size": self.start_batch_size, "epochs": self.start_epochs}
        cell = self._arm_cell(
            "start", self.start_dataset, arm, seed, self.start_first, self.start_last,
            acquisition_fraction=share, **small,
        )  # fmt: skip
        return FactorLevel("start", "", cell)

    def _check(self) -> None:
        refuse_best(self)
        for key in ("arms", "start_arms", "recipe_seeds"):
            check_unique(key, getattr(self, key))
        check_datasets("datasets", self.datasets)
        check_datasets("recipes_dataset", (self.recipes_dataset,))
        check_datasets("start_dataset", (self.start_dataset,))
        for key in ("arms", "start_arms"):
            for arm in getattr(self, key):
                check_choice(key, arm, [*BUILT_IN, *CUSTOM_ARMS])
            strategies = set(getattr(self, key)) - set(ORACLES)
            if "random" not in strategies or len(strategies) < 2:
                raise ValueError(
                    f"{key} = {list(getattr(self, key))} must have random, the baseline, and a "
                    "strategy to hold against it: add what is missing"
                )
        for key in ("recipe_counts", "own_counts"):
            check_increasing(key, getattr(self, key))
        if lacking := set(self.recipe_counts) - set(self.own_counts):
            raise ValueError(
                f"recipe_counts = {list(self.recipe_counts)} has {min(lacking)}, which own_counts "
                "lacks, so that nothing could be compared there: add it to both"
            )
        self._check_ladder()
        self._check_start()

    def _check_ladder(self) -> None:
        if self.recipe_epochs <= self.epochs:
            raise ValueError(
                f"recipe_epochs = {self.recipe_epochs} is not more than epochs = {self.epochs}, "
                "and the first of the other recipes is to train longer: raise it"
            )
        for key, value in (("augmentation", "none"), ("optimiser", "adam"), ("stem", "7x7")):
            if getattr(self, key) != value:
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} is what one of the other recipes adds, so "
                    f"that there would be nothing to compare: set {value}"
                )

    def _check_start(self) -> None:
        first = self.start_first
        if self.start_batch_size > first:
            raise ValueError(
                f"start_batch_size = {self.start_batch_size} is larger than start_first = {first}, "
                "so nothing would be trained: lower it"
            )
        step, last = self.start_step, self.start_last
        if last < first + step:
            raise ValueError(
                f"start_last = {last} is not start_step = {step} or more above start_first = "
                f"{first}: raise it"
            )
        or_imbalance = f", or imbalance = {self.imbalance}" if self.imbalance > 1 else ""
        if last > self.pool_size(self.start_dataset):
            raise ValueError(
                f"start_last = {last} is more than the pool of {self.start_dataset} holds: lower "
                f"it{or_imbalance}"
            )
        counts = self._started("random", 0).cell.schedule_of_labels()
        if counts != list(range(first, counts[-1] + 1, step)):
            raise ValueError(
                f"start_step = {step} can't be kept up to start_last = {last} on "
                f"{self.start_dataset}: lower one of them{or_imbalance}"
            )
