"""The arms' own settings, one varied at a time."""

from typing import Annotated, Any

from pydantic import Field

from alutils.protocol.cell import Cell, Count, Share
from alutils.protocol.datasets import DatasetName
from alutils.protocol.parameters import check_unique
from alutils.protocol.study import FactorLevel, FactorStudy, Levels, check_datasets


class SensitivityStudy(FactorStudy):
    """What the arms' own settings are worth: one varied at a time, to about ``last_labels``."""

    datasets: Levels[DatasetName] = ("mnist", "cifar10")
    dropouts: Levels[Annotated[float, Field(gt=0, lt=1)]] = (0.1, 0.25, 0.5, 0.75)
    passes: Levels[Count] = (1, 5, 20, 50)
    cluster_counts: Levels[Annotated[int, Field(ge=2, le=10_000)]] = (6, 12, 24, 48)
    acquisition_fractions: Levels[Share] = (0.02, 0.01, 0.005, 0.001)
    acquisition_fraction: Share = 0.01
    first_labels: Count = 540
    last_labels: Count = 2700

    def settings(self) -> list[FactorLevel]:
        """Every cell with what is varied in it; a cell may serve several settings.

        The acquisition size comes last, from the coarsest to the finest, as that costs the most.
        """
        for key in ("dropouts", "passes", "cluster_counts", "acquisition_fractions"):
            check_unique(key, getattr(self, key))
        check_datasets("datasets", self.datasets)
        step = self.acquisition_fraction
        varied: list[tuple[str, float | str, str, float, dict[str, Any]]] = []
        for rate in self.dropouts:
            for arm in ("random", "bayesian"):
                varied.append(("dropout", rate, arm, step, {"dropout": rate}))
        for count in self.passes:
            varied.append(("passes", count, "bayesian", step, {"mc_passes": count}))
        varied += [("passes", "no dropout when scoring", "entropy", step, {})]
        varied += [("passes", "", "random", step, {}), ("clusters", "", "random", step, {})]
        for count in self.cluster_counts:
            varied.append(("clusters", count, "kmeans", step, {"clusters": count}))
        for share in sorted(self.acquisition_fractions, reverse=True):
            for arm in ("random", "margin"):
                varied.append(("acquisition", share, arm, share, {}))
        return [
            FactorLevel(factor, level, self._cell(dataset, seed, arm, share, changes))
            for factor, level, arm, share, changes in varied
            for seed in self.seeds
            for dataset in self.datasets
        ]

    def _cell(
        self, dataset: str, seed: int, arm: str, share: float, changes: dict[str, Any]
    ) -> Cell:
        first, last = self.first_labels, self.last_labels
        changes |= {"acquisition_fraction": share}
        return self._arm_cell("sensitivity", dataset, arm, seed, first, last, **changes)
