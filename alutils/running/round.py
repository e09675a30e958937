"""One round of a cell: train on its labels, evaluate, score the pool, choose what to label next."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache, cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from alutils.learning import carried_state, data, scoring, training
from alutils.learning.carried_state import warm_start
from alutils.learning.data import Dataset
from alutils.learning.devices import make_deterministic
from alutils.learning.features import features_digest, inputs
from alutils.learning.imbalance import kept_mask
from alutils.learning.network import Classifier, build
from alutils.learning.streams import stream
from alutils.learning.training import Training
from alutils.protocol.arms import ORACLES
from alutils.protocol.cell import Cell
from alutils.records.copied import POOL_FIELDS
from alutils.records.record import chained_digest, state_digest
from alutils.running import checks, diagnostics, stability
from alutils.running.provenance import provenance
from alutils.strategies.own import choose
from alutils.strategies.pool import Pool, some_of
from alutils.strategies.view import LabelledView, PoolView

Round = dict[str, Any]
PHASES = ("seconds_train", "seconds_test", "seconds_diagnose", "seconds_score", "seconds_select")


class Clock:
    """Wall-clock seconds per phase; while a phase runs within another, the outer one is paused."""

    def __init__(self):
        self.spent = dict.fromkeys(PHASES, 0.0)
        self.phase, self.since = "", 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of every phase, to the millisecond."""
        return {phase: round(spent, 3) for phase, spent in self.spent.items()}

    def share(self, among: int) -> dict[str, float]:
        """Each cell's equal share of the seconds that several spent together, by phase."""
        return {phase: spent / among for phase, spent in self.spent.items()}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        outer = self.phase
        self._enter(phase)
        try:
            yield
        finally:
            self._enter(outer)

    def _enter(self, phase: str) -> None:
        now = time.perf_counter()
        if self.phase:
            self.spent[self.phase] += now - self.since
        self.phase, self.since = phase, now


class CurrentRound:
    """A cell at the round after ``history``: its pool, its new labels, its network.

    ``clock`` times whatever is being computed; ``copied`` has the dataset indices that were
    labelled in the record that the cell copies, in their order.
    """

    def __init__(
        self,
        cell: Cell,
        history: list[Round],
        device: torch.device,
        copied: Sequence[int] = (),
    ):
        self.cell, self.device, self.clock, self.copied = cell, device, Clock(), copied
        self.arm, self.number = cell.position(len(history))
        self.past = history[len(history) - self.number :]
        self.pool, self.new = _label(cell, self.past, self.order)
        self.labels = data.labels(cell.dataset)[0].to(device)

    @cached_property
    def order(self) -> Tensor:
        """Indices that may be labelled, in an order that doesn't depend on the cell's networks.

        Those at the beginning are labelled first. It is the order of the record that the cell
        copies, or the seed's permutation of the pool, which is the same in every arm.
        """
        if self.cell.labels_of:
            return torch.tensor(self.copied, dtype=torch.long)
        return _drawn(_pool_alone(self.cell))[1]

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, with features in place of images if the cell has an encoder."""
        return inputs(self.cell.dataset, self.cell.encoder)

    @cached_property
    def images(self) -> Tensor:
        """The training set's images on the device."""
        return _images_on_device(self.cell.dataset, self.cell.encoder, self.device)

    @cached_property
    def net(self) -> Classifier:
        """The network, with the seed's initial weights until it is trained."""
        return build(self.cell, self.device)

    @property
    def last(self) -> bool:
        """Whether this is the arm's last round."""
        return self.number + 1 == self.cell.rounds

    def check_start(self) -> dict[str, str]:
        """Check the ledger; returns hashes of what all arms of a seed have in common."""
        labelled = [*(done["labelled"] for done in self.past), self.new.tolist()]
        checks.label_lists(self.cell, self.number, self.pool, labelled)
        if self.cell.labels_of:
            checks.copied(self.cell, self.order.tolist(), labelled)
        return {
            "first_labels": checks.fingerprint(labelled[0]),
            "initial_weights": checks.fingerprint(self.net.state_dict()),
        }

    def train(self, state: bytes | None) -> Training:
        """Train the network on the labelled images, starting as the protocol says.

        ``state`` is what the previous round passed on.
        """
        chosen, heldout = self.pool.labelled.to(self.device), self.pool.heldout.to(self.device)
        judges = (self.images[heldout], self.labels[heldout]) if self.cell.heldout_every else None
        images, labels = self.images[chosen], self.labels[chosen]
        cell, number = self.cell, self.number
        if state and cell.start != "cold":
            warm_start(self.net, state, cell, number)
        return training.train(self.net, images, labels, cell, number, judges, state)

    def hand_on(self, trained: Training) -> bytes | None:
        """The state that the next round continues from; None if the protocol carries none."""
        if not self.cell.carries_state:
            return None
        optimiser = trained.optimiser if self.cell.adam_state != "fresh" else None
        net = self.net if self.cell.start != "cold" else None
        return carried_state.pack(
            optimiser, net, self.stop_probs_N_C if self.cell.stop_set else None
        )

    @cached_property
    def stop_probs_N_C(self) -> Tensor:
        """Class probabilities of the stop set: held-out images drawn by the seed."""
        heldout = self.pool.heldout
        order = torch.randperm(len(heldout), generator=stream(self.cell.seed, "stop-set"))
        indices = heldout[order[: self.cell.stop_set]]
        return scoring.predict(self.net, self.images, indices.to(self.device))

    def stability(self, state: bytes | None) -> dict[str, float]:
        """Input of stopping rules (see ``stability``); the previous round passed on ``state``."""
        if not self.cell.stop_set:
            return {}
        facts = {}
        if len(self.view):
            facts["pool_entropy"] = stability.mean_entropy(self.view.probs_N_C)
        if self.number:
            before = (
                carried_state.predictions(state) if state else self._trained_before().stop_probs_N_C
            )
            facts |= stability.changes(before.numpy(), self.stop_probs_N_C.numpy())
        return facts

    def _trained_before(self) -> "CurrentRound":
        """The previous round, trained again as its predictions on the stop set are lost."""
        before = CurrentRound(self.cell, self.past[:-1], self.device, self.copied)
        before.train(None)
        return before

    @cached_property
    def test_probs_N_C(self) -> Tensor:
        """Class probabilities of the test images."""
        return scoring.predict(self.net, self.dataset.test_images.to(self.device))

    def evaluate(self) -> dict[str, float]:
        """Accuracy, likelihood and calibration on the test set, if the protocol has it."""
        if not self.cell.test:
            return {}
        return scoring.evaluate(self.test_probs_N_C, self.dataset.test_labels)

    def class_counts(self) -> list[int]:
        """Labelled images of every class."""
        classes = len(self.dataset.classes)
        return self.labels[self.pool.labelled.to(self.device)].bincount(minlength=classes).tolist()

    def acquire(self, cell: Cell, custom: dict[str, bytes]) -> Tensor:
        """Dataset indices that ``cell`` labels next, most preferred first; none in the last round.

        ``cell`` is the round's own or one that differs from it only in the arm; ``custom`` has a
        user's packed strategies.
        """
        if self.last:
            return torch.empty(0, dtype=torch.long)
        if cell.label_counts:
            return self.order[slice(*cell.label_counts[self.number : self.number + 2])]
        arm = self.arm if cell.sequence else cell.arm
        counts = cell.schedule_of_labels()
        budget = counts[self.number + 1] - counts[self.number]
        rng = stream(cell.seed, "acquisition", arm, self.number)
        with self.clock("seconds_select"):
            view = LabelledView(self.view, self.labels) if arm in ORACLES else self.view
            return choose(arm, custom, view, budget, rng)

    @cached_property
    def view(self) -> PoolView:
        """The network's view of the candidates, as strategies get it."""
        cell, number = self.cell, self.number
        return PoolView(
            self.net,
            self.images,
            self.pool.candidates(cell.candidates, stream(cell.seed, "candidates", number)),
            self.pool.labelled,
            mc_passes=cell.mc_passes,
            dropout=cell.dropout,
            clusters=cell.clusters,
            rng=stream(cell.seed, "mc-masks", number),
            mc_score=cell.mc_score,
            scoring=partial(self.clock, "seconds_score"),
        )

    def looks(self, picks: Tensor) -> dict[str, Any]:
        """Descriptions of picks and, in the first, middle and last round, the map of the pool."""
        if not self.cell.diagnostics:
            return {}
        looks: dict[str, Any] = {}
        if len(picks):
            looks["gallery"] = diagnostics.gallery(self.net, self.images, self.labels, picks)
        if self.number in (0, self.cell.rounds // 2, self.cell.rounds - 1):
            looks["map"] = self.map.marking(self.new if self.last else picks)
        return looks

    @cached_property
    def map(self) -> diagnostics.PoolMap:
        """The seed's fixed pool images on two axes."""
        rng = stream(self.cell.seed, "map")
        fixed = some_of(new_pool(self.cell).unlabelled, diagnostics.MAPPED, rng)
        return diagnostics.PoolMap(self.net, self.images, fixed)

    def closing(self) -> dict[str, Any]:
        """In the last round, how the network errs: on the test set, or else on the held-out set."""
        if not (self.cell.diagnostics and self.last):
            return {}
        if self.cell.test:
            return {"closing": diagnostics.closing(self.test_probs_N_C, self.dataset.test_labels)}
        heldout = self.pool.heldout.to(self.device)
        probs_N_C = scoring.predict(self.net, self.images, heldout)
        return {"closing": diagnostics.closing(probs_N_C, self.labels[heldout])}


@cache
def _images_on_device(name: str, encoder: str, device: torch.device) -> Tensor:
    return inputs(name, encoder).train_images.to(device)


def forget_images() -> None:
    """Free the images on devices; they are moved there again when next needed."""
    _images_on_device.cache_clear()


def new_pool(cell: Cell) -> Pool:
    """The pool of a cell's seed, nothing labelled yet."""
    pool = copy(_drawn(_pool_alone(cell))[0])
    pool.is_labelled = torch.zeros_like(pool.may_label)
    return pool


def _pool_alone(cell: Cell) -> Cell:
    """A cell with only the fields of the pool: equal for all cells that have the same pool."""
    fields = {key: getattr(cell, key) for key in POOL_FIELDS}
    return Cell(arm="random", first_labels=1, **fields)


@lru_cache(maxsize=16)
def _drawn(cell: Cell) -> tuple[Pool, Tensor]:
    """A pool as the seed draws it, and its indices in the seed's order; neither may be changed.

    Cached, as many records have the same pool.
    """
    labels_N, _ = data.labels(cell.dataset)
    pool = Pool(kept_mask(cell, labels_N), cell.heldout_fraction, stream(cell.seed, "split"))
    indices = pool.unlabelled
    rng = stream(cell.seed, "first-labels")
    return pool, indices[torch.randperm(len(indices), generator=rng)]


def _label(cell: Cell, history: list[Round], order: Tensor) -> tuple[Pool, Tensor]:
    """The pool in the round after ``history``, and the indices that are newly labelled in it.

    The first labels are those at the beginning of ``order``.
    """
    pool = new_pool(cell)
    if history:
        pool.label(torch.tensor([index for past in history for index in past["labelled"]]))
    first = order[: cell.first_labels].sort().values
    new = torch.tensor(history[-1]["picks"]) if history else first
    pool.label(new)
    return pool, new


def run_round(
    cells: list[Cell],
    history: list[Round],
    state: bytes | None,
    device: str,
    custom: dict[str, bytes],
    copied: dict[str, list[int]] | None = None,
) -> tuple[list[Round], dict[str, Any], bytes | None]:
    """Compute the round after ``history`` for each of ``cells``.

    Returns a round for each cell, the provenance, and the state that the next round continues from,
    if the protocol carries one (the optimiser's state, the weights). A round is a pure function of
    cell, history and state: it doesn't matter where it is computed.

    Parameters
    ----------
    cells : one, or several without history that differ only in the arm and share one training
    history : the previous rounds, of the cell or of the sequence of arms that it stands for
    state : what the previous round passed on, or None
    device : auto, cpu, cuda or mps
    custom : a user's strategies by arm, packed (see ``own.packed``)
    copied : dataset indices by ``labels_of``, for cells that have it (see ``records.copied``)

    Raises ``NotFinite`` if training diverges, ``SelfCheckFailed`` if a check of the round fails,
    ``ParameterError`` if a strategy breaks its contract or the device is missing, and
    ``StrategyFailed`` if a user's strategy raises an error.
    """
    labels = (copied or {}).get(cells[0].labels_of, [])
    current = CurrentRound(cells[0], history, make_deterministic(device), labels)
    clock = current.clock
    checked = current.check_start()
    with clock("seconds_train"):
        trained = current.train(state)
    with checks.buffers_unchanged(current.net):
        with clock("seconds_test"):
            judged = current.evaluate()
        with clock("seconds_diagnose"):
            checked["mc_passes_differ"] = checks.scoring(
                current.net, current.images, current.pool, current.cell, current.number
            )
            closing = current.closing()
            stable = current.stability(state)
        state = current.hand_on(trained)
        done = {
            "labels": len(current.pool.labelled),
            "labelled": current.new.tolist(),
            **judged,
            "train_accuracy": trained.train_accuracy,
            "heldout_accuracy": trained.heldout_accuracy,
            "epochs": current.cell.epochs,
            "steps": trained.steps,
            "class_counts": current.class_counts(),
            **closing,
            **stable,
            **({"state_digest": state_digest(state)} if state else {}),
        }
        before = history[-1]["digest"] if history else ""
        rounds, share = [], clock.share(len(cells))
        for cell in cells:
            clock.spent = dict(share)
            picks = current.acquire(cell, custom)
            with clock("seconds_diagnose"):
                looks = current.looks(picks)
            whole = done | {"picks": picks.tolist()} | looks | clock.seconds
            rounds.append(whole | {"digest": chained_digest(whole, before)})
    facts = provenance(current.device) | features_digest(cells[0]) | {"checks": checked}
    if halved_to := getattr(current.net, "halved_to", 0):
        facts["scoring_batch"] = halved_to
    return rounds, facts, state


def round_task(
    device: str, custom: dict[str, bytes], copied: dict[str, list[int]] | None = None
) -> Callable:
    """The callable that an engine sends to its workers."""
    return partial(run_round, device=device, custom=custom, copied=copied)
