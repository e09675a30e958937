"""The strategy of each arm, and how users add their own."""

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from alutils.protocol.arms import ARM_TITLE, ARMS, CUSTOM_ARMS
from alutils.protocol.parameters import ParameterError
from alutils.strategies.custom import ask
from alutils.strategies.source import StrategySource
from alutils.strategies.view import PoolView

Strategy = Callable[[PoolView, int, torch.Generator], Tensor]


class BrokenContract(ParameterError):
    """A strategy returned something other than the positions that it was asked for."""


def checked_positions(
    positions: Tensor | np.ndarray, budget: int, candidates: int, arm: str
) -> Tensor:
    """Check what a strategy returned, and return it as int64 (budget,) on the CPU.

    Raises ``BrokenContract`` unless it is ``budget`` different positions in [0, ``candidates``), as
    int64; a NumPy array of any integer type is accepted too.
    """
    given = positions
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu" and given.ndim == 1:
        positions = torch.from_numpy(given.astype(np.int64))
    if not isinstance(positions, Tensor) or positions.dtype != torch.int64 or positions.ndim != 1:
        kind = f"a {type(given).__name__}"
        if isinstance(given, Tensor | np.ndarray):
            of = "tensor" if isinstance(given, Tensor) else "NumPy array"
            dtype = str(given.dtype).removeprefix("torch.")
            kind = f"a {of} of {dtype}, of shape {tuple(given.shape)}"
        raise BrokenContract(
            f"strategy {arm!r} returned {kind}: return {budget} positions as a tensor, int64 "
            f"({budget},), or as a NumPy array of integers"
        )
    if len(positions) != budget or len(positions.unique()) != budget:
        raise BrokenContract(
            f"strategy {arm!r} returned {len(positions)} positions, "
            f"{len(positions.unique())} of them different; {budget} different ones are needed"
        )
    if budget and not 0 <= int(positions.min()) <= int(positions.max()) < candidates:
        raise BrokenContract(f"strategy {arm!r} returned a position outside [0, {candidates})")
    return positions.cpu()


def _imported(function: str) -> Strategy:
    """Import the strategy ``MODULE.NAME`` from ``alutils.strategies``.

    The strategy raises ``ValueError`` if it is asked for more candidates than there are.
    """
    module, _, name = function.rpartition(".")
    strategy = getattr(import_module(f"alutils.strategies.{module}"), name)

    @wraps(strategy)
    def asked(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
        if budget > len(view):
            raise ValueError(f"budget = {budget} is more than the {len(view)} candidates: lower it")
        return strategy(view, budget, rng)

    return asked


STRATEGIES: dict[str, Strategy] = {name: _imported(arm.function) for name, arm in ARMS.items()}
"""The function of every arm: the study's own from ``protocol.arms``, then what users register."""


def choose(
    arm: str, custom: dict[str, bytes], view: PoolView, budget: int, rng: torch.Generator
) -> Tensor:
    """Indices of the candidates that an arm picks, int64 (budget,), most preferred first.

    ``custom`` has a user's strategies by arm, as ``packed`` returns them. Raises ``BrokenContract``
    if a strategy breaks its contract, and ``StrategyFailed`` if a user's strategy raises an error.
    """
    if arm in custom:
        positions = ask(custom[arm], arm, view, budget, rng)
    else:
        positions = STRATEGIES[arm](view, budget, rng)
    return view.candidates[checked_positions(positions, budget, len(view), arm)]


def register(name: str, strategy: Strategy) -> None:
    """Make a user's strategy an arm of the study.

    A hash of its source, and of everything that the source uses, becomes part of its records' names
    (``StrategySource``). Modules that are not installed are sent to the workers with it. Raises
    ``ValueError`` if the name is taken or invalid, if ``strategy`` is not a function, or if a
    change of its code could go unnoticed. The study's arm names and their titles in figures are
    taken, regardless of case.
    """
    taken = {each.lower() for each in (*ARM_TITLE, *ARM_TITLE.values(), "sequence")}
    if name.lower() in taken:
        raise ValueError(f"{name!r} is already a name in the study: choose another one")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{name!r} is not a valid name: use letters, digits, '-' and '_'")
    if not inspect.isfunction(strategy):
        raise ValueError(
            f"{name!r} is a {type(strategy).__name__}: give a function (view, budget, rng)"
        )
    source = StrategySource(strategy)
    for module in source.modules - {"__main__"}:  # a notebook's own is always sent
        cloudpickle.register_pickle_by_value(sys.modules[module])
    STRATEGIES[name] = strategy
    CUSTOM_ARMS[name] = source.digest


def packed(arms: Iterable[str]) -> dict[str, bytes]:
    """Pickle those of the arms that a user registered, each with everything that it uses.

    Raises ``ValueError`` if a strategy, or anything that it uses, has changed since it was
    registered.
    """
    registered = {name: STRATEGIES[name] for name in CUSTOM_ARMS if name in arms}
    for name, strategy in registered.items():
        if StrategySource(strategy).digest != CUSTOM_ARMS[name]:
            raise ValueError(
                f"what {name!r} uses has changed since it was registered: register it again, then "
                "create the study"
            )
    return {name: cloudpickle.dumps(strategy) for name, strategy in registered.items()}
