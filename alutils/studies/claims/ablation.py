"""What the authors' evaluation and optimiser are worth: ``python -m alutils ablation``.

Each way in which the authors' training departs from the poster's protocol is switched alone, on
pieces small enough for a CPU: trained as the poster does, 100 epochs at a constant rate, at two
label counts. Its effect is a difference paired by seed. Their evaluation is described beside it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from alutils.protocol.cell import Cell, Count
from alutils.protocol.datasets import DATASETS
from alutils.protocol.study import Seeds, Study
from alutils.records.store import Store
from alutils.records.tidy import complete, table
from alutils.reporting.statistics import Estimate, estimate

MARGIN = "choosing by margin"
"""What margin's picks are worth, alone."""
NOISE = {"dropout": 0.0, "mc_passes": 10, "mc_score": "mutual-information"}
"""The authors' Bayesian arm: equal passes, and a score that is zero up to rounding."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "margin": ("margin", {}),
    "bayesian": ("bayesian", {}),
    "random without dropout": ("random", NOISE),
    "bayesian without dropout": ("bayesian", NOISE),
    "random, Adam carried": ("random", {"adam_state": "rounds"}),
    "arms in sequence": ("sequence", {"adam_state": "arms", "sequence": ("margin", "uncertainty")}),
}


class AblationStudy(Study):
    """Two rounds of every variant: the first labels, and one acquisition up to the last count."""

    profile: str = "ablation"
    datasets: tuple[str, ...] = ("mnist", "cifar10")
    precision: Literal["fp32", "bf16"] = "bf16"
    heldout_every: int = 10
    first_labels: Count = 540
    last_labels: Count = 1490
    seeds: Seeds = (0, 1, 2)

    def variants(self) -> dict[str, Cell]:
        """The cells by a name that is theirs alone: variant, dataset and seed."""
        return {
            f"{variant}/{dataset}/{seed}": self._cell(dataset, seed, arm, changes)
            for seed in self.seeds
            for dataset in self.datasets
            for variant, (arm, changes) in VARIANTS.items()
        }

    def cells(self) -> list[Cell]:
        """One cell a seed, dataset and variant."""
        return list(self.variants().values())

    def _cell(self, dataset: str, seed: int, arm: str, changes: dict[str, Any]) -> Cell:
        unlabelled = DATASETS[dataset].pool(self.heldout_fraction) - self.first_labels
        return Cell(
            figure="ablation",
            dataset=dataset,
            arm=arm,
            seed=seed,
            first_labels=self.first_labels,
            acquisition_fraction=(self.last_labels - self.first_labels + 0.5) / unlabelled,
            rounds=2,
            **(self._protocol() | changes),
        )


def results(plan: AblationStudy) -> pd.DataFrame:
    """A row per round, with its ``variant``, of the seeds that have finished every variant."""
    names = {cell.name: key.split("/")[0] for key, cell in plan.variants().items()}
    cells = plan.cells()
    found = complete(table(Store(plan.profile), cells, plan.reported), cells)
    return found if found.empty else found.assign(variant=found["record"].map(names))


@dataclass(frozen=True)
class Effect:
    """What one switch is worth on one dataset at one label count, in points of accuracy."""

    dataset: str
    labels: int
    what: str
    estimate: Estimate


def effects(found: pd.DataFrame) -> list[Effect]:
    """The effect of every switch, from the table that ``results`` gives; none of an empty one."""
    told: list[Effect] = []
    if found.empty:
        return told
    for dataset, own in found.groupby("dataset", sort=False):
        first, last = own["labels"].min(), own["labels"].max()
        at = {count: _Accuracies(own[own["labels"] == count]) for count in (first, last)}
        for count, values in at.items():
            pairs = _switches(values, count == first)
            told += [Effect(dataset, int(count), what, estimate(v)) for what, v in pairs.items()]
    return told


def evaluation(found: pd.DataFrame, dataset: str) -> tuple[pd.Series, pd.Series]:
    """Random labels at the last count, by seed: best minus last evaluation, held-out minus test.

    In points. The first can't be negative, and the second compares other images: they describe, and
    are held against nothing.
    """
    at = _at_the_end(found, dataset)
    return at.best("random") - at.last("random"), at.last("random") - at.test("random")


def parts(found: pd.DataFrame, dataset: str) -> dict[str, Estimate]:
    """The difference as the authors would measure it at the last count, and what it consists of.

    Margin with a carried Adam against random with a fresh one, both by the best of the held-out
    evaluations: that is the sum of what choosing labels, the optimiser's state and the evaluation
    contribute, seed by seed.
    """
    at = _at_the_end(found, dataset)
    carried, fresh, random = (
        at.test("arms in sequence", "margin"),
        at.test("margin"),
        at.test("random"),
    )
    best = at.best("arms in sequence", "margin") - at.best("random")
    return {
        "as the authors measure it": estimate(best),
        "choosing labels": estimate(fresh - random),
        "optimiser state": estimate(carried - fresh),
        "evaluation": estimate(best - (carried - random)),
    }


class _Accuracies:
    """Accuracy (%) by seed at one label count, by variant, arm and rule."""

    def __init__(self, rows: pd.DataFrame):
        self.rows = rows

    def test(self, variant: str, arm: str = "") -> pd.Series:
        return self._of("test_accuracy", variant, arm)

    def best(self, variant: str, arm: str = "") -> pd.Series:
        return self._of("heldout_best", variant, arm)

    def last(self, variant: str, arm: str = "") -> pd.Series:
        return self._of("heldout_last", variant, arm)

    def _of(self, column: str, variant: str, arm: str) -> pd.Series:
        own = self.rows[self.rows["variant"] == variant]
        own = own[own["arm"] == arm] if arm else own
        return 100 * own.set_index("seed")[column]


def _at_the_end(found: pd.DataFrame, dataset: str) -> _Accuracies:
    """The accuracies of a dataset at its last label count."""
    own = found[found["dataset"] == dataset]
    return _Accuracies(own[own["labels"] == own["labels"].max()])


def _switches(at: _Accuracies, first: bool) -> dict[str, pd.Series]:
    found = {"no dropout": at.test("random without dropout") - at.test("random")}
    if first:
        after = at.test("arms in sequence", "uncertainty")
        return found | {"Adam carried from another arm": after - at.test("random")}
    noise, without = at.test("bayesian without dropout"), at.test("random without dropout")
    return found | {
        "Adam carried from the round before": at.test("random, Adam carried") - at.test("random"),
        MARGIN: at.test("margin") - at.test("random"),
        "choosing by margin, Adam carried": at.test("arms in sequence", "margin")
        - at.test("random, Adam carried"),
        "choosing by MC-dropout entropy": at.test("bayesian") - at.test("random"),
        "choosing by the score that is rounding noise": noise - without,
    }


def main() -> None:
    """Run what is missing."""
    from alutils.running import run

    run.run(AblationStudy())
    run.finish(AblationStudy())
