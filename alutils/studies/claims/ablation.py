"""What the authors' evaluation and optimiser add to accuracy: ``python -m alutils ablation``.

Each departure of the authors' training from the poster's protocol is switched on alone, in runs
small enough for a CPU: trained as on the poster, 100 epochs at a constant rate, at two label
counts. Its effect is a difference paired by seed. Their evaluation is only described.
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
"""The authors' Bayesian arm: identical passes, and a score that is zero up to rounding."""
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
        """The cells, keyed by ``variant/dataset/seed``."""
        return {
            f"{variant}/{dataset}/{seed}": self._cell(dataset, seed, arm, changes)
            for seed in self.seeds
            for dataset in self.datasets
            for variant, (arm, changes) in VARIANTS.items()
        }

    def cells(self) -> list[Cell]:
        """One cell per seed, dataset and variant."""
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
    """The effect of every change, from the table that ``results`` gives; none if it is empty."""
    every: list[Effect] = []
    if results.empty:
        return every
    for dataset, rows in results.groupby("dataset", sort=False):
        first, last = rows["labels"].min(), rows["labels"].max()
        for labels in (first, last):
            at = rows[rows["labels"] == labels]
            for what, difference in _differences(at, labels == first).items():
                every.append(Effect(dataset, int(labels), what, estimate(difference)))
    return every


def evaluation(results: pd.DataFrame, dataset: str) -> tuple[pd.Series, pd.Series]:
    """Random labels at the last count, by seed: best minus last evaluation, held-out minus test.

    In points. Both only describe, and are not tested: the first can't be negative, and the second
    compares accuracies on different images.
    """
    at = _at_the_end(results, dataset)
    best, last = (_accuracy(at, "random", column) for column in ("heldout_best", "heldout_last"))
    return best - last, last - _accuracy(at, "random")


def contributions(results: pd.DataFrame, dataset: str) -> dict[str, Estimate]:
    """The difference as the authors would measure it at the last count, and its parts.

    Margin with a carried Adam minus random with a fresh one, both by their best held-out
    evaluation: seed by seed, this is the sum of the contributions of choosing labels, optimiser
    state and evaluation.
    """
    at = _at_the_end(results, dataset)
    carried = _accuracy(at, "arms in sequence", arm="margin")
    fresh, random = _accuracy(at, "margin"), _accuracy(at, "random")
    best = _accuracy(at, "arms in sequence", "heldout_best", "margin") - _accuracy(
        at, "random", "heldout_best"
    )
    return {
        "as the authors measure it": estimate(best),
        "choosing labels": estimate(fresh - random),
        "optimiser state": estimate(carried - fresh),
        "evaluation": estimate(best - (carried - random)),
    }


def _accuracy(
    rows: pd.DataFrame, variant: str, column: str = "test_accuracy", arm: str = ""
) -> pd.Series:
    """Accuracy (%) of a variant by seed, from the rows of a dataset at one label count."""
    rows = rows[rows["variant"] == variant]
    rows = rows[rows["arm"] == arm] if arm else rows
    return 100 * rows.set_index("seed")[column]


def _at_the_end(results: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of a dataset at its last label count."""
    rows = results[results["dataset"] == dataset]
    return rows[rows["labels"] == rows["labels"].max()]


def _differences(at: pd.DataFrame, first: bool) -> dict[str, pd.Series]:
    """What each change does to accuracy, by seed, at the ``first`` label count or the last."""
    random, without = _accuracy(at, "random"), _accuracy(at, "random without dropout")
    differences = {"no dropout": without - random}
    if first:
        after = _accuracy(at, "arms in sequence", arm="uncertainty")
        return differences | {"Adam carried from another arm": after - random}
    carried = _accuracy(at, "random, Adam carried")
    margin_carried = _accuracy(at, "arms in sequence", arm="margin")
    noise = _accuracy(at, "bayesian without dropout")
    return differences | {
        "Adam carried from the round before": carried - random,
        CHOOSING_BY_MARGIN: _accuracy(at, "margin") - random,
        "choosing by margin, Adam carried": margin_carried - carried,
        "choosing by MC-dropout entropy": _accuracy(at, "bayesian") - random,
        "choosing by a score that is only rounding noise": noise - without,
    }


def studies() -> list[AblationStudy]:
    """The study, alone."""
    return [AblationStudy()]


def main() -> None:
    """Run what is missing."""
    from alutils.running import run

    run.run_all(studies())
