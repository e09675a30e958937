"""Studies that vary settings: each cell stands under the name of what is varied, and its level."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

from alutils.parameters import no_duplicates
from alutils.plans import CUSTOM_ARMS, Study, check_datasets
from alutils.protocol import Cell, Count, Rounds, Share

Level = TypeVar("Level")
Levels = Annotated[tuple[Level, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Setting:
    """A cell under the name of what is varied, and its level there."""

    factor: str
    level: float | str
    cell: Cell


class SettingsStudy(Study):
    """A study whose cells serve settings, some of them several."""

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it."""
        raise NotImplementedError

    def cells(self) -> list[Cell]:
        """The cells of all settings, each once, seed by seed."""
        cells = {one.cell.name: one.cell for one in self.settings()}.values()
        return sorted(cells, key=lambda cell: cell.seed)

    def _arm_cell(
        self, figure: str, dataset: str, arm: str, seed: int, first: int, share: float,
        last: int, **changes: Any,
    ) -> Cell:  # fmt: skip
        """An arm from ``first`` labels to about ``last``, with changes to the study's protocol."""
        fields = self._protocol() | changes
        cell = Cell(
            figure=figure,
            dataset=dataset,
            arm=arm,
            seed=seed,
            first_labels=first,
            acquisition_fraction=share,
            rounds=last,
            strategy_source=CUSTOM_ARMS.get(arm, ""),
            **fields,
        )
        return _ending_near(cell, last)


class SensitivityStudy(SettingsStudy):
    """What the arms' own settings are worth: one varied at a time, to about ``last_labels``."""

    datasets: Levels[str] = ("mnist", "cifar10")
    dropouts: Levels[Annotated[float, Field(gt=0, lt=1)]] = (0.1, 0.25, 0.5, 0.75)
    passes: Levels[Count] = (1, 5, 20, 50)
    cluster_counts: Levels[Annotated[int, Field(ge=2, le=10_000)]] = (6, 12, 24, 48)
    acquisition_fractions: Levels[Share] = (0.02, 0.01, 0.005, 0.001)
    acquisition_fraction: Share = 0.01
    first_labels: Count = 540
    last_labels: Rounds = 2700

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it; a cell may serve several settings.

        The acquisition size comes last, from the coarsest to the finest, as that costs the most.
        """
        for key in ("dropouts", "passes", "cluster_counts", "acquisition_fractions"):
            no_duplicates(key, getattr(self, key))
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
            Setting(factor, level, self._cell(dataset, seed, arm, share, changes))
            for factor, level, arm, share, changes in varied
            for seed in self.seeds
            for dataset in self.datasets
        ]

    def _cell(
        self, dataset: str, seed: int, arm: str, share: float, changes: dict[str, Any]
    ) -> Cell:
        first, last = self.first_labels, self.last_labels
        return self._arm_cell("sensitivity", dataset, arm, seed, first, share, last, **changes)


def _ending_near(cell: Cell, last: int) -> Cell:
    """The cell with as many rounds as bring it nearest to ``last`` labels; it must go up."""
    if last <= cell.first_labels:
        raise ValueError(
            f"last_labels = {last} is not above first_labels = {cell.first_labels}: raise it"
        )
    counts = list(dict.fromkeys(cell.schedule_of_labels()))
    nearest = min(counts, key=lambda count: abs(count - last))
    if nearest == cell.first_labels:
        raise ValueError(
            f"acquisition_fraction = {cell.acquisition_fraction} leads nowhere between "
            f"{cell.first_labels} and {last} labels of {cell.dataset}: take another one, or raise "
            "last_labels"
        )
    return cell.model_copy(update={"rounds": counts.index(nearest) + 1})
