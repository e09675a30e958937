"""Acquisition: which candidates to label next, from what the model says about them.

A strategy is a pure function ``(view, budget, rng) -> positions``: int64 (budget,), unique, each
in ``range(len(view))``. It knows neither dataset nor training.
"""

import inspect
import sys
from collections.abc import Callable, Iterable

import cloudpickle
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
from alutils.source import StrategySource

Strategy = Callable[[PoolView, int, torch.Generator], Tensor]


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

    All that decides what it returns is in its record's name (see ``StrategySource``). Modules that
    are not installed travel to the workers with it. ``ValueError`` for a name that is taken or
    none, for what is not a function, and for what can't be told apart.
    """
    if name in (*BUILT_IN, BASELINE, "sequence"):
        raise ValueError(f"{name!r} is a name of the study: choose another one")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"{name!r} is no name: use letters, digits, '-' and '_'")
    if not inspect.isfunction(strategy):
        raise ValueError(
            f"{name!r} is a {type(strategy).__name__}: give a function (view, budget, rng)"
        )
    source = StrategySource(strategy)
    for module in source.modules - {"__main__"}:  # that of a notebook always travels
        cloudpickle.register_pickle_by_value(sys.modules[module])
    STRATEGIES[name] = strategy
    CUSTOM_ARMS[name] = source.digest


def packed(arms: Iterable[str]) -> dict[str, bytes]:
    """Those of the arms that were registered, each pickled with all that it uses.

    ``ValueError`` where one is not what it was when it was registered.
    """
    own = {name: STRATEGIES[name] for name in CUSTOM_ARMS if name in arms}
    for name, strategy in own.items():
        if StrategySource(strategy).digest != CUSTOM_ARMS[name]:
            raise ValueError(
                f"what {name!r} takes from around it changed since it was registered: register it "
                "again, and make the plan after that"
            )
    return {name: cloudpickle.dumps(strategy) for name, strategy in own.items()}
