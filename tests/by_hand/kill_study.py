"""Kills ``make study`` at random moments and looks at what is left: run by hand.

``python -m tests.by_hand.kill_study [KILLS] [SEED]``. Each kill is a SIGKILL to make's whole
process group; after it no process may be left within 10 seconds and no finished round may be lost.
A run that was killed is started again; when it has ended, its records must equal those of a run in
peace, and the next kills begin with empty outputs. Every tenth kill falls into the download of a
dataset.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.processes import ARMS_NOTEBOOK, equal_part, gone_within, start

MOMENTS = {
    "starting": (0.0, 6.0),
    "training": (0.0, 1.5),
    "records": (0.0, 0.05),
    "saving": (0.0, 5.0),
    "download": (2.0, 8.0),
}
"""Phases, and the seconds after their mark within which the kill falls."""
MARKS = {"training": "round   1/3", "records": "round   2/3", "saving": "10/10 cells"}


def make(outputs: Path, profile: str = "smoke", **environment: str) -> subprocess.Popen:
    """Start ``make study`` in a process group of its own."""
    command = ["make", "study", f"PROFILE={profile}", f"NOTEBOOK={ARMS_NOTEBOOK}"]
    return start(outputs, command=command, **environment)


def rounds(outputs: Path) -> dict[str, list[str]]:
    """Digests of the rounds of every record; a file that can't be read counts as lost."""
    return {
        path.name: [done["digest"] for done in json.loads(path.read_text())["rounds"]]
        for path in sorted(outputs.glob("smoke/runs/*.json"))
    }


def kill(process: subprocess.Popen, phase: str, after: float) -> bool:
    """Wait for the phase's mark and kill the group; False when the run ended before."""
    if mark := MARKS.get(phase):
        for line in process.stdout:
            if mark in line:
                break
    time.sleep(after)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.stderr.close()
    process.wait()
    return not ended


def in_peace(outputs: Path) -> dict[str, object]:
    """The records of a run that no one disturbs."""
    process = make(outputs)
    _, told = process.communicate()
    assert process.returncode == 0, told
    return equal_part(outputs, ARMS_NOTEBOOK)


def main(kills: int, seed: int) -> None:
    """Kill that many runs and print what was seen."""
    rng, counts, slowest, lost, reruns = random.Random(seed), Counter(), 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        expected = in_peace(Path(folder) / "peace")
        outputs = Path(folder) / "run0"
        while sum(counts.values()) < kills:
            done = sum(counts.values())
            if done % 10 == 9:
                phase, place = "download", Path(folder) / f"download{done}"
                process = make(place, "quick", ALUTILS_DATA=str(place / "data"))
            else:
                phase, place = rng.choice([p for p in MOMENTS if p != "download"]), outputs
                before = rounds(place)
                process = make(place)
            killed = kill(process, phase, rng.uniform(*MOMENTS[phase]))
            if killed:
                counts[phase] += 1
                slowest = max(slowest, gone_within(place))
                print(f"{done + 1:>3} {phase}", flush=True)
            if phase == "download":
                continue
            after = rounds(place)
            lost += sum(after.get(name, [])[: len(had)] != had for name, had in before.items())
            if all(len(had) == 3 for had in after.values()) and len(after) == len(expected):
                assert in_peace(outputs) == expected
                reruns += 1
                outputs = Path(folder) / f"run{reruns}"
        assert in_peace(outputs) == expected
    print(
        f"{sum(counts.values())} kills ({dict(counts)}): {lost} records lost a round, all "
        f"processes gone within {slowest:.1f} s, {reruns + 1} runs ended with equal records"
    )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [30, 0][len(numbers) :]))
