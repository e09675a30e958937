"""How much predictions changed since the previous round: the input of stopping rules.

A record has it per round if the protocol has a stop set (Bloodgood and Vijay-Shanker, 2009):
held-out images, whose labels are not used. ``reporting.stopping`` has the rules.
"""

import math

import numpy as np
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from alutils.strategies.scores import entropies

LEVEL = 0.95
"""One-sided confidence level of a bound on the error."""


def mean_entropy(probs_N_C: Tensor) -> float:
    """Mean predictive entropy (nats) of the candidates, images that are not labelled yet."""
    return entropies(probs_N_C.double()).mean().item()


def changes(before_N_C: np.ndarray, now_N_C: np.ndarray) -> dict[str, float]:
    """How the class probabilities of the same N images changed between two rounds."""
    return {
        "kappa": kappa(before_N_C.argmax(1), now_N_C.argmax(1)),
        "error_bound": error_bound(before_N_C, now_N_C),
    }


def kappa(before_N: np.ndarray, now_N: np.ndarray) -> float:
    """Cohen's kappa between two rounds' predicted classes; 1 if they agree on every image."""
    if (before_N == now_N).all():
        return 1.0
    return float(cohen_kappa_score(before_N, now_N))


def error_bound(before_N_C: np.ndarray, now_N_C: np.ndarray) -> float:
    """Upper limit (points) on how much the expected error changed between two rounds.

    For an image of any true class, the probability that a class drawn from the predictive
    distribution is wrong changes by at most the total variation distance between the distributions
    before and after. The mean of that distance over images like the N given ones therefore bounds
    the change of the expected error; no confidence level is involved. If the distributions are
    means over posteriors, this mean is never above the bound of Ishibashi and Hino (2020), which
    uses the divergence between the posteriors (data processing and Pinsker's inequality). The N
    images are a sample: the limit is the upper end of a one-sided t interval for that mean.
    """
    apart = 100 * np.abs(now_N_C.astype(float) - before_N_C.astype(float)).sum(axis=1) / 2
    count = len(apart)
    half = stats.t.ppf(LEVEL, count - 1) * apart.std(ddof=1) / math.sqrt(count)
    return float(apart.mean() + half)
