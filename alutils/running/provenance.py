"""Where, with what and by which commit something is computed."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from alutils import paths
from alutils.learning.convolutions import BF16_PRODUCTS
from alutils.learning.devices import processor
from alutils.learning.network import ARITHMETIC


def provenance(device: torch.device) -> dict[str, Any]:
    """Where and with what this process computes."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "alutils")
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or device.type,
        "host": platform.node(),
        "machine": platform.machine(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_products": BF16_PRODUCTS,
        "arithmetic": ARITHMETIC,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


CODE = ("alutils", "notebooks", "params", "requirements.lock")
"""Parts of the checkout whose changes since the commit are noted in a provenance."""


def commit() -> dict[str, object]:
    """Short hash of the code's commit, and the parts that were changed since.

    Unknown if the code is not a checkout itself, but was unpacked, perhaps inside another one.
    """
    with suppress(OSError, ValueError, subprocess.CalledProcessError):
        top, head = paths.git("rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
        if Path(top).samefile(paths.ROOT):
            dirty = [part for part in CODE if paths.git("status", "--porcelain", part).strip()]
            return {"commit": head, "changed_since_commit": dirty}
    return {"commit": "unknown", "changed_since_commit": []}
