"""Acquisition: which candidates to label next, from what the model says about them.

A strategy is a pure function ``(view, budget, rng) -> positions``: int64 (budget,), unique, each
in ``range(len(view))``. It knows neither dataset nor training.
"""

import dis
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from alutils.clustering import cluster_margin, kmeans, kmeans_centre, typiclust
from alutils.diversity import badge, coreset, probcover
from alutils.information import (
    bald,
    batchbald,
    entropies,
    mutual_information,
    power_bald,
    variation_ratios,
)
from alutils.parameters import ParameterError
from alutils.plans import CUSTOM_ARMS
from alutils.pool import PoolView
from alutils.protocol import BASELINE, BUILT_IN
from alutils.ranking import smallest

Strategy = Callable[[PoolView, int, torch.Generator], Tensor]
PLAIN = bool | int | float | complex | str | bytes | range | torch.dtype | torch.device
"""Constants whose ``repr`` is all there is to them."""
IMPORTED = ModuleType | BuiltinFunctionType | type | np.ufunc
"""What a strategy uses and does not define."""


def random(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The baseline: candidates drawn uniformly, without asking the model."""
    return torch.randperm(len(view), generator=rng)[:budget]


def uncertainty(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Least confidence: the lowest probability of the likeliest class (Lewis and Gale, 1994)."""
    return smallest(view.probs_N_C.max(1).values, budget, rng)


def margin(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The smallest gap between the two likeliest classes (Scheffer et al., 2001)."""
    first, second = view.probs_N_C.topk(2, dim=1).values.unbind(1)
    return smallest(first - second, budget, rng)


def bayesian(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest entropy of the mean prediction over MC-dropout passes (arXiv 1703.02910).

    With ``mc_score = "mutual-information"`` that entropy minus the mean entropy of the passes
    (Houlsby et al., arXiv 1112.5745). It is zero up to rounding where the passes are equal, as
    they are without dropout.
    """
    if view.mc_score == "mutual-information":
        return smallest(-mutual_information(view.mc_probs_T_N_C), budget, rng)
    return smallest(-entropies(view.mc_mean_N_C), budget, rng)


def entropy(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest entropy of the deterministic prediction (Shannon, 1948)."""
    return smallest(-entropies(view.probs_N_C), budget, rng)


def check_positions(positions: Tensor, budget: int, candidates: int, arm: str) -> None:
    """Raise ``ParameterError`` unless a strategy kept its contract."""
    if not isinstance(positions, Tensor) or positions.dtype != torch.int64 or positions.ndim != 1:
        kind = getattr(positions, "dtype", type(positions).__name__)
        raise ParameterError(
            f"strategy {arm!r} returned {kind} of shape {tuple(getattr(positions, 'shape', ()))}: "
            f"return a tensor of {budget} positions, int64 ({budget},)"
        )
    if len(positions) != budget or len(positions.unique()) != budget:
        raise ParameterError(
            f"strategy {arm!r} returned {len(positions)} positions, "
            f"{len(positions.unique())} of them different; {budget} different ones are needed"
        )
    if budget and not 0 <= int(positions.min()) <= int(positions.max()) < candidates:
        raise ParameterError(f"strategy {arm!r} returned a position outside [0, {candidates})")


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "uncertainty": uncertainty,
    "margin": margin,
    "kmeans": kmeans,
    "bayesian": bayesian,
    "entropy": entropy,
    "bald": bald,
    "power-bald": power_bald,
    "batchbald": batchbald,
    "variation-ratios": variation_ratios,
    "coreset": coreset,
    "badge": badge,
    "probcover": probcover,
    "typiclust": typiclust,
    "cluster-margin": cluster_margin,
    "kmeans-centre": kmeans_centre,
}


def register(name: str, strategy: Strategy) -> None:
    """Make a strategy of one's own an arm of the study.

    What decides its record's name is its source, with its defaults, and with the constants,
    functions and decorators that it takes from where it was written; not what it imports.
    ``ValueError`` for a name that is taken or none, for what is not a function, and for constants
    and classes whose content can't be told.
    """
    if name in (*BUILT_IN, BASELINE, "sequence"):
        raise ValueError(f"{name!r} is a name of the study: choose another one")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{name!r} is no name: use letters, digits, '-' and '_'")
    if not inspect.isfunction(strategy):
        raise ValueError(
            f"{name!r} is a {type(strategy).__name__}: give a function (view, budget, rng)"
        )
    source_hash = _hash(strategy)
    module = sys.modules.get(strategy.__module__)
    if module and not _installed(module):  # which workers elsewhere could not import
        cloudpickle.register_pickle_by_value(module)
    STRATEGIES[name] = strategy
    CUSTOM_ARMS[name] = source_hash


def registered() -> dict[str, Strategy]:
    """The strategies of one's own by arm; ``ValueError`` where one is not what it was any more."""
    for name, known in CUSTOM_ARMS.items():
        if _hash(STRATEGIES[name]) != known:
            raise ValueError(
                f"what {name!r} takes from the notebook changed since it was registered: register "
                "it again, and make the plan after that"
            )
    return {name: STRATEGIES[name] for name in CUSTOM_ARMS}


def _hash(strategy: Strategy) -> str:
    source = "\n".join(_written(strategy, inspect.unwrap(strategy).__globals__, set()))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def _installed(module: ModuleType) -> bool:
    """Whether a module is this package's, an installed one, or the notebook itself."""
    if module.__name__ == "__main__" or module.__name__.partition(".")[0] == "alutils":
        return True
    places = {sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib")}
    file = getattr(module, "__file__", None)
    return not file or any(Path(file).is_relative_to(place) for place in places)


def _written(value: object, known: dict[str, Any], seen: set[Callable]) -> Iterator[str]:
    """Sources of what a name stands for, and of what that wraps, as far as these globals are its.

    Decorators and ``functools.cache`` wrap.
    """
    while True:
        if inspect.isfunction(value) and value.__globals__ is known and value not in seen:
            yield from _sources(value, seen)
        if not hasattr(value, "__wrapped__"):
            return
        value = value.__wrapped__


def _sources(function: FunctionType, seen: set[Callable]) -> Iterator[str]:
    """Source of a function, and of the constants and functions of its own module that it uses."""
    seen.add(function)
    yield textwrap.dedent(inspect.getsource(function.__code__))
    known, used = function.__globals__, inspect.getclosurevars(function).nonlocals
    used |= {name: known[name] for name in _globals(function.__code__) if name in known}
    used |= {"__defaults__": function.__defaults__, "__kwdefaults__": function.__kwdefaults__}
    for name, value in sorted(used.items()):
        if callable(value) and inspect.isfunction(inspect.unwrap(value)):
            yield from _written(value, known, seen)
        elif isinstance(value, type) and value.__module__ == known["__name__"]:
            raise ValueError(
                f"{name} is a class, and a change of it could not be told: use functions, or "
                "import it from a package"
            )
        elif not isinstance(value, IMPORTED):
            yield f"{name} = {_content(name, value)}"


def _content(name: str, value: object) -> str:
    """A constant in words that are the same in every process, and differ where it does."""
    if value is None or isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset | dict):
        parts = value.items() if isinstance(value, dict) else value
        told = [_content(name, one) for one in parts]
        ordered = told if isinstance(value, list | tuple) else sorted(told)
        return f"{type(value).__name__}({', '.join(ordered)})"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return f"array({value.dtype}, {value.shape}, {digest})"
    if isinstance(value, Tensor):
        flat = value.detach().cpu().reshape(-1).view(torch.uint8)
        digest = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
        return f"tensor({value.dtype}, {tuple(value.shape)}, {digest})"
    raise ValueError(
        f"{name} is a {type(value).__name__}, and a change of it could not be told: use numbers, "
        "text, arrays, or lists, tuples, sets and dicts of these, or make it within the function"
    )


def _globals(code: CodeType) -> set[str]:
    """Names that code takes from its module, in the functions and comprehensions within it too."""
    names = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return names.union(*(_globals(one) for one in code.co_consts if isinstance(one, CodeType)))
