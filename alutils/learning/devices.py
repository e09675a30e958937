"""The device to compute on, and how to compute on it reproducibly."""

import os
import platform
import re
from pathlib import Path

import torch

from alutils.protocol.parameters import ParameterError


def pick_device(name: str) -> torch.device:
    """The device by name; ``auto`` takes cuda, then mps, then cpu; else ``ParameterError``."""
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


def settle(name: str) -> torch.device:
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


def processor() -> str:
    """The processor's vendor, family and model: with another one, sums are rounded otherwise."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor()
    lines = dict(re.findall(r"^(\S.*?)\s*: (.*)$", facts.read_text(), re.MULTILINE))
    return ", ".join(lines[key] for key in ("vendor_id", "cpu family", "model") if key in lines)
