"""When to stop labelling: rules over what a run knows after every round.

A rule takes one value a round, in order, and returns for every round whether it says stop after it,
bool (R,). What it says of a round rests on that round and those before it alone. A NaN is a value
that is not known, and stops nothing.
"""

import math

import numpy as np
from scipy import stats

from alutils.reporting.statistics import LEVEL

AGREEMENT, UNCERTAINTY, TOLERANCE = 0.99, 0.05, 0.5
"""Thresholds: a mean kappa, a share of a uniform guess's entropy, and points of accuracy."""
WINDOW = 3
"""Rounds over which kappas and gains are averaged."""
ROUNDING = 1e-12
"""By how much a mean may miss its threshold: three kappas of 0.99 have a mean just below 0.99."""


def stabilising_predictions(
    kappas_R: np.ndarray, threshold: float = AGREEMENT, window: int = WINDOW
) -> np.ndarray:
    """Stop once predictions no longer change (Bloodgood and Vijay-Shanker, 2009).

    That is where the mean of the last ``window`` values is at least ``threshold``; both defaults
    are the paper's. ``kappas_R`` has a round's agreement with the round before (Cohen's kappa of
    the classes of images that are never labelled), NaN for the first.
    """
    return mean_agreement(kappas_R, window) >= threshold - ROUNDING


def mean_agreement(kappas_R: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Mean of the last ``window`` kappas after every round; NaN where one of them is not known."""
    kappas_R = np.asarray(kappas_R, dtype=float)
    means_R = np.full(len(kappas_R), math.nan)
    if len(kappas_R) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(kappas_R, window)
        means_R[window - 1 :] = windows.mean(axis=1)
    return means_R


def overall_uncertainty(
    entropies_R: np.ndarray, classes: int | np.ndarray = 10, threshold: float = UNCERTAINTY
) -> np.ndarray:
    """Stop once the pool holds little that is uncertain (Zhu et al., 2008; 2010).

    ``entropies_R`` are means of the predictive entropy (nats) over all images not labelled yet.
    They are divided by log ``classes``, of all rounds or of each, so that a ``threshold`` means the
    same for any number of classes. The papers leave its value to the user.
    """
    return share_of_uniform(entropies_R, classes) < threshold


def share_of_uniform(entropies_R: np.ndarray, classes: int | np.ndarray = 10) -> np.ndarray:
    """Entropies (nats) as shares of that of a uniform guess over the classes."""
    return np.asarray(entropies_R, dtype=float) / np.log(classes)


def error_difference(limits_R: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Stop once a round is shown to change the expected error by less than ``tolerance`` points.

    The idea is that of Ishibashi and Hino (2020): bound the difference between the expected errors
    before and after new labels, and stop by a statistical test of that bound. Their bound is a
    function of the divergence between two posteriors over the model's parameters, which Gaussian
    processes and Bayesian linear models have and a network trained by gradient descent has not, and
    their test is made for that bound. In its place ``limits_R`` holds the upper end of a one-sided
    interval for the difference, in points, from one of

    - ``error_bound`` of ``running.stability``: the closest form, from the predictive probabilities;
      it needs no true class;
    - ``gain_limits``: the gain in accuracy as measured on a test set; all that a record has.

    A limit below ``tolerance`` is a test that rejects a difference of ``tolerance`` or more.
    """
    return np.asarray(limits_R, dtype=float) < tolerance


def gain_limits(accuracy_R: np.ndarray, errors_R: np.ndarray) -> np.ndarray:
    """Upper limits (points) on the gain in accuracy a round, on average over ``WINDOW`` rounds.

    The accuracies (%) are measured on a test set, with their standard errors (points); the limit is
    that of a one-sided z interval. Both accuracies count as measured on images of their own: on the
    same images the interval is wider than it need be. NaN for the first ``WINDOW`` rounds.
    """
    accuracy_R, errors_R = np.asarray(accuracy_R, dtype=float), np.asarray(errors_R, dtype=float)
    limits = np.full(len(accuracy_R), math.nan)
    gain = accuracy_R[WINDOW:] - accuracy_R[:-WINDOW]
    error = np.hypot(errors_R[WINDOW:], errors_R[:-WINDOW])
    limits[WINDOW:] = (gain + stats.norm.ppf(LEVEL) * error) / WINDOW
    return limits


def first(says_R: np.ndarray) -> int | None:
    """Position (from 0) of the first round after which a rule says stop; None if it never does."""
    return int(np.argmax(says_R)) if says_R.any() else None
