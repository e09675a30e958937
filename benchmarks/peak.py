"""The most memory that this process has held."""

import resource
import sys
from pathlib import Path


def peak_gb() -> float:
    """Peak of the resident memory (GB) since this program began.

    Not ``ru_maxrss`` on Linux, where a program starts with the peak of its parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, elsewhere KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
