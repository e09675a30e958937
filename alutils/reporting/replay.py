"""Forecasts and stopping rules judged on runs that are over: what they would have said meanwhile.

A curve is one arm of one record in a table of ``tidy.table``. After every round the forecast or
the rule gets what was known by then, and is held against the rounds that followed. Of what rules
need, records hold label counts and accuracies alone. The rest are optional columns of the table
with a value a round, and a rule without its column is left out:

- ``kappa``: agreement with the round before on a stop set (``stopping.kappas``);
- ``pool_entropy``: mean predictive entropy (nats) of the images not labelled yet;
- ``error_bound``: limit on the change of the expected error (``stopping.error_bounds``).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.isotonic import isotonic_regression

from alutils.reporting.forecast import (
    FEWEST_ROUNDS,
    KINDS,
    CannotTell,
    Forecast,
    forecasts,
    standard_errors,
)
from alutils.reporting.statistics import LEVEL, labels_to_reach
from alutils.reporting.stopping import (
    error_difference,
    gain_limits,
    overall_uncertainty,
    stabilising_predictions,
)

OF = ["dataset", "arm", "seed", "record"]
"""What a curve is known by."""
FORECASTS = [
    *OF, "round", "labels", "target", "ahead", "truth", "more", "low", "high", "kind", "covered"
]  # fmt: skip
STOPS = [*OF, "rule", "stopped", "enough", "wasted", "lost"]
"""What a replay of forecasts has, and one of stopping rules, without any row too."""
TEST_SIZE = 10_000
"""Test images of MNIST, Fashion-MNIST and CIFAR-10."""


@dataclass(frozen=True)
class Rule:
    """A stopping rule, and the column that it reads."""

    column: str
    stop: Callable[[np.ndarray], int | None]


RULES = {
    "stabilising predictions": Rule("kappa", stabilising_predictions),
    "overall uncertainty": Rule("pool_entropy", overall_uncertainty),
    "expected-error difference": Rule("error_bound", error_difference),
    "measured gain": Rule("gain_limit", error_difference),
}
"""Rules by name; ``gain_limit`` is made from the accuracies themselves."""


def curves(results: pd.DataFrame, fewest: int = 1) -> Iterator[pd.DataFrame]:
    """Every curve that has so many rounds, by label count."""
    for _, curve in results.groupby(OF, sort=False):
        if len(curve) >= fewest:
            yield curve.sort_values("labels", kind="stable")


def replay_forecasts(
    results: pd.DataFrame,
    rng: np.random.Generator,
    size: int = TEST_SIZE,
    minimum: int = FEWEST_ROUNDS,
    level: float = LEVEL,
) -> pd.DataFrame:
    """What would have been forecast after every round from the ``minimum``-th on: a row a target.

    Targets are the accuracies that a monotone fit of the whole curve has in later rounds, so far as
    they lie above all that was measured by then. ``truth`` is how many labels after that round the
    fit first has them, ``ahead`` how many rounds after it. ``more``, ``low`` and ``high`` are NaN,
    and ``kind`` says why, where no number could be told; ``covered`` is then false.
    """
    rows = []
    for curve in curves(results, minimum + 1):
        of = curve[OF].iloc[0].to_dict()
        labels = curve["labels"].to_numpy(dtype=float)
        accuracy = curve["accuracy"].to_numpy(dtype=float)
        for known in range(minimum, len(labels)):
            future = list(_future(labels, accuracy, known))
            targets = [target for target, _, _ in future]
            told = forecasts(labels[:known], accuracy[:known], targets, rng, size=size, level=level)
            for (target, truth, ahead), one in zip(future, told, strict=True):
                case = {"round": known, "labels": labels[known - 1], "target": target}
                rows.append(of | case | {"ahead": ahead, "truth": truth} | _judged(one, truth))
    return pd.DataFrame(rows, columns=FORECASTS)


def _future(
    labels: np.ndarray, accuracy: np.ndarray, known: int
) -> Iterator[tuple[float, float, int]]:
    """Targets that rounds after the first ``known`` reach: target, labels more, rounds ahead."""
    fit = isotonic_regression(accuracy)
    for target in np.unique(fit[known:]):
        if target > accuracy[:known].max():
            truth = labels_to_reach(labels, accuracy, target) - labels[known - 1]
            yield float(target), truth, int(np.argmax(fit >= target)) - known + 1


def _judged(one: Forecast | CannotTell, truth: float) -> dict[str, object]:
    """A forecast beside the truth."""
    if isinstance(one, Forecast):
        return {**vars(one), "kind": "", "covered": one.low <= truth <= one.high}
    return dict.fromkeys(("more", "low", "high"), math.nan) | {"kind": one.kind, "covered": False}


def coverage(replayed: pd.DataFrame, by: str | list[str] = "dataset") -> pd.DataFrame:
    """By group: forecasts asked for, shares told and covered, and how wrong and wide they are.

    ``covered`` is the share of the intervals told that hold the true number of labels, ``above``
    and ``below`` where the truth lies outside of the others. ``error`` is the median distance of
    the forecast from the truth, ``width`` the median width of the interval, both as multiples of
    the truth.
    """
    told = replayed[replayed["kind"] == ""]
    truth = told["truth"]
    told = told.assign(
        above=truth > told["high"],
        below=truth < told["low"],
        error=(told["more"] - truth).abs() / truth,
        width=(told["high"] - told["low"]) / truth,
    )
    asked = replayed.groupby(by).size().rename("asked")
    groups = told.groupby(by)
    shares = groups[["covered", "above", "below"]].mean()
    middles = groups[["error", "width"]].median()
    share_told = (groups.size() / asked).fillna(0).rename("told")
    return pd.concat([asked, share_told, shares, middles], axis=1)


def untold(replayed: pd.DataFrame, by: str | list[str] = "dataset") -> pd.DataFrame:
    """By group, the share of the forecasts asked for that could not be told, for every reason."""
    reasons = pd.get_dummies(replayed["kind"]).drop(columns="", errors="ignore")
    reasons = reasons.rename(columns=KINDS)
    keys = [replayed[key] for key in ([by] if isinstance(by, str) else by)]
    return reasons.groupby(keys).mean()


def replay_stopping(
    results: pd.DataFrame,
    tolerance: float = 1.0,
    rules: dict[str, Rule] = RULES,
    size: int = TEST_SIZE,
) -> pd.DataFrame:
    """Where each rule would have stopped each curve, and what that costs: a row a curve and rule.

    A curve is judged on its monotone fit. ``enough`` is the first label count at which the fit lies
    within ``tolerance`` points of its last value, and ``stopped`` the label count at which the rule
    says stop, NaN where it never does: the curve then goes to its end. ``wasted`` are labels beyond
    ``enough``, ``lost`` the points that the fit still gains after the stop.
    """
    rows = []
    for curve in curves(results):
        of = curve[OF].iloc[0].to_dict()
        labels, accuracy = curve["labels"].to_numpy(), curve["accuracy"].to_numpy(dtype=float)
        fit = isotonic_regression(accuracy)
        enough = labels[np.argmax(fit >= fit[-1] - tolerance)]
        curve = curve.assign(gain_limit=gain_limits(accuracy, standard_errors(accuracy, size)))
        for name, rule in rules.items():
            if rule.column not in curve or curve[rule.column].isna().all():
                continue
            at = rule.stop(curve[rule.column].to_numpy(dtype=float))
            end = len(labels) - 1 if at is None else at
            costs = {"wasted": max(0, labels[end] - enough), "lost": fit[-1] - fit[end]}
            stopped = math.nan if at is None else float(labels[at])
            rows.append(of | {"rule": name, "stopped": stopped, "enough": enough} | costs)
    return pd.DataFrame(rows, columns=STOPS)


def stopping_costs(replayed: pd.DataFrame, by: str | list[str] = "dataset") -> pd.DataFrame:
    """By group and rule: curves, share that it stops, mean labels wasted and accuracy lost.

    ``early`` is the share of the curves that it stops before ``enough``.
    """
    keys = [*([by] if isinstance(by, str) else by), "rule"]
    judged = replayed.assign(
        stops=replayed["stopped"].notna(), early=replayed["stopped"] < replayed["enough"]
    )
    groups = judged.groupby(keys)
    means = groups[["stops", "early", "wasted", "lost"]].mean()
    return pd.concat([groups.size().rename("curves"), means], axis=1)
