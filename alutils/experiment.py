"""One round of a cell: train on its labels, judge, score the pool, choose what to label next."""

import platform
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import torch

from alutils import data, train
from alutils.config import Cell, ParameterError
from alutils.model import BF16_PRODUCTS, Net, build, pick_device
from alutils.pool import Pool, PoolView
from alutils.results import chained
from alutils.strategies import STRATEGIES, Strategy
from alutils.streams import stream

Round = dict[str, Any]
PHASES = ("seconds_train", "seconds_test", "seconds_score", "seconds_select")


def run_round(
    cells: list[Cell], history: list[Round], device: str, custom: dict[str, Strategy]
) -> tuple[list[Round], dict[str, Any]]:
    """Compute the round after ``history`` for each of ``cells``.

    Several cells may share one call while they have no history and differ in nothing but the arm:
    the network is then trained once for all. Returns a round for each cell, and the provenance.
    A round is a pure function of cell and history, so it doesn't matter where it is computed.
    """
    cell, number = cells[0], len(history)
    place = settle(device)
    dataset, images, labels = _on_device(cell.dataset, place)
    pool, new = _label(cell, history)
    net = build(cell, cell.dataset, cell.seed, place)
    clock = Clock()
    chosen, heldout = pool.labelled.to(place), pool.heldout.to(place)
    judges = (images[heldout], labels[heldout]) if cell.heldout_every else None
    with clock("seconds_train"):
        trained = train.train(net, images[chosen], labels[chosen], cell, cell.seed, number, judges)
    with clock("seconds_test"):
        judged = _test(net, dataset, place) if cell.test else {}
    done: Round = {
        "labels": len(pool.labelled),
        "labelled": new.tolist(),
        **judged,
        "train_accuracy": trained.train_accuracy,
        "heldout_accuracy": trained.heldout_accuracy,
        "epochs": cell.epochs,
        "steps": trained.steps,
        "class_counts": labels[chosen].bincount(minlength=len(dataset.classes)).tolist(),
    }
    rounds, view = [], None
    before = history[-1]["digest"] if history else ""
    for each in cells:
        own = clock.share(len(cells))
        if number + 1 == each.rounds:
            picks = torch.empty(0, dtype=torch.long)
        elif each.label_counts:
            picks = _first_labels(each)[slice(*each.label_counts[number : number + 2])]
        else:
            view = view or _view(net, images, pool, each, number)
            picks = _acquire(view, pool, each, number, custom, own)
        whole = done | {"picks": picks.tolist()} | own.seconds
        rounds.append(whole | {"digest": chained(whole, before)})
    return rounds, provenance(place)


class Clock:
    """Wall seconds by phase."""

    def __init__(self):
        self.seconds = dict.fromkeys(PHASES, 0.0)

    def share(self, among: int) -> "Clock":
        """A clock that starts with an equal share of what several cells spent together."""
        own = Clock()
        own.seconds = {phase: round(spent / among, 3) for phase, spent in self.seconds.items()}
        return own

    @contextmanager
    def __call__(self, phase: str):
        start = time.perf_counter()
        yield
        self.seconds[phase] = round(time.perf_counter() - start, 3)


def settle(device: str) -> torch.device:
    """Make this process compute reproducibly on ``device``: one thread, deterministic kernels."""
    torch.set_num_threads(1)
    place = pick_device(device)
    if place.type == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return place


def provenance(place: torch.device) -> dict[str, Any]:
    """Where and with what this process computes."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "alutils")
    gpu = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    return {
        "device": gpu or place.type,
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_products": BF16_PRODUCTS,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


@cache
def _on_device(name: str, place: torch.device):
    dataset = data.load(name)
    return dataset, dataset.train_images.to(place), dataset.train_labels.to(place)


def new_pool(cell: Cell) -> Pool:
    """The pool of a cell's seed, nothing labelled yet."""
    size = len(data.load(cell.dataset).train_labels)
    return Pool(size, cell.heldout_fraction, stream(cell.seed, "split"))


def _first_labels(cell: Cell) -> torch.Tensor:
    """The seed's permutation of the pool; its beginning is labelled first, in every arm."""
    indices = new_pool(cell).unlabelled
    return indices[torch.randperm(len(indices), generator=stream(cell.seed, "first-labels"))]


def _label(cell: Cell, history: list[Round]) -> tuple[Pool, torch.Tensor]:
    """The pool as it stands in the round after ``history``, and the indices new in it."""
    pool = new_pool(cell)
    for past in history:
        pool.label(torch.tensor(past["labelled"]))
    first = _first_labels(cell)[: cell.first_labels]
    new = torch.tensor(history[-1]["picks"]) if history else first.sort().values
    pool.label(new)
    return pool, new


def _test(net: Net, dataset: data.Dataset, place: torch.device) -> dict[str, float]:
    probs_N_C = train.predict(net, dataset.test_images.to(place))
    return train.judge(probs_N_C, dataset.test_labels)


def _view(net: Net, images: torch.Tensor, pool: Pool, cell: Cell, number: int) -> PoolView:
    return PoolView(
        net,
        images,
        pool.candidates(cell.candidates, stream(cell.seed, "candidates", number)),
        pool.labelled,
        mc_passes=cell.mc_passes,
        dropout=cell.dropout,
        clusters=cell.clusters,
        rng=stream(cell.seed, "mc-masks", number),
    )


def _acquire(
    view: PoolView,
    pool: Pool,
    cell: Cell,
    number: int,
    custom: dict[str, Strategy],
    clock: Clock,
) -> torch.Tensor:
    """Dataset indices that the cell's arm asks for, in its order of preference."""
    strategy = custom.get(cell.arm) or STRATEGIES[cell.arm]
    counts = cell.schedule_of_labels()
    budget = counts[number + 1] - counts[number]
    before = view.seconds
    with clock("seconds_select"):
        positions = strategy(view, budget, stream(cell.seed, "acquisition", cell.arm, number))
    clock.seconds["seconds_score"] = round(view.seconds - before, 3)
    clock.seconds["seconds_select"] = round(
        clock.seconds["seconds_select"] - clock.seconds["seconds_score"], 3
    )
    check_positions(positions, budget, len(view), cell.arm)
    return view.candidates[positions]


def check_positions(positions: torch.Tensor, budget: int, candidates: int, arm: str) -> None:
    """Raise ``ParameterError`` unless a strategy kept its contract."""
    if len(positions) != budget or len(positions.unique()) != budget:
        raise ParameterError(
            f"strategy {arm!r} returned {len(positions)} positions, "
            f"{len(positions.unique())} of them different; {budget} different ones are needed"
        )
    if budget and not 0 <= int(positions.min()) <= int(positions.max()) < candidates:
        raise ParameterError(f"strategy {arm!r} returned a position outside [0, {candidates})")


def round_task(device: str, custom: dict[str, Strategy]) -> Callable:
    """The callable that an engine sends to its workers."""
    return partial(run_round, device=device, custom=custom)
