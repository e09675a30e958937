"""Studies as processes of their own: what is left of them, and what of their records is equal."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil

from alutils.paths import ROOT
from alutils.protocol.cell import Cell
from alutils.studies import profiles

NOTEBOOK = "01-training-size"
"""The notebook of most tests of whole runs: the one with least to compute and to show."""
ARMS_NOTEBOOK = "03-mnist-active-learning"
"""The one of those that need arms: they share a first round, and have most to show."""


def start(
    outputs: Path,
    *options: str,
    notebook: str = NOTEBOOK,
    command: list[str] | None = None,
    **environment: str,
) -> subprocess.Popen:
    """A study in a process group of its own; by default one notebook of ``smoke``.

    It takes SIGINT even where the suite runs in the background of a shell, which ignores it.
    """
    plain = [sys.executable, "-m", "alutils", "study", "smoke", "--notebook", notebook]
    own = os.environ | {"ALUTILS_OUTPUTS": str(outputs)} | environment
    return subprocess.Popen(
        [*(command or plain), *options], cwd=ROOT, env=own, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def processes(outputs: Path) -> list[psutil.Process]:
    """Processes that work on these outputs, wherever in the tree they are."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ALUTILS_OUTPUTS") == str(outputs):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def gone_within(outputs: Path, limit: float = 120) -> float:
    """Seconds until no process works on these outputs; fails when one still does at the limit."""
    begin = time.monotonic()
    while found := processes(outputs):
        left = [str(process) for process in found]
        assert time.monotonic() - begin < limit, f"left after {limit} s: {left}"
        time.sleep(0.1)
    return time.monotonic() - begin


def equal_part(outputs: Path, notebook: str = NOTEBOOK) -> dict[str, dict]:
    """What must be equal in the records of one of smoke's notebooks, however they came about."""
    return equal_records(outputs / "smoke" / "runs", profiles.load_study("smoke", notebook).cells())


def equal_records(runs: Path, cells: list[Cell]) -> dict[str, dict]:
    """What must be equal in the records of these cells."""
    kept = {}
    for cell in cells:
        record = json.loads((runs / f"{cell.name}.json").read_text(encoding="utf-8"))
        for done in record["rounds"]:
            for key in [key for key in done if key.startswith("seconds_")]:
                del done[key]
        kept[cell.name] = {k: v for k, v in record.items() if k not in ("provenance", "checksum")}
    return kept
