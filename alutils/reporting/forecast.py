"""How many more labels a target accuracy needs, or why that can't be forecast.

A power law is fitted to the errors of the rounds so far, and the label count for the target is read
off it; the interval comes from a bootstrap over the rounds. Accuracies and targets are in percent,
standard errors in points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from alutils.reporting.powerlaw import Laws, fit, labels_at_accuracy
from alutils.reporting.statistics import LEVEL

FEWEST_ROUNDS = 5
"""Minimum number of rounds for a forecast: the law alone has three parameters to fit."""
MOST_TIMES = 10
"""Multiple of the labels so far beyond which nothing is forecast."""

Kind = Literal["rounds", "constant", "falling", "asymptote", "no end", "far"]
KINDS: dict[Kind, str] = {
    "rounds": "too few rounds",
    "constant": "accuracy that does not rise",
    "falling": "accuracy that falls",
    "asymptote": "target beyond what the fit reaches",
    "no end": "interval without an upper end",
    "far": "target too far ahead",
}
"""Reasons for no forecast, as headings of a table."""


@dataclass(frozen=True)
class Forecast:
    """Labels that a target needs in addition to those so far, with an interval."""

    more: int
    low: int
    high: int


@dataclass(frozen=True)
class NoForecast:
    """No forecast is given; ``reason`` says why, worded to follow "no forecast: "."""

    kind: Kind
    reason: str


def forecast(
    labels: Sequence[int] | np.ndarray,
    accuracy: Sequence[float] | np.ndarray,
    target: float,
    rng: np.random.Generator,
    *,
    size: int | None = None,
    errors: Sequence[float] | np.ndarray | None = None,
) -> Forecast | NoForecast:
    """Labels that a target accuracy needs beyond the last round's, or why that can't be forecast.

    A target that the last accuracy already meets needs none. The 95 % interval is for the fitted
    law: an accuracy measured at that label count scatters around it.

    Parameters
    ----------
    labels, accuracy
        Label count and accuracy (%) of each round so far, in rising order of counts.
    target
        Accuracy (%) to reach.
    rng
        Draws the resamples; the same state gives the same answer.
    size, errors
        Number of images that each accuracy was measured on, or the standard error (points) of each:
        exactly one of the two.
    """
    return forecasts(labels, accuracy, [target], rng, size=size, errors=errors)[0]


def forecasts(
    labels: Sequence[int] | np.ndarray,
    accuracy: Sequence[float] | np.ndarray,
    targets: Sequence[float],
    rng: np.random.Generator,
    *,
    size: int | None = None,
    errors: Sequence[float] | np.ndarray | None = None,
) -> list[Forecast | NoForecast]:
    """``forecast`` for several targets, from the same resamples."""
    labels, accuracy = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    errors = _errors(accuracy, size, errors)
    _check(labels, accuracy, errors, targets)
    problem = _problem(labels, accuracy, errors)
    laws = None if problem else fit(labels, accuracy, errors, rng)
    answers = []
    for target in targets:
        if accuracy[-1] >= target:
            answers.append(Forecast(0, 0, 0))
        else:
            answers.append(problem if laws is None else _from_laws(laws, target))
    return answers


def standard_errors(accuracy: np.ndarray, size: int) -> np.ndarray:
    """Binomial standard errors, in points, of accuracies (%) that were measured on ``size`` images.

    One right and one wrong answer are added, so that no accuracy counts as known exactly.
    """
    share = (np.asarray(accuracy, dtype=float) / 100 * size + 1) / (size + 2)
    return 100 * np.sqrt(share * (1 - share) / size)


def _from_laws(laws: Laws, target: float) -> Forecast | NoForecast:
    """The forecast for a target that is not reached yet."""
    fitted = labels_at_accuracy(laws.law[None], target)[0]
    resampled = labels_at_accuracy(laws.laws_S_3, target)
    never = float(np.isinf(resampled).mean())
    below = f"levels off below {target:.4g} %"
    share = f"{below} in {100 * never:.0f} % of the resampled fits"
    if np.isinf(fitted):
        return NoForecast("asymptote", f"the fitted curve {below}")
    if never > 0.5:
        return NoForecast("asymptote", f"the curve {share}")
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    if np.isinf(high):
        return NoForecast("no end", f"the interval has no upper end: the curve {share}")
    if max(fitted, high) > MOST_TIMES:
        reason = f"it may take more than {MOST_TIMES} times the {laws.labels:,} labels so far"
        return NoForecast("far", reason)
    low, high = min(low, fitted), max(high, fitted)
    counts = np.ceil(laws.labels * (np.array([fitted, low, high]) - 1))
    return Forecast(*(max(0, int(count)) for count in counts))


def _problem(labels: np.ndarray, accuracy: np.ndarray, errors: np.ndarray) -> NoForecast | None:
    """Why no law can be fitted; None if one can.

    A curve counts as rising if its slope on log labels is above zero in a one-sided test at 5 %
    with measurement error as the only noise, and as falling if the same test shows it below zero.
    """
    if len(labels) < FEWEST_ROUNDS:
        rounds = f"{len(labels)} round{'s are' if len(labels) != 1 else ' is'} available"
        return NoForecast("rounds", f"{rounds}, and a forecast needs {FEWEST_ROUNDS}")
    weights, x = errors**-2, np.log(labels)
    x = x - np.average(x, weights=weights)
    slope = (weights * x * accuracy).sum() / math.sqrt((weights * x**2).sum())
    if slope < stats.norm.ppf(0.05):
        return NoForecast("falling", "the accuracy falls as labels are added")
    if slope < stats.norm.ppf(0.95):
        reason = "the accuracy does not rise by more than its measurement error"
        return NoForecast("constant", reason)
    return None


def _errors(
    accuracy: np.ndarray, size: int | None, errors: Sequence[float] | np.ndarray | None
) -> np.ndarray:
    """Standard errors in points, given or from the size of the test set."""
    if (size is None) == (errors is None):
        raise ValueError("give either the size of the test set or the standard errors")
    return standard_errors(accuracy, size) if errors is None else np.asarray(errors, dtype=float)


def _check(
    labels: np.ndarray, accuracy: np.ndarray, errors: np.ndarray, targets: Sequence[float]
) -> None:
    """Raise ``ValueError`` if the curve, errors or targets are invalid."""
    if not labels.shape == accuracy.shape == errors.shape or labels.ndim != 1 or not len(labels):
        raise ValueError("a label count, an accuracy and an error are needed for every round")
    if not (labels[0] > 0 and (np.diff(labels) > 0).all()):
        raise ValueError("label counts must be positive and rise from round to round")
    values = np.append(accuracy, targets)
    if not ((values >= 0) & (values <= 100)).all():
        raise ValueError("accuracies and targets are percentages from 0 to 100")
    if not (np.isfinite(errors) & (errors > 0)).all():
        raise ValueError("standard errors must be positive")
