"""The result of a training after some answers: the linear head, and what to ask for next.

All of it is a function of the pool, the settings and the answers so far, so it can be recomputed
anywhere. Features come from an encoder and never change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alutils.labelling.entries import FIRST_BATCH, LABEL, TURNS, Answers, Entry
from alutils.labelling.pool import FeaturePool
from alutils.labelling.settings import Settings
from alutils.learning.head import FeatureNet
from alutils.learning.network import initialise
from alutils.learning.scoring import predict
from alutils.learning.streams import stream
from alutils.learning.training import train
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError
from alutils.running.stability import mean_entropy
from alutils.strategies import own
from alutils.strategies.pool import some_of
from alutils.strategies.view import PoolView

HEAD = {"epochs": 20, "schedule": "one-cycle", "weight_decay": 1.0}
FEW, MANY = {"batch_size": 10, "learning_rate": 1e-2}, {"batch_size": 50, "learning_rate": 3e-3}
"""The head's recipe below ``MANY_LABELS`` labels and from there on: ``docs/head.md``."""
MANY_LABELS = 200
STOP_SET = 500
"""Images on which a training's predictions are compared with those of the one before it."""
BY_TYPICALITY = "typiclust"
"""The arm that needs no model, used until two classes have labels."""


@dataclass(frozen=True)
class Snapshot:
    """The answers up to some point.

    Attributes
    ----------
    number : of the training on these answers
    classes : those at that point
    labelled, labels : positions in the pool, ascending, and their classes, int64 (M,)
    unanswered : positions of the other images, without those skipped or of no class, int64 (U,)
    """

    number: int
    classes: tuple[str, ...]
    labelled: Tensor
    labels: Tensor
    unanswered: Tensor

    @property
    def can_train(self) -> bool:
        """Whether two classes have labels."""
        return len(self.labels.unique()) > 1


@dataclass(frozen=True)
class Head:
    """A trained head, the classes of its outputs, and the number of labels it was trained on."""

    net: FeatureNet
    classes: tuple[str, ...]
    labels: int


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes
    ----------
    number : of the training; 0 before any answer
    asked : what chose the picks
    picks : positions in the pool, in order of preference
    head : None if fewer than two classes had labels
    stop_probs_S_C, unanswered_S : its predictions on the stop set, and which of that had no answer
    entropy : mean predictive entropy over the candidates (nats)
    """

    number: int
    asked: str
    picks: tuple[int, ...]
    head: Head | None = None
    stop_probs_S_C: np.ndarray | None = None
    unanswered_S: np.ndarray | None = None
    entropy: float = float("nan")


def snapshot(
    pool: FeaturePool, settings: Settings, entries: Sequence[Entry], number: int | None = None
) -> Snapshot:
    """The answers for training ``number``: those of the first ``number`` times ``batch`` turns.

    Without a number, all answers.
    """
    turns = [i for i, entry in enumerate(entries) if entry.action in TURNS]
    last = len(turns) if number is None else number * settings.batch
    cut = len(entries) if number is None else turns[last - 1] + 1 if last else 1
    answers = Answers(entries[:cut])
    answered = torch.zeros(len(pool), dtype=torch.bool)
    code = {name: i for i, name in enumerate(answers.classes)}
    of = {}
    for image, entry in answers.current.items():
        answered[pool.position[image]] = True
        if entry.action == LABEL:
            of[pool.position[image]] = code[entry.label]
    labelled = sorted(of)
    return Snapshot(
        last // settings.batch if number is None else number,
        tuple(answers.classes),
        torch.tensor(labelled, dtype=torch.long),
        torch.tensor([of[i] for i in labelled], dtype=torch.long),
        (~answered).nonzero().squeeze(1),
    )


def train_head(pool: FeaturePool, settings: Settings, now: Snapshot) -> Head:
    """The head trained on a snapshot's labels, from the seed's initial weights.

    Raises ``ParameterError`` if fewer than two classes have labels, and ``NotFinite`` as ``train``.
    """
    if not now.can_train:
        raise ParameterError("a head needs labels of two classes: label more, then train")
    net = FeatureNet(pool.mean, pool.std, len(now.classes))
    initialise(net, stream(settings.seed, "weights"))
    labels = len(now.labels)
    recipe = HEAD | (FEW if labels < MANY_LABELS else MANY)
    recipe["batch_size"] = min(recipe["batch_size"], labels)
    cell = Cell(
        dataset="labelling", arm=settings.arm, seed=settings.seed, first_labels=labels, **recipe
    )
    train(net, pool.rows[now.labelled], now.labels, cell, now.number)
    return Head(net, now.classes, labels)


def train_and_choose(
    pool: FeaturePool, settings: Settings, now: Snapshot, choose: bool = True
) -> TrainingResult:
    """Train on a snapshot, predict the stop set, and choose what to ask for next.

    Without ``choose`` nothing is chosen, as for a training whose batch is long over.
    """
    if not now.can_train:
        asked = BY_TYPICALITY if now.number else FIRST_BATCH
        net = FeatureNet(pool.mean, pool.std, max(1, len(now.classes)))
        view = _view(pool, settings, now, net)
        picks = _choose(BY_TYPICALITY, settings, now.number, view) if choose else ()
        return TrainingResult(now.number, asked, picks)
    head = train_head(pool, settings, now)
    view = _view(pool, settings, now, head.net)
    picks = _choose(settings.arm, settings, now.number, view) if choose else ()
    stop = stop_set(pool, settings)
    return TrainingResult(
        now.number, settings.arm, picks, head, predict(head.net, pool.rows, stop).numpy(),
        torch.isin(stop, now.unanswered).numpy(),
        mean_entropy(view.probs_N_C) if len(view) else float("nan"),
    )  # fmt: skip


def stop_set(pool: FeaturePool, settings: Settings) -> Tensor:
    """Positions of the images on which predictions are compared, int64, ascending."""
    return some_of(torch.arange(len(pool)), STOP_SET, stream(settings.seed, "stop set"))


def _view(pool: FeaturePool, settings: Settings, now: Snapshot, net: FeatureNet) -> PoolView:
    """The head's view of the images without an answer, or of ``candidates`` of them."""
    rng = stream(settings.seed, "candidates", now.number)
    return PoolView(
        net, pool.rows, some_of(now.unanswered, settings.candidates, rng), now.labelled,
        mc_passes=settings.mc_passes, dropout=0.5, clusters=settings.clusters,
        rng=stream(settings.seed, "mc-masks", now.number),
    )  # fmt: skip


def _choose(arm: str, settings: Settings, number: int, view: PoolView) -> tuple[int, ...]:
    """Positions in the pool that an arm asks for, in its order of preference."""
    budget = min(settings.batch, len(view))
    if not budget:
        return ()
    rng = stream(settings.seed, "acquisition", arm, number)
    return tuple(own.choose(arm, own.packed([arm]), view, budget, rng).tolist())
