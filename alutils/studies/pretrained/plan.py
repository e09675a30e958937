"""Frozen features of an encoder: what they are worth, and what choosing is worth on them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from alutils.protocol.arms import BUILT_IN, CUSTOM_ARMS, ORACLES, POSTER_ARMS
from alutils.protocol.cell import Cell, Count, Protocol
from alutils.protocol.datasets import DatasetName, dataset_title
from alutils.protocol.encoders import EncoderName
from alutils.protocol.parameters import check_choice, check_increasing, check_unique
from alutils.protocol.study import (
    FactorLevel,
    FactorStudy,
    Levels,
    check_datasets,
    refuse_best,
)

Ratio = Annotated[float, Field(gt=1)]
SCRATCH_RECIPE = ("epochs", "batch_size", "learning_rate", "schedule")
"""Fields that must have the poster's values for the scratch recipe to be the poster's."""
PARTS = ("few", "many")
"""Parts of the ranking: a start with few labels, and from where it ends to many."""
FEW_ARMS = (
    *POSTER_ARMS, "entropy", "kmeans-centre", "typiclust", "probcover", "coreset", "badge", "bald",
    "epig", "dropquery", "max-herding", "uherding", *ORACLES,
)  # fmt: skip
MANY_ARMS = (*POSTER_ARMS, "coreset", "badge", "dropquery", "uherding", *ORACLES)
"""A shorter list, as a round takes longer."""


def part_title(part: str, dataset: str, imbalance: float = 1.0) -> str:
    """A part of the ranking on a dataset in words, with the ratio if classes were made rare."""
    ratio = "" if imbalance == 1 else f", 1 : {imbalance:g}"
    return f"{dataset_title(dataset)}, {part} labels{ratio}"


class PretrainedStudy(FactorStudy):
    """Frozen features: what they are worth, and what choosing is worth on them.

    Arms with few labels, from ``few_first`` to ``few_last``, and with many, from ``first_labels``
    to ``last_labels`` (factors ``few`` and ``many``; the level is the imbalance).
    The head on nested random labels (``head``), and the network trained from scratch on nested
    random labels by its own recipe (``scratch``), as in Figure 2.
    """

    encoder: EncoderName = "efficientnet-lite0"
    datasets: Levels[DatasetName] = ("cifar10", "mnist", "fashion-mnist")
    few_arms: Levels[str] = FEW_ARMS
    few_first: Count = 10
    few_size: Count = 10
    few_last: Count = 200
    few_batch_size: Annotated[int, Field(ge=2)] = 10
    few_epochs: Count = 20
    few_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    many_arms: Levels[str] = MANY_ARMS
    first_labels: Count = 200
    acquisition_size: Count = 200
    last_labels: Count = 2000
    imbalances: tuple[Ratio, ...] = (10.0, 100.0)
    imbalanced_datasets: tuple[DatasetName, ...] = ("cifar10",)
    imbalanced_seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    head_counts: Levels[Count] = (100, 500, 2500)
    scratch_datasets: tuple[DatasetName, ...] = ("mnist", "cifar10")
    scratch_counts: Levels[Count] = (540, 840, 1240, 1490, 1990, 2990, 3990, 5490)
    scratch_seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    scratch_epochs: Count = 100
    scratch_batch_size: Annotated[int, Field(ge=2)] = 64
    scratch_learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    scratch_schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    scratch_precision: Literal["fp32", "bf16"] = "bf16"
    scratch_heldout_every: Annotated[int, Field(ge=0)] = 10

    def settings(self) -> list[FactorLevel]:
        """Every cell with what is varied in it, seed by seed; the network from scratch first."""
        self._check()
        every = [
            FactorLevel("scratch", "", self._scratch(name, seed))
            for seed in self.scratch_seeds
            for name in self.scratch_datasets
        ]
        for seed in dict.fromkeys((*self.seeds, *self.imbalanced_seeds)):
            if seed in self.seeds:
                every += [self._head(name, seed) for name in self.datasets]
                every += self._ranking(self.datasets, seed)
            if seed in self.imbalanced_seeds:
                for ratio in self.imbalances:
                    every += self._ranking(self.imbalanced_datasets, seed, ratio)
        return every

    @property
    def scratch_recipe(self) -> str:
        """What the network from scratch is trained by, in words."""
        own = {key: getattr(self, f"scratch_{key}") for key in SCRATCH_RECIPE}
        poster = {key: Protocol.model_fields[key].default for key in SCRATCH_RECIPE}
        return "the poster's recipe" if own == poster else "a recipe of its own"

    def arms_of(self, part: str) -> tuple[str, ...]:
        """The arms of a part of the ranking."""
        return self.few_arms if part == "few" else self.many_arms

    def _ranking(
        self, datasets: tuple[str, ...], seed: int, imbalance: float = 1.0
    ) -> list[FactorLevel]:
        """One seed of both parts."""
        return [
            self._ranked(part, name, arm, seed, imbalance)
            for part in PARTS
            for name in datasets
            for arm in self.arms_of(part)
        ]

    def _ranked(
        self, part: str, dataset: str, arm: str, seed: int, imbalance: float
    ) -> FactorLevel:
        """One arm of one part of the ranking."""
        if part == "few":
            first, size, last = self.few_first, self.few_size, self.few_last
            changes: dict[str, Any] = {
                "batch_size": self.few_batch_size,
                "epochs": self.few_epochs,
                "learning_rate": self.few_learning_rate,
            }
        else:
            first, size, last = self.first_labels, self.acquisition_size, self.last_labels
            changes = {}
        changes |= {"acquisition_size": size, "imbalance": imbalance}
        cell = self._arm_cell("pretrained", dataset, arm, seed, first, last, **changes)
        return FactorLevel(part, imbalance, cell)

    def _head(self, dataset: str, seed: int) -> FactorLevel:
        cell = self._sizes_cell("pretrained", dataset, seed, self.head_counts, stop_set=0)
        return FactorLevel("head", "", cell)

    def _scratch(self, dataset: str, seed: int) -> Cell:
        """The network from scratch: a cell of Figure 2, so that the two share a record."""
        recipe = {
            "epochs": self.scratch_epochs,
            "batch_size": self.scratch_batch_size,
            "learning_rate": self.scratch_learning_rate,
            "schedule": self.scratch_schedule,
            "precision": self.scratch_precision,
            "heldout_every": self.scratch_heldout_every,
            "heldout_fraction": self.heldout_fraction,
        }
        neutral = {key: field.default for key, field in Protocol.model_fields.items()}
        return self._sizes_cell(2, dataset, seed, self.scratch_counts, **(neutral | recipe))

    def _check(self) -> None:
        refuse_best(self)
        check_datasets("datasets", self.datasets)
        check_datasets("imbalanced_datasets", self.imbalanced_datasets)
        check_datasets("scratch_datasets", self.scratch_datasets)
        keys = ("few_arms", "many_arms", "imbalances", "imbalanced_seeds", "scratch_seeds")
        for key in keys:
            check_unique(key, getattr(self, key))
        for key in ("head_counts", "scratch_counts"):
            check_increasing(key, getattr(self, key))
        for key in ("few_arms", "many_arms"):
            self._check_arms(key)
        self._check_few()
        self._check_scratch()
        if self.imbalance > 1:
            raise ValueError(
                f"imbalance = {self.imbalance} is what this study varies: set it to 1, and name "
                "the ratios in imbalances"
            )

    def _check_arms(self, key: str) -> None:
        arms = getattr(self, key)
        for arm in arms:
            check_choice(key, arm, [*BUILT_IN, *CUSTOM_ARMS])
        if "random" not in arms or len(set(arms) - set(ORACLES)) < 2:
            raise ValueError(
                f"{key} = {list(arms)} must have random, the baseline, and a strategy to hold "
                "against it: add what is missing"
            )

    def _check_few(self) -> None:
        first, size, last = self.few_first, self.few_size, self.few_last
        if self.few_batch_size > first:
            raise ValueError(
                f"few_batch_size = {self.few_batch_size} is larger than few_first = {first}, so "
                "nothing would be trained: lower it"
            )
        if last < first + size:
            raise ValueError(
                f"few_last = {last} is not few_size = {size} or more above few_first = {first}: "
                "raise it"
            )

    def _check_scratch(self) -> None:
        fewest, every = self.scratch_counts[0], self.scratch_heldout_every
        if self.scratch_batch_size > fewest:
            raise ValueError(
                f"scratch_batch_size = {self.scratch_batch_size} is larger than the first of "
                f"scratch_counts, {fewest}, so nothing would be trained: lower it"
            )
        if every > self.scratch_epochs:
            raise ValueError(
                f"scratch_heldout_every = {every} is more than scratch_epochs = "
                f"{self.scratch_epochs}, so the held-out set would never be judged: lower it, or "
                "set 0"
            )
        if self.reported != "test" and not every:
            raise ValueError(
                f"reported = {self.reported!r} needs scratch_heldout_every above 0, as the network "
                "from scratch is judged by it too"
            )
