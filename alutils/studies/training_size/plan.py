"""Figure 2: accuracy against training-set size, on random labels."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from alutils.protocol.cell import Cell, Count
from alutils.protocol.datasets import DatasetName
from alutils.protocol.parameters import check_increasing
from alutils.protocol.study import Study, check_datasets


class TrainingSizeStudy(Study):
    """Figure 2: accuracy against training-set size, on nested random labels."""

    datasets: Annotated[tuple[DatasetName, ...], Field(min_length=1)] = ("mnist", "cifar10")
    label_counts: Annotated[tuple[Count, ...], Field(min_length=1)] = (
        540, 590, 690, 840, 990, 1240, 1490, 1990, 2490, 2990, 3490, 3990, 4490, 4990, 5490,
    )  # fmt: skip

    def cells(self) -> list[Cell]:
        """One cell per seed and dataset; its rounds are the sizes."""
        check_datasets("datasets", self.datasets)
        check_increasing("label_counts", self.label_counts)
        return [
            self._sizes_cell(2, dataset, seed, self.label_counts)
            for seed in self.seeds
            for dataset in self.datasets
        ]

    def files(self) -> list[Path]:
        """Records of the trainings on every label that the figure shows as lines."""
        from alutils.studies.training_size import ceiling

        return ceiling.records_of_recipe(self)
