"""Process-wide settings that affect results: reading them, and restoring them after changes.

PyTorch, NumPy, scikit-learn and Python's warnings keep them per process or per thread: what one
caller sets would affect everything computed there afterwards.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import backends

_Setting = tuple[Callable[[], Any], Callable[[Any], None]]
"""Getter and setter of a setting."""
_Values = list[tuple[Callable[[Any], None], Any]]
"""Setter and value of each setting."""


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

The older precision flags change the precision of several operations, so they come first; settings
for all backends come before those for one backend, and these before those for its operations.
"""


def read() -> _Values:
    """PyTorch's current settings, each with its setter.

    An older precision flag is left out if the newer ones have values that it can't express:
    PyTorch then refuses to read it.
    """
    settings = []
    for get, put in SETTINGS:
        with suppress(RuntimeError):
            settings.append((put, get()))
    return settings


def restore(settings: _Values) -> None:
    """Restore PyTorch's settings to what ``read`` returned.

    Two that this study never changes are set to PyTorch's defaults: no default device, and
    denormal numbers are not flushed to zero.
    """
    torch.set_default_device(None)
    torch.set_flush_denormal(False)
    for put, value in settings:
        put(value)


@contextmanager
def restored_afterwards() -> Iterator[None]:
    """Context that restores all settings at its end, whatever was set within it."""
    from sklearn import config_context

    with warnings.catch_warnings(), np.errstate(), config_context(), _torch_kept():
        yield


@contextmanager
def applied(settings: _Values) -> Iterator[None]:
    """Context in which everything is computed with these PyTorch settings."""
    with _torch_kept():
        restore(settings)
        yield


@contextmanager
def _torch_kept() -> Iterator[None]:
    settings = read()
    try:
        yield
    finally:
        restore(settings)
