"""The power law of a learning curve, fitted to the rounds and to resamples of them.

The share of wrong answers at n labels is taken to be a * n^-b + c with a, b > 0 and 0 <= c < 1
(Cortes et al., 1993; Hestness et al., arXiv 1712.00409).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

RESAMPLES = 500
EXPONENTS = np.geomspace(0.01, 5, 200)
"""Values of b: from a curve that is straight in log n to one that has all but levelled off."""
SMALLEST = 1e-6
"""Lower bound of a, as the share of wrong answers at the last label count: a fit needs one."""
SHIFTED = 3
"""Number of last rounds that the law is shifted to meet on average."""


@dataclass(frozen=True)
class Laws:
    """The fitted law (a, b, c) and those of the resamples (rows), shifted to meet the last rounds.

    Label counts are in units of the last one, ``labels``.
    """

    labels: int
    law: np.ndarray
    laws_S_3: np.ndarray


def fit(
    labels: np.ndarray, accuracy: np.ndarray, errors: np.ndarray, rng: np.random.Generator
) -> Laws:
    """The law of the error, and the laws of resamples of the rounds.

    Accuracies are in percent, their standard errors in points; at least four rounds are needed.

    The j-th of R rounds is weighted by j / R times its precision (Figueroa et al., 2012), as the
    law holds for many labels. Each law is then moved up or down to meet the last ``SHIFTED`` rounds
    on average (intercept correction: Clements and Hendry, 1996), so that if the errors do not
    follow such a law, the forecast at least starts from where they are. On this study's records
    outside Figures 3 and 4, the two together raised the coverage of 95 % intervals from 20 to 67 %
    on CIFAR-10 and from 70 to 93 % on MNIST.

    A resample draws every round again: the law at its label count plus normal noise, with the
    round's measurement error as standard deviation, or its distance from the law if that is larger
    (a wild bootstrap: Wu, 1986), since retraining adds scatter. Drawing rounds with replacement
    often leaves too few label counts for three parameters: with 6 simulated rounds, 22 to 82 % of
    such intervals had no upper end, depending on law and scatter, against 0 to 52 % of these.
    """
    ratio, error, scale = labels / labels[-1], 1 - accuracy / 100, errors / 100
    shares = np.arange(1, len(labels) + 1) / len(labels)
    scales = scale / np.sqrt(shares)
    law = law_of(ratio, error, scales)
    expected = errors_at(law[None], ratio)[0]
    rounds = shares.sum() ** 2 / (shares**2).sum()  # effective number of rounds (Kish)
    apart = np.abs(error - expected) * math.sqrt(rounds / (rounds - 3))
    noise = rng.normal(size=(RESAMPLES, len(labels))) * np.maximum(apart, scale)
    drawn = expected + noise
    laws = laws_on_grid(ratio, drawn, scales**-2)
    off = _off(law[None], ratio, error[None])
    shifts = off + _off(laws, ratio, drawn)
    return Laws(int(labels[-1]), law + [0, 0, off[0]], laws + np.outer(shifts, [0, 0, 1]))


def errors_at(laws_S_3: np.ndarray, ratio_R: np.ndarray) -> np.ndarray:
    """Shares of wrong answers by law (rows) and label count in units of the last one (columns)."""
    a, b, c = laws_S_3.T[:, :, None]
    return a * ratio_R**-b + c


def law_of(ratio_R: np.ndarray, error_R: np.ndarray, scale_R: np.ndarray) -> np.ndarray:
    """The law (a, b, c) that fits best by least squares, every round weighted by its precision.

    Label counts are in units of the last one, errors and their scales in shares of the images. The
    search is over log a: in these units a is the error that more labels can still remove, which the
    data can separate from b. With n itself, the two would trade off over orders of magnitude. The
    search starts from the best law on the grid.
    """
    a, b, c = laws_on_grid(ratio_R, error_R[None], scale_R**-2)[0]

    def residuals(x: np.ndarray) -> np.ndarray:
        return (np.exp(x[0]) * ratio_R ** -x[1] + x[2] - error_R) / scale_R

    lows = np.array([math.log(SMALLEST), EXPONENTS[0], 0])
    highs = np.array([0, EXPONENTS[-1], np.nextafter(1, 0)])
    start = np.clip([math.log(a), b, c], lows + 1e-9, highs - 1e-9)
    x = optimize.least_squares(residuals, start, bounds=(lows, highs)).x
    return np.array([math.exp(x[0]), x[1], x[2]])


def laws_on_grid(ratio_R: np.ndarray, errors_S_R: np.ndarray, weights_R: np.ndarray) -> np.ndarray:
    """The best laws (a, b, c) of many curves, as from ``law_of`` but with b in ``EXPONENTS``.

    For a given b the law is a straight line in ratio^-b, so all fits are a few sums: less than
    0.1 ms per curve, against 8 to 15 ms for SciPy's search.
    """
    x = ratio_R ** -EXPONENTS[:, None]
    total, w_x, w_xx = weights_R.sum(), x @ weights_R, x**2 @ weights_R
    w_y, w_yy = errors_S_R @ weights_R, errors_S_R**2 @ weights_R
    w_xy = (errors_S_R * weights_R) @ x.T
    a = (total * w_xy - np.outer(w_y, w_x)) / (total * w_xx - w_x**2)
    c = (w_y[:, None] - a * w_x) / total
    a = np.where(c < 0, w_xy / w_xx, a)
    c = np.maximum(c, 0)
    c = np.where(a < SMALLEST, (w_y[:, None] - SMALLEST * w_x) / total, c)
    a, c = np.clip(a, SMALLEST, 1), np.clip(c, 0, np.nextafter(1, 0))
    squares = w_yy[:, None] - 2 * (a * w_xy + c * w_y[:, None])
    squares = squares + a**2 * w_xx + 2 * a * c * w_x + c**2 * total
    best = squares.argmin(axis=1)
    rows = np.arange(len(best))
    return np.stack([a[rows, best], EXPONENTS[best], c[rows, best]], axis=1)


def labels_at_accuracy(laws_S_3: np.ndarray, target: float) -> np.ndarray:
    """Label counts, in units of the last one, at which laws reach an accuracy (%).

    Infinite if a law never does.
    """
    a, b, c = laws_S_3.T
    left = 1 - target / 100 - c
    log = (np.log(a) - np.log(np.where(left > 0, left, 1))) / b
    return np.where(left > 0, np.exp(np.minimum(log, 700)), np.inf)


def _off(laws_S_3: np.ndarray, ratio: np.ndarray, errors_S_R: np.ndarray) -> np.ndarray:
    """How far the errors of the last rounds lie above the law of their curve, on average."""
    return (errors_S_R - errors_at(laws_S_3, ratio))[:, -SHIFTED:].mean(axis=1)
