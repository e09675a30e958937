"""Running a study: from validated parameters to records and their table."""

import subprocess
from collections.abc import Callable

import pandas as pd

from alutils import data, engine, experiment
from alutils.config import CUSTOM_ARMS, Study
from alutils.model import pick_device
from alutils.parameters import Parameters
from alutils.paths import ROOT
from alutils.results import Store, table
from alutils.strategies import STRATEGIES


def run(study: Study, say: Callable[[str], None] = print) -> pd.DataFrame:
    """Run what is not finished yet, and return the results, one row per cell and round.

    Data, device and outputs folder are checked before any training; raises ``RunFailed`` when
    cells failed, after all others have finished.
    """
    cells, store = study.cells(), Store(study.profile)
    store.prepare()
    place = pick_device(study.device)
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        data.load(dataset)
    custom = {arm: STRATEGIES[arm] for arm in CUSTOM_ARMS}
    task = experiment.round_task(study.device, custom)
    workers = study.workers or (0 if place.type == "cpu" else 1)
    engine.run(cells, task, store, {"commit": commit()}, workers, study.scheduler, say)
    return table(store, cells, study.reported)


def read(parameters: Parameters) -> pd.DataFrame:
    """The results that are there already, one row per round of the finished cells."""
    return table(Store(parameters.profile), parameters.cells(), parameters.reported)


def commit() -> str:
    """Short hash of the code's commit, with a plus sign where what computes was changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "alutils", "requirements.lock"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
