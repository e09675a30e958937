"""Studies that compare: the reductions with the poster's values, and what lies beyond it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from alutils.parameters import increasing, known, no_duplicates
from alutils.plans import CUSTOM_ARMS, Seeds, Study, check_datasets
from alutils.protocol import ARMS, BUILT_IN, DATASETS, FURTHER, Cell, Count, Rounds, Share
from alutils.settings import Levels, Setting, SettingsStudy

REPLICA = {
    "adam_state": "rounds",
    "dropout": 0.0,
    "mc_passes": 10,
    "mc_score": "mutual-information",
}
"""The authors' own protocol, where it departs from the poster's in how a network is trained."""
REPLICA_ARMS = ("uncertainty", "random")
"""The arm that ran first in the authors' code, so that no other arm's state is in it; and ours."""
CROPS = {"augmentation": "crop-flip"}
LADDER: dict[str, dict[str, Any]] = {
    "longer": {},
    "augmentation": CROPS,
    "SGD": CROPS
    | {"optimiser": "sgd", "learning_rate": 0.01, "schedule": "cosine", "weight_decay": 5e-4},
    "3x3 stem": CROPS | {"stem": "3x3"},
}
"""Better recipes, rung by rung, each trained longer than the study's own.

Crops, mirroring and the stem are those of He et al. (arXiv 1512.03385) on CIFAR-10. SGD's rate,
and that the stem goes with Adam, were decided on held-out data (``recipe``).
"""


class ReductionsStudy(SettingsStudy):
    """What each reduction is worth: beside the poster's own value, all else equal.

    The study's own protocol is the poster's. On nested random labels (``label_counts``): Adam's
    state fresh or carried from size to size, the recipe the poster's or the reduced one. Arm by
    arm, to about ``last_labels`` of ``arms_dataset``: what margin asks for under either recipe,
    the share labelled at a time, and a piece of the authors' own protocol.
    """

    datasets: Levels[str] = ("mnist", "cifar10")
    label_counts: Levels[Count] = (540, 840, 1240, 1490, 1990, 2990, 3990, 5490)
    arms_dataset: str = "mnist"
    first_labels: Count = 540
    last_labels: Rounds = 2000
    acquisition_fraction: Share = 0.0098
    fine_fraction: Share = 0.001
    heldout_every: Annotated[int, Field(ge=0)] = 10
    reduced_epochs: Count = 20
    reduced_schedule: Literal["constant", "one-cycle", "cosine"] = "one-cycle"
    reduced_learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    replica_seeds: Seeds = (42,)

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it; within a seed, random labels come first."""
        self._check()
        sized = [one for s in self.seeds for name in self.datasets for one in self._sized(name, s)]
        return [*sized, *(one for s in self.seeds for one in self._by_arm(s)), *self._replica()]

    @property
    def reduced_recipe(self) -> dict[str, Any]:
        """The fields of a cell's protocol that make the reduced recipe."""
        return {
            "epochs": self.reduced_epochs,
            "schedule": self.reduced_schedule,
            "learning_rate": self.reduced_learning_rate,
        }

    def _sized(self, dataset: str, seed: int) -> list[Setting]:
        sizes = self.label_counts
        poster = self._sizes_cell(2, dataset, seed, sizes)
        carried = self._sizes_cell("reductions", dataset, seed, sizes, adam_state="rounds")
        reduced = self._sizes_cell("reductions", dataset, seed, sizes, **self.reduced_recipe)
        return [
            Setting("optimiser", "fresh", poster),
            Setting("optimiser", "carried", carried),
            Setting("recipe", "poster", poster),
            Setting("recipe", "reduced", reduced),
        ]

    def _by_arm(self, seed: int) -> list[Setting]:
        coarse, fine, reduced = self.acquisition_fraction, self.fine_fraction, self.reduced_recipe
        varied: list[tuple[str, float | str, float, dict[str, Any], tuple[str, ...]]] = [
            ("picks", "poster", coarse, {}, ("random", "margin")),
            ("picks", "reduced", coarse, reduced, ("random", "margin")),
            ("acquisition", coarse, coarse, reduced, ("random", "margin", "uncertainty")),
            ("acquisition", fine, fine, reduced, ("random", "margin", "uncertainty")),
        ]
        return [
            Setting(factor, level, self._cell(arm, seed, share, changes))
            for factor, level, share, changes, arms in varied
            for arm in arms
        ]

    def _replica(self) -> list[Setting]:
        return [
            Setting("replica", "", self._cell(arm, seed, self.fine_fraction, REPLICA))
            for seed in self.replica_seeds
            for arm in REPLICA_ARMS
        ]

    def _cell(self, arm: str, seed: int, share: float, changes: dict[str, Any]) -> Cell:
        first, last = self.first_labels, self.last_labels
        return self._arm_cell(
            "reductions", self.arms_dataset, arm, seed, first, share, last, **changes
        )

    def _check(self) -> None:
        no_duplicates("replica_seeds", self.replica_seeds)
        check_datasets("datasets", self.datasets)
        check_datasets("arms_dataset", (self.arms_dataset,))
        increasing("label_counts", self.label_counts)
        _refuse_best(self)
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


class BeyondStudy(SettingsStudy):
    """Strategies and recipes beyond the poster's.

    Every arm from ``first_labels`` to about ``last_labels`` (``ranking``); better recipes on random
    labels, each rung with what the rungs before it have, beside the study's own recipe on more
    labels (``recipe``); and few labels, trained in small batches (``start``).
    """

    datasets: Levels[str] = ("mnist", "cifar10")
    arms: Levels[str] = (*ARMS, "entropy", *(arm for arm in FURTHER if arm != "batchbald"))
    first_labels: Count = 540
    acquisition_fraction: Share = 0.0098
    last_labels: Rounds = 2700
    recipes_dataset: str = "cifar10"
    recipe_counts: Levels[Count] = (990, 2490, 4990)
    recipe_seeds: Seeds = (0, 1, 2)
    recipe_epochs: Count = 150
    own_counts: Levels[Count] = (540, 990, 2490, 4990, 10_000, 20_000)
    start_dataset: str = "mnist"
    start_arms: Levels[str] = ("random", "margin", "typiclust", "probcover", "coreset", "badge")
    start_first: Count = 20
    start_step: Count = 20
    start_last: Rounds = 200
    start_batch_size: Annotated[int, Field(ge=2)] = 10
    start_epochs: Count = 50

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it, the ranking first."""
        self._check()
        every: list[Setting] = []
        for seed in self.seeds:
            every += [self._ranked(name, arm, seed) for name in self.datasets for arm in self.arms]
        for seed in self.recipe_seeds:
            every += self._recipes(seed)
        for seed in self.seeds:
            every += [self._started(arm, seed) for arm in self.start_arms]
        return every

    def _ranked(self, dataset: str, arm: str, seed: int) -> Setting:
        first, share, last = self.first_labels, self.acquisition_fraction, self.last_labels
        cell = self._arm_cell("beyond", dataset, arm, seed, first, share, last)
        return Setting("ranking", "", cell)

    def _recipes(self, seed: int) -> list[Setting]:
        own = self._sizes_cell("beyond", self.recipes_dataset, seed, self.own_counts)
        rungs = [Setting("recipe", "own", own)]
        for name, changes in LADDER.items():
            if not DATASETS[self.recipes_dataset].crops:
                if changes == CROPS:
                    continue
                changes = {key: changes[key] for key in changes.keys() - CROPS.keys()}
            cell = self._sizes_cell(
                "beyond", self.recipes_dataset, seed, self.recipe_counts,
                epochs=self.recipe_epochs, **changes,
            )  # fmt: skip
            rungs.append(Setting("recipe", name, cell))
        return rungs

    def _started(self, arm: str, seed: int) -> Setting:
        facts = DATASETS[self.start_dataset]
        unlabelled = facts.pool(self.heldout_fraction) - self.start_first
        share = (self.start_step + 0.5) / unlabelled
        small = {"batch_size": self.start_batch_size, "epochs": self.start_epochs}
        cell = self._arm_cell(
            "start",
            self.start_dataset,
            arm,
            seed,
            self.start_first,
            share,
            self.start_last,
            **small,
        )
        return Setting("start", "", cell)

    def _check(self) -> None:
        _refuse_best(self)
        for key in ("arms", "start_arms", "recipe_seeds"):
            no_duplicates(key, getattr(self, key))
        check_datasets("datasets", self.datasets)
        check_datasets("recipes_dataset", (self.recipes_dataset,))
        check_datasets("start_dataset", (self.start_dataset,))
        for key in ("arms", "start_arms"):
            for arm in getattr(self, key):
                known(key, arm, [*BUILT_IN, *CUSTOM_ARMS])
            if "random" not in getattr(self, key) or len(getattr(self, key)) < 2:
                raise ValueError(
                    f"{key} = {list(getattr(self, key))} must have random, the baseline, and an "
                    "arm to hold against it: add what is missing"
                )
        for key in ("recipe_counts", "own_counts"):
            increasing(key, getattr(self, key))
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
                "and the first of the better recipes is to train longer: raise it"
            )
        for key, value in (("augmentation", "none"), ("optimiser", "adam"), ("stem", "7x7")):
            if getattr(self, key) != value:
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} is what one of the better recipes adds, so "
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
        if last > DATASETS[self.start_dataset].pool(self.heldout_fraction):
            raise ValueError(
                f"start_last = {last} is more than the pool of {self.start_dataset} holds: lower it"
            )
        counts = self._started("random", 0).cell.schedule_of_labels()
        if counts != list(range(first, counts[-1] + 1, step)):
            raise ValueError(
                f"start_step = {step} can't be kept up to start_last = {last} on "
                f"{self.start_dataset}: lower one of them"
            )


def _refuse_best(study: Study) -> None:
    """Refuse to compare recipes by the best of their evaluations: they have not equally many."""
    if study.reported == "heldout-best":
        raise ValueError(
            "reported = 'heldout-best' is the best of more evaluations where a training is longer, "
            "so it compares no recipes: use test or heldout-last"
        )
