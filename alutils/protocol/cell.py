"""How one cell is trained and evaluated, and how its record is named."""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from alutils.protocol.datasets import DATASETS
from alutils.protocol.encoders import ENCODERS, EncoderName

PROTOCOL_VERSION = 1
"""Increased by hand whenever the same cell would give a different record than before."""
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
MOST_ROUNDS = 60_000
Rounds = Annotated[int, Field(ge=1, le=MOST_ROUNDS)]


class Protocol(BaseModel):
    """How a network is trained and evaluated; the defaults are those of the profile ``poster``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epochs: Count = 100
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    optimiser: Literal["adam", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    augmentation: Literal["none", "crop-flip"] = "none"
    start: Literal["cold", "warm", "shrink-perturb"] = "cold"
    adam_state: Literal["fresh", "rounds", "arms"] = "fresh"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    mc_passes: Annotated[int, Field(ge=1, le=10_000)] = 20
    mc_score: Literal["entropy", "mutual-information"] = "entropy"
    clusters: Annotated[int, Field(ge=2, le=10_000)] = 12
    candidates: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    stem: Literal["7x7", "3x3"] = "7x7"
    encoder: Literal["none", EncoderName] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    live_taps: bool = True
    compiled: bool = False
    imbalance: Annotated[float, Field(ge=1, le=60_000)] = 1.0
    """Ratio of the training images of the most frequent class to the rarest's; 1 keeps all images.

    See ``DatasetFacts.long_tail``. The training set is thinned before the held-out share is split
    off, so that held-out images come from the same distribution as the pool. The test set stays as
    it is: if its classes are equal in size, test accuracy is balanced accuracy.
    """
    heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    heldout_every: Annotated[int, Field(ge=0)] = 0
    test: bool = True
    stop_set: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Held-out images used to compare each round's predictions with the previous round's."""
    diagnostics: bool = False

    @property
    def continues_training(self) -> bool:
        """Whether training in a round continues from something that the previous round left."""
        return self.adam_state != "fresh" or self.start != "cold"

    @property
    def carries_state(self) -> bool:
        """Whether a round takes anything over from the previous one besides what is recorded."""
        return self.continues_training or self.stop_set > 0

    def heldout_size(self, dataset: str) -> int:
        """Number of held-out images: a share of the training images that the imbalance leaves."""
        return int(DATASETS[dataset].kept_count(self.imbalance) * self.heldout_fraction)

    def pool_size(self, dataset: str) -> int:
        """Number of images that may be labelled: all others that the imbalance leaves."""
        return DATASETS[dataset].kept_count(self.imbalance) - self.heldout_size(dataset)


class Cell(Protocol):
    """One (protocol, dataset, arm, seed): a pure function of these fields gives its record.

    The defaults are frozen at ``PROTOCOL_VERSION``: only fields that differ from them enter the
    identity, so a new option with a neutral default leaves finished records valid.

    A cell with ``sequence`` runs these arms one after another, ``rounds`` rounds each, so that the
    optimiser's state can be passed from arm to arm.

    A cell with ``labels_of`` trains on labels that another record's arm chose: for each n in
    ``label_counts``, on the first n that this arm asked for. Its arm is ``COPIED``. Without
    ``labels_of``, ``label_counts`` are sizes of nested random label sets.
    """

    figure: int | str = 3
    dataset: str
    arm: str
    seed: int
    first_labels: Count
    acquisition_fraction: Share = 0.001
    acquisition_size: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Labels to ask for per round; 0 means ``acquisition_fraction`` of the remaining pool."""
    rounds: Rounds = 150
    label_counts: tuple[int, ...] = ()
    labels_of: str = ""
    """The record whose labels are trained on, as ``PROFILE/NAME``."""
    sequence: tuple[str, ...] = ()
    strategy_source: str = ""

    def identity(self) -> dict[str, Any]:
        """The fields that differ from their defaults, which identify the cell."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def name(self) -> str:
        """Stem of the record's file: dataset, arm, seed and a hash of all that matters."""
        facts = [PROTOCOL_VERSION, DATASETS[self.dataset].checksum, self.identity()]
        if self.encoder != "none":
            facts.append(ENCODERS[self.encoder].identity)
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.dataset}-{self.arm}-seed{self.seed}-{digest}"

    @property
    def without_arm(self) -> Self:
        """The same cell without its arm: cells for which this is equal share their first round."""
        return self.model_copy(update={"arm": "random", "strategy_source": ""})

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms whose rounds the record holds, in their order."""
        return self.sequence or (self.arm,)

    @property
    def length(self) -> int:
        """Rounds in the finished record."""
        return self.rounds * len(self.arms)

    def position(self, done: int) -> tuple[str, int]:
        """Arm of the round after ``done`` rounds, and its number within that arm, from 0."""
        turn, number = divmod(done, self.rounds)
        return self.arms[turn], number

    @property
    def acquisition(self) -> str:
        """The parameter that sets the labels per round, with its value, for messages."""
        if self.acquisition_size:
            return f"acquisition_size = {self.acquisition_size}"
        return f"acquisition_fraction = {self.acquisition_fraction}"

    def schedule_of_labels(self) -> list[int]:
        """Label count of every round of an arm, the first one included."""
        return list(self.label_counts) or list(islice(self.growing(), self.rounds))

    def growing(self) -> Iterator[int]:
        """Yield the label counts of an arm that chooses, without end.

        A round asks for no more than the pool still holds.
        """
        pool, labels = self.pool_size(self.dataset), self.first_labels
        while True:
            yield labels
            left = max(0, pool - labels)
            size = self.acquisition_size or int(self.acquisition_fraction * left)
            labels += min(size, left)

    def steps(self) -> list[int]:
        """Optimiser steps of every round."""
        counts = self.schedule_of_labels() * len(self.arms)
        return [labels // self.batch_size * self.epochs for labels in counts]
