"""The poster's per-candidate scores, with entropy as a control, and the random baseline."""

import torch
from torch import Tensor

from alutils.strategies.ranking import smallest
from alutils.strategies.scores import entropies, gap, mutual_information
from alutils.strategies.view import PoolView


def random(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The baseline: candidates drawn uniformly, without asking the model."""
    return torch.randperm(len(view), generator=rng)[:budget]


def uncertainty(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Least confidence: the lowest probability of the likeliest class (Lewis and Gale, 1994)."""
    return smallest(view.probs_N_C.max(1).values, budget, rng)


def margin(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The smallest gap between the two likeliest classes (Scheffer et al., 2001)."""
    return smallest(gap(view.probs_N_C), budget, rng)


def bayesian(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest entropy of the mean prediction over MC-dropout passes (arXiv 1703.02910).

    With ``mc_score = "mutual-information"``, that entropy minus the mean entropy of the passes
    (Houlsby et al., arXiv 1112.5745), which is zero up to rounding if the passes are equal, as they
    are without dropout.
    """
    if view.mc_score == "mutual-information":
        return smallest(-mutual_information(view.mc_probs_T_N_C), budget, rng)
    return smallest(-entropies(view.mc_mean_N_C), budget, rng)


def entropy(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest entropy of the deterministic prediction (Shannon, 1948)."""
    return smallest(-entropies(view.probs_N_C), budget, rng)
