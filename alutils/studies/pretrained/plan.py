"""Frozen features of an encoder: what they are worth, and what choosing is worth on them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from alutils.protocol.arms import BUILT_IN, CUSTOM_ARMS
from alutils.protocol.cell import Cell, Count, Protocol
from alutils.protocol.parameters import increasing, known, no_duplicates
from alutils.protocol.study import (
    Levels,
    Setting,
    SettingsStudy,
    check_datasets,
    refuse_best,
)

Ratio = Annotated[float, Field(gt=1)]
PARTS = ("few", "many")
"""Parts of the ranking: a start with few labels, and from where it ends to many."""


class PretrainedStudy(SettingsStudy):
    """Frozen features: what they are worth, and what choosing is worth on them.

    Every arm with few labels, from ``few_first`` to ``few_last``, and with many, from
    ``first_labels`` to ``last_labels`` (factors ``few`` and ``many``; the level is the imbalance).
    The head on nested random labels (``head``), beside the network trained from scratch by the
    poster's recipe on labels of its own (``scratch``), the training sizes of Figure 2.
    """

    encoder: Literal["efficientnet-lite0", "resnet18"] = "efficientnet-lite0"
    datasets: Levels[str] = ("cifar10", "mnist", "fashion-mnist")
    arms: Levels[str] = BUILT_IN
    few_first: Count = 10
    few_size: Count = 10
    few_last: Count = 200
    few_batch_size: Annotated[int, Field(ge=2)] = 10
    few_epochs: Count = 20
    few_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    first_labels: Count = 200
    acquisition_size: Count = 200
    last_labels: Count = 2000
    imbalances: tuple[Ratio, ...] = (10.0, 100.0)
    imbalanced_datasets: tuple[str, ...] = ("cifar10",)
    head_counts: Levels[Count] = (100, 500, 2500)
    scratch_datasets: tuple[str, ...] = ("mnist", "cifar10")
    scratch_counts: Levels[Count] = (540, 840, 1240, 1490, 1990, 2990, 3990, 5490)
    scratch_seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    scratch_epochs: Count = 100
    scratch_batch_size: Annotated[int, Field(ge=2)] = 64
    scratch_learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    scratch_schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    scratch_precision: Literal["fp32", "bf16"] = "bf16"
    scratch_heldout_every: Annotated[int, Field(ge=0)] = 10

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it, seed by seed; the network from scratch first."""
        self._check()
        every = [
            Setting("scratch", "", self._scratch(name, seed))
            for seed in self.scratch_seeds
            for name in self.scratch_datasets
        ]
        for seed in self.seeds:
            every += [self._head(name, seed) for name in self.datasets]
            for part, arm in ((part, arm) for part in PARTS for arm in self.arms):
                every += [self.ranked(part, name, arm, seed) for name in self.datasets]
                every += [
                    self.ranked(part, name, arm, seed, ratio)
                    for name in self.imbalanced_datasets
                    for ratio in self.imbalances
                ]
        return every

    def ranked(
        self, part: str, dataset: str, arm: str, seed: int, imbalance: float = 1.0
    ) -> Setting:
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
        return Setting(part, imbalance, cell)

    def _head(self, dataset: str, seed: int) -> Setting:
        cell = self._sizes_cell("pretrained", dataset, seed, self.head_counts, stop_set=0)
        return Setting("head", "", cell)

    def _scratch(self, dataset: str, seed: int) -> Cell:
        """The network from scratch: a cell of Figure 2, so that the two share their record."""
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
        for key in ("arms", "imbalances", "scratch_seeds"):
            no_duplicates(key, getattr(self, key))
        for key in ("head_counts", "scratch_counts"):
            increasing(key, getattr(self, key))
        for arm in self.arms:
            known("arms", arm, [*BUILT_IN, *CUSTOM_ARMS])
        if "random" not in self.arms or len(self.arms) < 2:
            raise ValueError(
                f"arms = {list(self.arms)} must have random, the baseline, and an arm to hold "
                "against it: add what is missing"
            )
        if self.imbalance > 1:
            raise ValueError(
                f"imbalance = {self.imbalance} is what this study varies: set it to 1, and name "
                "the ratios in imbalances"
            )
