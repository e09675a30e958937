"""Acquisition by how informative a label is about predictions at other inputs, from MC passes.

Each pass is a sample of the weights (Gal and Ghahramani, arXiv 1506.02142). Entropies in nats.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.strategies.ranking import smallest
from alutils.strategies.scores import entropies
from alutils.strategies.view import PoolView

TARGETS = 100
"""Number of target inputs, drawn from the candidates; as many as in the authors' code."""
BLOCK = 2**22
"""Joint probabilities held at a time (32 MB), at least those of one candidate and one target."""
RESOLUTION = 1e-12
"""Nats below which a score is rounding error: with equal passes, float64's is about 1e-15."""


def epig(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest expected information of a candidate's label about the label of a random input.

    Expected predictive information gain, Bickford Smith et al., arXiv 2304.08151. This is the
    paper's estimator for classification: labels of two inputs are independent given the weights, so
    their joint distribution is the mean over the passes of the product of their class
    probabilities. The paper draws target inputs from a target distribution; here they are
    ``TARGETS`` candidates drawn with ``rng``, or all candidates in a smaller pool. The paper
    acquires one label at a time; here the ``budget`` highest scores are taken at once.

    A study whose ``mc_passes`` or ``dropout`` is too low for passes to differ is refused before it
    begins. Joint probabilities are computed in blocks of ``BLOCK``; only the passes of the targets
    are kept in memory.
    """
    targets_T_M_C = _targets(view, rng)
    score_N = view.over_passes(partial(predictive_information, targets_T_M_C=targets_T_M_C))
    return smallest(-F.threshold(score_N, RESOLUTION, 0.0), budget, rng)


def predictive_information(probs_T_N_C: Tensor, targets_T_M_C: Tensor) -> Tensor:
    """Mutual information (N,), float64, of a candidate's and a target's label, mean over M targets.

    The sum of both entropies minus the joint entropy, a difference that float64 resolves to about
    1e-15. A pass's probabilities need to add up to 1 only within float32's rounding.
    """
    probs_T_N_C, targets_T_M_C = _exact(probs_T_N_C), _exact(targets_T_M_C)
    _, targets, classes = targets_T_M_C.shape
    rows = max(1, BLOCK // (classes**2 * targets))
    joint_N = torch.cat([_joint(part, targets_T_M_C) for part in probs_T_N_C.split(rows, dim=1)])
    marginal_N = entropies(probs_T_N_C.mean(0))
    return marginal_N + entropies(targets_T_M_C.mean(0)).mean() - joint_N


def _joint(probs_T_B_C: Tensor, targets_T_M_C: Tensor) -> Tensor:
    """Joint entropy (B,) of the labels of a candidate and a target, mean over the targets."""
    passes, count, classes = probs_T_B_C.shape
    most = max(1, BLOCK // (count * classes**2))
    total_BC = 0.0
    for targets_T_m_C in targets_T_M_C.split(most, dim=1):
        joint_BC_mC = probs_T_B_C.flatten(1).T @ targets_T_m_C.flatten(1) / passes
        total_BC = total_BC + entropies(joint_BC_mC)
    return total_BC.view(count, classes).sum(1) / targets_T_M_C.shape[1]


def _exact(probs: Tensor) -> Tensor:
    """Probabilities in float64, normalised to add up to 1 in each pass."""
    probs = probs.double()
    return probs / probs.sum(-1, keepdim=True)


def _targets(view: PoolView, rng: torch.Generator) -> Tensor:
    """The passes (T, M, C) of ``TARGETS`` random candidates, or of all where there are fewer."""
    targets = torch.randperm(len(view), generator=rng)[:TARGETS]
    is_target_N = torch.zeros(len(view), dtype=torch.bool)
    is_target_N[targets] = True
    seen = 0

    def of_targets(probs_T_B_C: Tensor) -> Tensor:
        nonlocal seen
        start, seen = seen, seen + probs_T_B_C.shape[1]
        return probs_T_B_C[:, is_target_N[start:seen]].transpose(0, 1)

    return view.over_passes(of_targets, rows=len(targets)).transpose(0, 1)
