"""One round of a cell: train on its labels, judge, score the pool, choose what to label next."""

import os
import platform
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from alutils import checks
from alutils.model import BF16_PRODUCTS, pick_device
from alutils.protocol import Cell
from alutils.results import chained, state_digest
from alutils.turn import Clock, Round, Turn


def run_round(
    cells: list[Cell],
    history: list[Round],
    state: bytes | None,
    device: str,
    custom: dict[str, bytes],
) -> tuple[list[Round], dict[str, Any], bytes | None]:
    """Compute the round after ``history`` for each of ``cells``.

    Returns a round for each cell, the provenance, and what the next round goes on from where the
    protocol carries it (the optimiser's state, the weights). A round is a pure function of cell,
    history and state: it doesn't matter where it is computed.

    Parameters
    ----------
    cells : one; or several without history, equal but for the arm: they share one training
    history : the rounds before, of the cell or of the sequence of arms that it stands for
    state : what the round before handed on, or None
    device : auto, cpu, cuda or mps
    custom : strategies by arm that aren't the study's own, packed (see ``strategies.packed``)

    Raises ``NotFinite`` when training does not stay finite, ``SelfCheckFailed`` when the round
    contradicts itself, ``ParameterError`` when a strategy breaks its contract or the device is not
    there, ``StrategyFailed`` when one of a user raises an error.
    """
    turn, clock = Turn(cells[0], history, settle(device)), Clock()
    checked = turn.check_start()
    with clock("seconds_train"):
        trained = turn.train(state)
    state = turn.hand_on(trained)
    with checks.buffers_unchanged(turn.net):
        with clock("seconds_test"):
            judged = turn.judge()
        with clock("seconds_diagnose"):
            checked["mc_passes_differ"] = checks.scoring(
                turn.net, turn.images, turn.pool, turn.cell, turn.number
            )
            closing = turn.closing()
        done = {
            "labels": len(turn.pool.labelled),
            "labelled": turn.new.tolist(),
            **judged,
            "train_accuracy": trained.train_accuracy,
            "heldout_accuracy": trained.heldout_accuracy,
            "epochs": turn.cell.epochs,
            "steps": trained.steps,
            "class_counts": turn.class_counts(),
            **closing,
            **({"state_digest": state_digest(state)} if state else {}),
        }
        before = history[-1]["digest"] if history else ""
        rounds = []
        for cell in cells:
            own = clock.share(len(cells))
            picks = turn.acquire(cell, custom, own)
            with own("seconds_diagnose"):
                looks = turn.looks(picks)
            whole = done | {"picks": picks.tolist()} | looks | own.seconds
            rounds.append(whole | {"digest": chained(whole, before)})
    return rounds, provenance(turn.place) | {"checks": checked}, state


def settle(device: str) -> torch.device:
    """Make this process compute reproducibly on ``device``: one thread, deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
    torch.set_num_threads(1)
    place = pick_device(device)
    if place.type == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # else fp32 convolutions keep 10 bits of 23
    return place


def provenance(place: torch.device) -> dict[str, Any]:
    """Where and with what this process computes."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "alutils")
    gpu = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    return {
        "device": gpu or place.type,
        "host": platform.node(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_products": BF16_PRODUCTS,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _processor() -> str:
    """The processor's vendor, family and model: with another one, sums are rounded otherwise."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor()
    lines = dict(re.findall(r"^(\S.*?)\s*: (.*)$", facts.read_text(), re.MULTILINE))
    return ", ".join(lines[key] for key in ("vendor_id", "cpu family", "model") if key in lines)


def round_task(device: str, custom: dict[str, bytes]) -> Callable:
    """The callable that an engine sends to its workers."""
    return partial(run_round, device=device, custom=custom)
