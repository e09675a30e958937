"""Settings of a process that decide what is computed in it: read, and put back after others.

PyTorch, NumPy, scikit-learn and Python's warnings keep them for the whole process, or its thread:
what one caller sets, all that is computed there afterwards would be computed with.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import backends

_Setting = tuple[Callable[[], Any], Callable[[Any], None]]
"""What reads a setting, and what sets it."""
_Values = list[tuple[Callable[[Any], None], Any]]
"""What sets each setting, and a value of it."""


def _attribute(owner: object, name: str) -> _Setting:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _fp32_precision(owner: object) -> _Setting:
    return _attribute(owner, "fp32_precision")


SETTINGS: tuple[_Setting, ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda on: torch.set_autocast_enabled("cuda", on)),
    *(_attribute(backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
    *(_attribute(backends.mkldnn, name) for name in ("enabled", "deterministic")),
    _attribute(backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    _attribute(backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _attribute(backends.cudnn, "allow_tf32"),
    _fp32_precision(backends),
    _fp32_precision(backends.cudnn),
    (
        lambda: backends.mkldnn.fp32_precision,  # assigning it sets that of all backends
        lambda precision: backends.mkldnn.set_flags(_fp32_precision=precision),
    ),
    _fp32_precision(backends.cuda.matmul),
    *(_fp32_precision(getattr(backends.cudnn, name)) for name in ("conv", "rnn")),
    *(_fp32_precision(getattr(backends.mkldnn, name)) for name in ("matmul", "conv", "rnn")),
)
"""PyTorch's settings, in an order in which they can be set.

The older names of precision change those of several operations, so they come first; what is for
all backends comes before what is for one of them, and that before its operations.
"""


def read() -> _Values:
    """PyTorch's settings as they are, each with what sets it.

    An older name of precision is left out where the newer ones say what it can't: PyTorch then
    refuses to read it.
    """
    settings = []
    for get, put in SETTINGS:
        with suppress(RuntimeError):
            settings.append((put, get()))
    return settings


def put_back(settings: _Values) -> None:
    """Set PyTorch's settings as ``read`` found them.

    Two that this study never changes get PyTorch's own values: no default device, and numbers too
    small to be normal are kept.
    """
    torch.set_default_device(None)
    torch.set_flush_denormal(False)
    for put, value in settings:
        put(value)


@contextmanager
def kept() -> Iterator[None]:
    """All settings are as they were afterwards, whatever was set meanwhile."""
    from sklearn import config_context

    with warnings.catch_warnings(), np.errstate(), config_context(), _torch_kept():
        yield


@contextmanager
def under(settings: _Values) -> Iterator[None]:
    """What is computed meanwhile is computed with these settings of PyTorch."""
    with _torch_kept():
        put_back(settings)
        yield


@contextmanager
def _torch_kept() -> Iterator[None]:
    settings = read()
    try:
        yield
    finally:
        put_back(settings)
