"""Each reduction compared with the poster's own value."""

from typing import Annotated, Any, Literal

from pydantic import Field

from alutils.protocol.cell import Cell, Count, Share
from alutils.protocol.datasets import DatasetName
from alutils.protocol.parameters import check_increasing, check_unique
from alutils.protocol.study import (
    FactorLevel,
    FactorStudy,
    Levels,
    Seeds,
    Study,
    check_datasets,
    refuse_best,
)

REPLICA = {
    "adam_state": "rounds",
    "dropout": 0.0,
    "mc_passes": 10,
    "mc_score": "mutual-information",
}
"""The authors' own protocol, where it departs from the poster's in how a network is trained."""
REPLICA_ARMS = ("uncertainty", "random")
"""Uncertainty ran first in the authors' code, so it has no other arm's state; random is ours."""


class ReductionsStudy(FactorStudy):
    """What each reduction is worth, compared with the poster's own value, all else being equal.

    The study's own protocol is the poster's. On nested random labels (``label_counts``): Adam's
    state fresh or carried from size to size, the recipe the poster's or the reduced one. Arm by
    arm, to about ``last_labels`` of ``arms_dataset``: what margin asks for under either recipe,
    the share labelled at a time, and a piece of the authors' own protocol.
    """

    datasets: Levels[DatasetName] = ("mnist", "cifar10")
    label_counts: Levels[Count] = (540, 840, 1240, 1490, 1990, 2990, 3990, 5490)
    arms_dataset: DatasetName = "mnist"
    first_labels: Count = 540
    last_labels: Count = 2000
    acquisition_fraction: Share = 0.0098
    fine_fraction: Share = 0.001
    heldout_every: Annotated[int, Field(ge=0)] = 10
    reduced_epochs: Count = 20
    reduced_schedule: Literal["constant", "one-cycle", "cosine"] = "one-cycle"
    reduced_learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    replica_seeds: Seeds = (42,)

    def settings(self) -> list[FactorLevel]:
        """Every cell with what is varied in it; within a seed, random labels come first."""
        self._check()
        sized = [
            each for s in self.seeds for name in self.datasets for each in self._sized(name, s)
        ]
        return [*sized, *(each for s in self.seeds for each in self._by_arm(s)), *self._replica()]

    def related(self) -> list[Study]:
        """The studies of other profiles that the notebook reports on."""
        from alutils.studies.reductions import other_profiles
        from alutils.studies.transfer import effects

        return [*effects.studies_read(), *other_profiles.studies_read()]

    @property
    def reduced_recipe(self) -> dict[str, Any]:
        """The fields of a cell's protocol that make the reduced recipe."""
        return {
            "epochs": self.reduced_epochs,
            "schedule": self.reduced_schedule,
            "learning_rate": self.reduced_learning_rate,
        }

    def _sized(self, dataset: str, seed: int) -> list[FactorLevel]:
        sizes = self.label_counts
        poster = self._sizes_cell(2, dataset, seed, sizes)
        carried = self._sizes_cell("reductions", dataset, seed, sizes, adam_state="rounds")
        reduced = self._sizes_cell("reductions", dataset, seed, sizes, **self.reduced_recipe)
        return [
            FactorLevel("optimiser", "fresh", poster),
            FactorLevel("optimiser", "carried", carried),
            FactorLevel("recipe", "poster", poster),
            FactorLevel("recipe", "reduced", reduced),
        ]

    def _by_arm(self, seed: int) -> list[FactorLevel]:
        coarse, fine, reduced = self.acquisition_fraction, self.fine_fraction, self.reduced_recipe
        varied: list[tuple[str, float | str, float, dict[str, Any], tuple[str, ...]]] = [
            ("picks", "poster", coarse, {}, ("random", "margin")),
            ("picks", "reduced", coarse, reduced, ("random", "margin")),
            ("acquisition", coarse, coarse, reduced, ("random", "margin", "uncertainty")),
            ("acquisition", fine, fine, reduced, ("random", "margin", "uncertainty")),
        ]
        return [
            FactorLevel(factor, level, self._cell(arm, seed, share, changes))
            for factor, level, share, changes, arms in varied
            for arm in arms
        ]

    def _replica(self) -> list[FactorLevel]:
        return [
            FactorLevel("replica", "", self._cell(arm, seed, self.fine_fraction, REPLICA))
            for seed in self.replica_seeds
            for arm in REPLICA_ARMS
        ]

    def _cell(self, arm: str, seed: int, share: float, changes: dict[str, Any]) -> Cell:
        first, last = self.first_labels, self.last_labels
        return self._arm_cell(
            "reductions", self.arms_dataset, arm, seed, first, last,
            acquisition_fraction=share, **changes,
        )  # fmt: skip

    def _check(self) -> None:
        check_unique("replica_seeds", self.replica_seeds)
        check_datasets("datasets", self.datasets)
        check_datasets("arms_dataset", (self.arms_dataset,))
        check_increasing("label_counts", self.label_counts)
        refuse_best(self)
        if not self.heldout_every:
            raise ValueError(
                "heldout_every = 0 judges nothing by the authors' rule: set the epochs between "
                "evaluations on the held-out set (theirs: 10)"
            )
        for key, value in (("adam_state", "fresh"), ("optimiser", "adam")):
            if getattr(self, key) != value:
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} leaves nothing to compare, as the study runs "
                    f"Adam with fresh and with carried state: set {value}"
                )
        if self.fine_fraction >= self.acquisition_fraction:
            raise ValueError(
                f"fine_fraction = {self.fine_fraction} is not below acquisition_fraction = "
                f"{self.acquisition_fraction}: lower it"
            )
