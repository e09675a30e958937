"""When to stop labelling: rules based on what a run knows after each round.

A rule takes one value per round, in order, and returns whether it says stop after each round,
bool (R,). What it says after a round depends only on that round and earlier ones. NaN is an unknown
value and never stops a run.
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
"""Rounding error that a mean may have: three kappas of 0.99 average to just below 0.99."""


def stabilising_predictions(
    kappas_R: np.ndarray, threshold: float = AGREEMENT, window: int = WINDOW
) -> np.ndarray:
    """Stop once predictions no longer change (Bloodgood and Vijay-Shanker, 2009).

    That is, once the mean of the last ``window`` values is at least ``threshold``; both defaults
    are the paper's. ``kappas_R`` holds each round's agreement with the previous one (Cohen's kappa
    of the classes predicted for images that are never labelled), NaN for the first.
    """
    return mean_agreement(kappas_R, window) >= threshold - ROUNDING


def mean_agreement(kappas_R: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Mean of the last ``window`` kappas after every round; NaN if one of them is unknown."""
    kappas_R = np.asarray(kappas_R, dtype=float)
    means_R = np.full(len(kappas_R), math.nan)
    if len(kappas_R) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(kappas_R, window)
        means_R[window - 1 :] = windows.mean(axis=1)
    return means_R


def overall_uncertainty(
    entropies_R: np.ndarray, classes: int | np.ndarray = 10, threshold: float = UNCERTAINTY
) -> np.ndarray:
    """Stop once little in the pool is uncertain (Zhu et al., 2008; 2010).

    ``entropies_R`` are means of the predictive entropy (nats) over all unlabelled images.
    They are divided by log ``classes``, given for all rounds or for each, so that a ``threshold``
    means the same for any number of classes. The papers leave its value to the user.
    """
    return share_of_uniform(entropies_R, classes) < threshold


def share_of_uniform(entropies_R: np.ndarray, classes: int | np.ndarray = 10) -> np.ndarray:
    """Entropies (nats) as shares of that of a uniform guess over the classes."""
    return np.asarray(entropies_R, dtype=float) / np.log(classes)


def error_difference(limits_R: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Stop once a round is shown to change the expected error by less than ``tolerance`` points.

    The idea is that of Ishibashi and Hino (2020): bound the difference between the expected errors
    before and after new labels, and stop by a statistical test of that bound. Their bound is a
    function of the divergence between two posteriors over the model's parameters. Gaussian
    processes and Bayesian linear models have these, a network trained by gradient descent does not,
    and their test is made for that bound. Here ``limits_R`` instead holds the upper end of a
    one-sided interval for the difference, in points, from one of

    - ``error_bound`` of ``running.stability``: the closest form, from predictive probabilities,
      without true classes;
    - ``gain_limits``: the gain in accuracy measured on a test set, which is all that a record has.

    A limit below ``tolerance`` is a test that rejects a difference of ``tolerance`` or more.
    """
    return np.asarray(limits_R, dtype=float) < tolerance


def gain_limits(accuracy_R: np.ndarray, errors_R: np.ndarray) -> np.ndarray:
    """Upper limits (points) on the gain in accuracy per round, averaged over ``WINDOW`` rounds.

    The accuracies (%) are measured on a test set, with their standard errors (points); the limit is
    that of a one-sided z interval. The two accuracies are treated as independent; if they are
    from the same images, the interval is wider than necessary. NaN for the first ``WINDOW`` rounds.
    """
    accuracy_R, errors_R = np.asarray(accuracy_R, dtype=float), np.asarray(errors_R, dtype=float)
    limits = np.full(len(accuracy_R), math.nan)
    gain = accuracy_R[WINDOW:] - accuracy_R[:-WINDOW]
    error = np.hypot(errors_R[WINDOW:], errors_R[:-WINDOW])
    limits[WINDOW:] = (gain + stats.norm.ppf(LEVEL) * error) / WINDOW
    return limits


def first_stop(says_R: np.ndarray) -> int | None:
    """Position (from 0) of the first round after which a rule says stop; None if it never does."""
    return int(np.argmax(says_R)) if says_R.any() else None
