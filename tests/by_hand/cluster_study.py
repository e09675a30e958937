"""The study on a scheduler and three workers started by hand, against local runs: run by hand.

``python -m tests.by_hand.cluster_study``. The whole of ``smoke`` through the command line, and a
cut of ``quick`` on real data in which one worker is killed and another joins late. Records must be
equal to those of local runs, and a second call must submit nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alutils.running import run
from alutils.studies import profiles
from tests.processes import equal_part, equal_records, start

ADDRESS = "tcp://127.0.0.1:8799"
CUT = {"seeds": (0,), "arms": ("random", "margin", "kmeans", "bayesian"), "rounds": 2}


def by_hand(folder: Path, kind: str, *words: str) -> subprocess.Popen:
    """A scheduler or worker in a working folder of its own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "dask", kind, *words, "--dashboard-address", "127.0.0.1:0"]
    with open(place / "log", "w") as log:
        return subprocess.Popen(command, cwd=place, stdout=log, stderr=log)


def worker(folder: Path) -> subprocess.Popen:
    return by_hand(folder, "worker", ADDRESS, "--nthreads", "1", "--death-timeout", "20")


def smoke(folder: Path, name: str, *options: str) -> Path:
    """Outputs of the smoke profile."""
    command = [sys.executable, "-m", "alutils", "study", "smoke"]
    process = start(folder / name, *options, command=command)
    told, error = process.communicate()
    assert process.returncode == 0, error
    print(f"smoke, {name}: {told.count(' round ')} rounds computed", flush=True)
    return folder / name


def quick(folder: Path, name: str, scheduler: str = "", say=lambda line: None) -> dict:
    """Records of the cut of the quick profile."""
    os.environ["ALUTILS_OUTPUTS"] = str(folder / name)
    study = profiles.load_study("quick", "03-mnist-active-learning").model_copy(update=CUT)
    run.run(study.model_copy(update={"scheduler": scheduler}), say)
    return equal_records(folder / name / "quick" / "runs", study.cells())


def main(folder: Path) -> None:
    """Compare, and print what was seen."""
    started = [by_hand(folder, "scheduler", "--host", "127.0.0.1", "--port", ADDRESS[-4:])]
    started += [worker(folder) for _ in range(3)]
    try:
        alone, there = smoke(folder, "alone"), smoke(folder, "cluster", "--scheduler", ADDRESS)
        for notebook in profiles.notebooks("smoke"):
            if notebook != "04-claims":
                assert equal_part(there, notebook) == equal_part(alone, notebook), notebook
        smoke(folder, "cluster", "--scheduler", ADDRESS)
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            print(line, flush=True)
            if sum("accuracy" in line for line in lines) == 2:
                time.sleep(5)
                started[1].send_signal(signal.SIGKILL)
                started.append(worker(folder))

        there, alone = quick(folder, "quick-cluster", ADDRESS, say), quick(folder, "quick-alone")
        assert there == alone and there
        came, lost = (sum(word in line for line in lines) for word in ("accuracy", "a worker died"))
        print(f"equal; {came} rounds came back, {lost} were lost with their worker", flush=True)
        quick(folder, "quick-cluster", ADDRESS, print)
    finally:
        for process in started:
            process.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
