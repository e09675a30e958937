"""What the authors' evaluation and optimiser add to accuracy: ``python -m alutils ablation``.

Each way in which the authors' training departs from the poster's protocol is switched alone, on
pieces small enough for a CPU: trained as the poster does, 100 epochs at a constant rate, at two
label counts. Its effect is a difference paired by seed. Their evaluation is described beside it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from alutils.protocol.cell import Cell, Count
from alutils.protocol.study import Seeds, Study
from alutils.records.tidy import read
from alutils.reporting.statistics import Estimate, estimate

CHOOSING_BY_MARGIN = "choosing by margin"
"""Name of the effect that is margin minus random labels, all else being the poster's."""
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
        """The cells by a name of variant, dataset and seed."""
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
        unlabelled = self.pool_size(dataset) - self.first_labels
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


def results(study: AblationStudy) -> pd.DataFrame:
    """A row per round, with its ``variant``, of the seeds that have finished every variant."""
    names = {cell.name: key.split("/")[0] for key, cell in study.variants().items()}
    rows = read(study)
    return rows if rows.empty else rows.assign(variant=rows["record"].map(names))


@dataclass(frozen=True)
class Effect:
    """What one change alone does to accuracy (points) on one dataset at one label count."""

    dataset: str
    labels: int
    what: str
    estimate: Estimate


def effects(results: pd.DataFrame) -> list[Effect]:
    """The effect of every change, from the table that ``results`` gives; none of an empty one."""
    every: list[Effect] = []
    if results.empty:
        return every
    for dataset, rows in results.groupby("dataset", sort=False):
        first, last = rows["labels"].min(), rows["labels"].max()
        for labels in (first, last):
            accuracies = _Accuracies(rows[rows["labels"] == labels])
            for what, difference in _differences(accuracies, labels == first).items():
                every.append(Effect(dataset, int(labels), what, estimate(difference)))
    return every


def evaluation(results: pd.DataFrame, dataset: str) -> tuple[pd.Series, pd.Series]:
    """Random labels at the last count, by seed: best minus last evaluation, held-out minus test.

    In points. Both only describe, and are not tested: the first can't be negative, and the second
    compares accuracies on different images.
    """
    at = _at_the_end(results, dataset)
    return at.best("random") - at.last("random"), at.last("random") - at.test("random")


def contributions(results: pd.DataFrame, dataset: str) -> dict[str, Estimate]:
    """The difference as the authors would measure it at the last count, and what it consists of.

    Margin with a carried Adam against random with a fresh one, both by the best of the held-out
    evaluations: that is the sum of what choosing labels, the optimiser's state and the evaluation
    contribute, seed by seed.
    """
    at = _at_the_end(results, dataset)
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
        rows = self.rows[self.rows["variant"] == variant]
        rows = rows[rows["arm"] == arm] if arm else rows
        return 100 * rows.set_index("seed")[column]


def _at_the_end(results: pd.DataFrame, dataset: str) -> _Accuracies:
    """The accuracies of a dataset at its last label count."""
    rows = results[results["dataset"] == dataset]
    return _Accuracies(rows[rows["labels"] == rows["labels"].max()])


def _differences(at: _Accuracies, first: bool) -> dict[str, pd.Series]:
    """What each change does to accuracy, by seed, at the ``first`` label count or the last."""
    differences = {"no dropout": at.test("random without dropout") - at.test("random")}
    if first:
        after = at.test("arms in sequence", "uncertainty")
        return differences | {"Adam carried from another arm": after - at.test("random")}
    noise, without = at.test("bayesian without dropout"), at.test("random without dropout")
    return differences | {
        "Adam carried from the round before": at.test("random, Adam carried") - at.test("random"),
        CHOOSING_BY_MARGIN: at.test("margin") - at.test("random"),
        "choosing by margin, Adam carried": at.test("arms in sequence", "margin")
        - at.test("random, Adam carried"),
        "choosing by MC-dropout entropy": at.test("bayesian") - at.test("random"),
        "choosing by the score that is rounding noise": noise - without,
    }


def studies() -> list[AblationStudy]:
    """The study, alone."""
    return [AblationStudy()]


def main() -> None:
    """Run what is missing."""
    from alutils.running import run

    run.run_all(studies())
