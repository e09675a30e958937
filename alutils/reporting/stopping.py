"""When to stop labelling: three published rules over what a run knows after every round.

A rule takes one value a round, in order, and returns the position (from 0) of the first round after
which it says stop, or None where it never does. What it says of a round rests on that round and
those before it alone. A NaN is a value that is not known, and stops nothing.
"""

import math

import numpy as np
from scipy import stats

from alutils.reporting.statistics import LEVEL

ROUNDING = 1e-12
"""By how much a mean may miss its threshold: three kappas of 0.99 have a mean just below 0.99."""


def kappas(predictions_R_N: np.ndarray) -> np.ndarray:
    """Cohen's kappa between each round's predictions and the round's before; NaN for the first.

    The predictions are classes of the same N images in every round, a set that is never labelled
    ("stop set"). Two rounds that give every image one and the same class agree fully: 1.
    """
    predictions_R_N = np.asarray(predictions_R_N)
    classes = np.unique(predictions_R_N)
    shares_R_C = np.stack([(predictions_R_N == k).mean(axis=1) for k in classes], axis=1)
    agree = (predictions_R_N[1:] == predictions_R_N[:-1]).mean(axis=1)
    chance = (shares_R_C[1:] * shares_R_C[:-1]).sum(axis=1)
    certain = chance == 1
    kappa = (agree - chance) / np.where(certain, 1, 1 - chance)
    return np.concatenate([[math.nan], np.where(certain, 1.0, kappa)])


def stabilising_predictions(
    kappas_R: np.ndarray, threshold: float = 0.99, window: int = 3
) -> int | None:
    """Stop once predictions no longer change (Bloodgood and Vijay-Shanker, 2009).

    That is where the mean of the last ``window`` values of ``kappas`` is at least ``threshold``;
    both defaults are the paper's.
    """
    kappas_R = np.asarray(kappas_R, dtype=float)
    if len(kappas_R) < window:
        return None
    means = np.lib.stride_tricks.sliding_window_view(kappas_R, window).mean(axis=1)
    first = _first(means >= threshold - ROUNDING)
    return None if first is None else first + window - 1


def overall_uncertainty(
    entropies_R: np.ndarray, classes: int = 10, threshold: float = 0.05
) -> int | None:
    """Stop once the pool holds little that is uncertain (Zhu et al., 2008; 2010).

    ``entropies_R`` are means of the predictive entropy (nats) over all images not labelled yet.
    They are divided by log ``classes``, so that a ``threshold`` means the same for any number of
    classes. The papers leave its value to the user.
    """
    return _first(np.asarray(entropies_R, dtype=float) / math.log(classes) < threshold)


def error_difference(limits_R: np.ndarray, tolerance: float = 0.5) -> int | None:
    """Stop once a round is shown to change the expected error by less than ``tolerance`` points.

    The idea is that of Ishibashi and Hino (2020): bound the difference between the expected errors
    before and after new labels, and stop by a statistical test of that bound. Their bound is a
    function of the divergence between two posteriors over the model's parameters, which Gaussian
    processes and Bayesian linear models have and a network trained by gradient descent has not, and
    their test is made for that bound. In its place ``limits_R`` holds the upper end of a one-sided
    interval for the difference, in points, from one of

    - ``error_bounds``: the closest form, from the predictive probabilities; needs no true class;
    - ``gain_limits``: the gain in accuracy as measured on a test set; all that a record has.

    A limit below ``tolerance`` is a test that rejects a difference of ``tolerance`` or more.
    """
    return _first(np.asarray(limits_R, dtype=float) < tolerance)


def error_bounds(probs_R_N_C: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Upper limits (points) on each round's change of the expected error; NaN for the first.

    Of an image, whatever its true class, the chance that a class drawn from the predictive
    distribution is wrong changes by no more than the total variation distance between the
    distributions before and after. Its mean over images like the N given ones therefore bounds the
    change of the expected error, without any confidence of its own. Where the distributions are
    means over posteriors, this is never above the bound by the divergence between those (data
    processing and Pinsker's inequality). The N images are a sample: the limit is the upper end of a
    one-sided t interval for that mean. They must be the same images in every round.
    """
    probs_R_N_C = np.asarray(probs_R_N_C, dtype=float)
    apart = 100 * np.abs(np.diff(probs_R_N_C, axis=0)).sum(axis=2) / 2
    count = apart.shape[1]
    half = stats.t.ppf(level, count - 1) * apart.std(axis=1, ddof=1) / math.sqrt(count)
    return np.concatenate([[math.nan], apart.mean(axis=1) + half])


def gain_limits(
    accuracy_R: np.ndarray, errors_R: np.ndarray, window: int = 3, level: float = LEVEL
) -> np.ndarray:
    """Upper limits (points) on the gain in accuracy a round, on average over ``window`` rounds.

    The accuracies (%) are measured on a test set, with their standard errors (points); the limit is
    that of a one-sided z interval. Both accuracies count as measured on images of their own: on the
    same images the interval is wider than it need be. NaN for the first ``window`` rounds.
    """
    accuracy_R, errors_R = np.asarray(accuracy_R, dtype=float), np.asarray(errors_R, dtype=float)
    limits = np.full(len(accuracy_R), math.nan)
    gain = accuracy_R[window:] - accuracy_R[:-window]
    error = np.hypot(errors_R[window:], errors_R[:-window])
    limits[window:] = (gain + stats.norm.ppf(level) * error) / window
    return limits


def _first(says_R: np.ndarray) -> int | None:
    """Position of the first round at which the rule says stop; None where it never does."""
    return int(np.argmax(says_R)) if says_R.any() else None
