"""Accuracy with every label of the pool, as the learning curves' reports show it.

One training per dataset by each recipe of the active-learning curves, which it bounds from above.
"""

from pathlib import Path

import pandas as pd

from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DatasetName
from alutils.protocol.study import Levels, Seeds, Study, check_datasets
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.studies.profiles import without_acquisitions


class CeilingStudy(Study):
    """One training on the whole pool of each dataset."""

    profile: str = "ceiling"
    datasets: Levels[DatasetName] = ("cifar10", "mnist")
    seeds: Seeds = (0,)

    def cells(self) -> list[Cell]:
        """One cell per seed and dataset, of one round."""
        check_datasets("datasets", self.datasets)
        return [
            self._sizes_cell("ceiling", name, seed, (self.pool_size(name),))
            for seed in self.seeds
            for name in self.datasets
        ]


def records_of_recipe(study: Study) -> list[Path]:
    """The files of these trainings' records."""
    return [Store("ceiling").path(cell) for cell in cells_of_recipe(study)]


def of_recipe(study: Study) -> pd.DataFrame:
    """The finished trainings on every label by a study's own recipe, one row per dataset."""
    return table(Store("ceiling"), cells_of_recipe(study))


def cells_of_recipe(study: Study) -> list[Cell]:
    """The trainings on every label of a study's datasets by its own recipe.

    None for a study that reports held-out accuracy, as these trainings are judged on the test set,
    or whose trainings continue from one another.
    """
    if study.reported != "test" or study.continues_training:
        return []
    datasets = tuple(dict.fromkeys(cell.dataset for cell in study.cells()))
    values = {"datasets": datasets} | without_acquisitions(study)
    return CeilingStudy.parse(values, "ceiling").cells()
