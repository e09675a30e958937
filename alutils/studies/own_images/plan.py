"""A user's own labelled folder: what each arm would have saved there."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from alutils.folders import index
from alutils.protocol.cell import Cell, Count, Rounds, Share
from alutils.protocol.encoders import EncoderName
from alutils.protocol.parameters import check_increasing
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.own_images.dataset import NameOrExample

LARGEST_DECAY = 0.1
"""Largest weight decay for training a whole network; the head's is 1."""


class OwnImagesStudy(ActiveLearningStudy):
    """Every arm on one folder of images, paired by seed, on an encoder's frozen features.

    An empty ``dataset`` means a small folder of digits made for the study (``folders.example``).
    ``acquisition_size`` is a number of labels per round, instead of a share. In a small folder
    ``stop_set`` and ``batch_size`` are at most the numbers of held-out images and of first labels
    (see ``as_run``). ``targets`` are accuracies (%) whose label counts are reported or forecast.
    """

    dataset: NameOrExample = ""
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "random", "uncertainty", "margin", "kmeans", "typiclust",
    )  # fmt: skip
    first_labels: Share | Count = 0.05
    acquisition_fraction: Share = 0.06
    rounds: Rounds = 8
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 10
    encoder: Literal["none", EncoderName] = "efficientnet-lite0"
    acquisition_size: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    targets: tuple[Annotated[float, Field(gt=0, le=100)], ...] = (80.0, 90.0, 95.0)

    def files(self) -> list[Path]:
        """As in ``ActiveLearningStudy``, and the list of the files that were left out."""
        return [*super().files(), index.left_out_file(self.dataset)]

    def cells(self) -> list[Cell]:
        """One cell per seed and arm, as in ``ActiveLearningStudy``."""
        check_increasing("targets", self.targets)
        self._check_recipe()
        return super().cells()

    def _cell(self, arm: str, seed: int) -> Cell:
        size = {"acquisition_size": self.acquisition_size}
        return super()._cell(arm, seed).model_copy(update=size)

    def as_run(self) -> dict[str, Any]:
        """The parameters, with those of the protocol as in this folder's cells."""
        return self.model_dump() | self._protocol()

    def _protocol(self) -> dict[str, Any]:
        held_out = min(self.stop_set, self.heldout_size(self.dataset))
        return super()._protocol() | {
            "stop_set": held_out if held_out >= 2 else 0,
            "batch_size": min(self.batch_size, max(2, self.first_count)),
        }

    def _check_recipe(self) -> None:
        if self.encoder == "none" and self.weight_decay > LARGEST_DECAY:
            raise ValueError(
                f"weight_decay = {self.weight_decay} is a linear head's, and encoder = 'none' "
                "trains all of ResNet-18: set it to 0, with a batch_size, epochs and learning_rate "
                "for that network (02 has some), or name an encoder"
            )
        if self.diagnostics and not self.test:
            raise ValueError(
                "diagnostics = true with test = false shows errors on the held-out images, which "
                "may lack a class: set test true, or diagnostics false"
            )
