"""The device to compute on, and how to compute on it reproducibly."""

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from alutils.protocol.parameters import ParameterError

DESCRIBED = (
    "vendor_id", "cpu family", "model", "CPU implementer", "CPU variant", "CPU part",
)  # fmt: skip
"""Fields kept from ``/proc/cpuinfo``: the first three on x86, the rest on ARM."""


def pick_device(name: str) -> torch.device:
    """Return the device by name; ``auto`` takes cuda, else mps, else cpu.

    Raises ``ParameterError`` if this machine doesn't have the device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, has in present.items() if has), "cpu")
    if not present.get(name, True):
        raise ParameterError(f"device = {name!r} is not on this machine: use auto or cpu")
    return torch.device(name)


def visible_gpus() -> tuple[str, ...]:
    """CUDA's names of the GPUs that this process may use."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return tuple(name.strip() for name in named.split(",")[:count])


def make_deterministic(name: str) -> torch.device:
    """Make this process compute reproducibly on a device: one thread, deterministic kernels.

    ``name`` is as in ``pick_device``.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
    torch.set_num_threads(1)
    device = pick_device(name)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # else fp32 convolutions keep 10 bits of 23
    return device


@cache
def processor() -> str:
    """The processor's vendor, family and model, on which the rounding of sums depends.

    On ARM, its implementer, variant and part, as given by Linux; on macOS, its name.
    """
    with suppress(OSError):
        return described(Path("/proc/cpuinfo").read_text())
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            return done.stdout.strip()
    return platform.processor()


def described(cpuinfo: str) -> str:
    """Describe a processor by the text of ``/proc/cpuinfo``."""
    lines = dict(re.findall(r"^(\S.*?)\s*: (.*)$", cpuinfo, re.MULTILINE))
    return ", ".join(lines[key] for key in DESCRIBED if key in lines)
