"""Rounds that compute nothing, for workers: what they import, each of these imports at its start.

Torch is not among it: importing that takes seconds of a core.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from alutils.protocol.cell import Cell
from alutils.records.record import chained_digest, state_digest


def stub(cells: list[Cell], history: list[dict], state=None) -> tuple:
    """A round without training: what it says depends on cell and history alone."""
    before = history[-1]["digest"] if history else ""
    done = []
    for cell in cells:
        plain = {
            "labels": cell.first_labels + len(history),
            "labelled": [len(history)],
            "test_accuracy": cell.seed / 10,
            "heldout_accuracy": [],
            "steps": 1,
            "seconds_train": 0.01,
        }
        done.append(plain | {"digest": chained_digest(plain, before)})
    return done, {"device": "stub"}, None


def hands_on(cells: list[Cell], history: list[dict], state=None) -> tuple:
    """The same, with a state for the next round."""
    done, facts, _ = stub(cells, history)
    before = history[-1]["digest"] if history else ""
    for each in done:
        each["state_digest"] = state_digest(b"state")
        each["digest"] = chained_digest({k: v for k, v in each.items() if k != "digest"}, before)
    return done, facts, b"state"


def fails_for_margin(cells, history, state):
    if history and cells[0].arm == "margin":
        raise ArithmeticError("no number")
    return stub(cells, history)


def fails_on_one_worker(cells, history, state):
    """The first worker that is asked has a fault from then on."""
    first = Path(os.environ["FAULTY"])
    with suppress(FileExistsError), first.open("x") as file:
        file.write(str(os.getpid()))
    time.sleep(0.1)
    if first.read_text() == str(os.getpid()):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return stub(cells, history)


def deadly(cells, history, state):
    """Kills its worker in margin's second round; in kmeans's later ones the first two times."""
    arm, deaths, number = cells[0].arm, Path(os.environ["DEATHS"]), len(history) + 1
    if arm == "margin" and number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if arm == "kmeans" and number > 1 and len(list(deaths.glob(f"{number}-*"))) < 2:
        (deaths / f"{number}-{time.time_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stub(cells, history)


def exits(cells, history, state):
    """A round that ends its process, or raises what no ``except Exception`` catches."""
    if cells[0].arm == "margin":
        sys.exit("all done")
    if cells[0].arm == "kmeans":
        raise GeneratorExit
    return stub(cells, history)


def counted(cells, history, state=None):
    """A round that takes a moment and notes that it was computed."""
    time.sleep(0.3)
    name = f"{cells[0].name}.{len(history)}.{time.time_ns()}"
    (Path(os.environ["COMPUTED"]) / name).touch()
    return stub(cells, history)


def dies_once(cells, history, state):
    """Ends its worker, and the start of any other, in the second round."""
    if len(history) == 1 and not (done := Path(os.environ["DIED"])).exists():
        done.touch()
        Path(os.environ["SPOILT"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stub(cells, history)


def talk() -> int:
    """Print more than a pipe holds that nobody reads."""
    return os.write(1, b"." * 2**18)
