"""Forecasts and stopping rules replayed on finished runs: what they would have said at the time.

A curve is one arm of one record in a table of ``tidy.table``. After each round the forecast or
rule is given what was known by then, and is compared with the later rounds. Records hold only
label counts and accuracies. Anything else that a rule reads is an optional column of the table with
one value per round, and a rule without its column is left out:

- ``kappa``: agreement with the round before on a stop set (``running.stability``);
- ``pool_entropy``: mean predictive entropy (nats) of the candidates of the round;
- ``error_bound``: limit on the change of the expected error (also there).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from alutils.protocol.datasets import DATASETS
from alutils.reporting.forecast import (
    FEWEST_ROUNDS,
    Forecast,
    NoForecast,
    forecasts,
    standard_errors,
)
from alutils.reporting.statistics import labels_to_reach, monotone
from alutils.reporting.stopping import (
    AGREEMENT,
    TOLERANCE,
    UNCERTAINTY,
    error_difference,
    first_stop,
    gain_limits,
    mean_agreement,
    overall_uncertainty,
    share_of_uniform,
    stabilising_predictions,
)

CURVE_KEYS = ["dataset", "arm", "seed", "record"]
"""Columns that together identify a curve."""
ROUNDING = 1e-9
"""Rounding error (points) that a fit of equal accuracies may have."""
FORECASTS = [
    *CURVE_KEYS, "round", "labels", "target", "ahead", "truth",
    "more", "low", "high", "kind", "covered",
]  # fmt: skip
STOPS = [*CURVE_KEYS, "rule", "stopped", "nearest", "enough", "wasted", "lost"]
"""Columns of the tables from ``replay_forecasts`` and ``replay_stopping``, even if empty."""


@dataclass(frozen=True)
class Rule:
    """A stopping rule, and the column that it reads."""

    column: str
    says: Callable[..., np.ndarray]
    by_classes: bool = False
    """Whether ``says`` and ``judged`` also take the number of classes, after the values."""
    judged: Callable[..., np.ndarray] = np.asarray
    """Values compared with the threshold, one per round."""
    nearest: Callable[..., float] = min
    """Picks the one of these values that is nearest to a stop, or furthest beyond."""
    in_words: str = ""
    """Format string for that value, with the threshold."""


RULES = {
    "stabilising predictions": Rule(
        "kappa", stabilising_predictions, judged=mean_agreement, nearest=max,
        in_words=f"largest mean kappa of 3 rounds {{:.3f}}, needs {AGREEMENT:g}",
    ),
    "overall uncertainty": Rule(
        "pool_entropy", overall_uncertainty, by_classes=True, judged=share_of_uniform,
        in_words=f"lowest {{:.3f}} of a uniform guess's entropy, needs below {UNCERTAINTY:g}",
    ),
    "expected-error difference": Rule(
        "error_bound", error_difference,
        in_words=f"lowest bound {{:.1f}} points, needs below {TOLERANCE:g}",
    ),
    "measured gain": Rule(
        "gain_limit", error_difference,
        in_words=f"lowest limit {{:.1f}} points, needs below {TOLERANCE:g}",
    ),
}  # fmt: skip
"""Rules by name; ``gain_limit`` is computed from the accuracies."""


def curves(results: pd.DataFrame, fewest: int = 1) -> Iterator[pd.DataFrame]:
    """Every curve with at least ``fewest`` rounds, ordered by label count."""
    for _, curve in results.groupby(CURVE_KEYS, sort=False):
        if len(curve) >= fewest:
            yield curve.sort_values("labels", kind="stable")


def replay_forecasts(
    results: pd.DataFrame, rng: np.random.Generator, images: Callable[[str], int]
) -> pd.DataFrame:
    """What would have been forecast from round ``FEWEST_ROUNDS`` on: one row per target.

    ``images`` gives the number of images that a dataset's accuracies are measured on. Targets are
    the accuracies of a monotone fit of the complete curve in later rounds that are above all
    accuracies measured so far. ``truth`` is the number of further labels after which the fit
    reaches the target, ``ahead`` the number of further rounds. If no number could be forecast,
    ``more``, ``low`` and ``high`` are NaN, ``kind`` says why, and ``covered`` is false.
    """
    rows = []
    for curve in curves(results, FEWEST_ROUNDS + 1):
        keys = curve[CURVE_KEYS].iloc[0].to_dict()
        size = images(keys["dataset"])
        labels = curve["labels"].to_numpy(dtype=float)
        accuracy = curve["accuracy"].to_numpy(dtype=float)
        for known in range(FEWEST_ROUNDS, len(labels)):
            future = list(_future(labels, accuracy, known))
            targets = [target for target, _, _ in future]
            answers = forecasts(labels[:known], accuracy[:known], targets, rng, size=size)
            for (target, truth, ahead), answer in zip(future, answers, strict=True):
                case = {"round": known, "labels": labels[known - 1], "target": target}
                case |= {"ahead": ahead, "truth": truth}
                rows.append(keys | case | _judged(answer, truth))
    return pd.DataFrame(rows, columns=FORECASTS)


def _future(
    labels: np.ndarray, accuracy: np.ndarray, known: int
) -> Iterator[tuple[float, float, int]]:
    """Targets that rounds after the first ``known`` reach: target, further labels, rounds ahead."""
    fit = monotone(accuracy)
    for target in np.unique(fit[known:]):
        if target > accuracy[:known].max() + ROUNDING:
            truth = labels_to_reach(labels, accuracy, target) - labels[known - 1]
            yield float(target), truth, int(np.argmax(fit >= target)) - known + 1


def _judged(answer: Forecast | NoForecast, truth: float) -> dict[str, object]:
    """The columns of a forecast: its numbers, and whether its interval holds the truth."""
    if isinstance(answer, Forecast):
        return {**vars(answer), "kind": "", "covered": answer.low <= truth <= answer.high}
    unknown = dict.fromkeys(("more", "low", "high"), math.nan)
    return unknown | {"kind": answer.kind, "covered": False}


def coverage(replayed: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """How good the forecasts of each group are.

    ``asked`` is how many were asked for, ``told`` the share that gave a number. Of these,
    ``covered`` is the share whose interval holds the truth, ``above`` and ``below`` the shares
    where the truth lies above and below it. ``error`` is the median distance of the forecast from
    the truth, ``width`` the median width of the interval, both as multiples of the truth.
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


def replay_stopping(
    results: pd.DataFrame,
    images: Callable[[str], int],
    tolerance: float = 1.0,
    rules: dict[str, Rule] = RULES,
) -> pd.DataFrame:
    """Where each rule would have stopped each curve, and the cost: one row per curve and rule.

    ``images`` gives the number of images that a dataset's accuracies are measured on. A curve is
    judged on its monotone fit. ``enough`` is the first label count at which the fit lies within
    ``tolerance`` points of its last value. ``stopped`` is the label count at which the rule says
    stop; if it never does, it is NaN and the curve runs to its end. ``nearest`` is the value that
    came nearest to the rule's threshold, or NaN. ``wasted`` are the labels beyond ``enough``,
    ``lost`` the points that the fit still gains after the stop.
    """
    rows = []
    for curve in curves(results):
        keys = curve[CURVE_KEYS].iloc[0].to_dict()
        facts = DATASETS[keys["dataset"]]
        labels, accuracy = curve["labels"].to_numpy(), curve["accuracy"].to_numpy(dtype=float)
        fit = monotone(accuracy)
        enough = labels[np.argmax(fit >= fit[-1] - tolerance)]
        errors = standard_errors(accuracy, images(keys["dataset"]))
        curve = curve.assign(gain_limit=gain_limits(accuracy, errors))
        for name, rule in rules.items():
            if rule.column not in curve or curve[rule.column].isna().all():
                continue
            classes = {"classes": len(facts.classes)} if rule.by_classes else {}
            values = curve[rule.column].to_numpy(dtype=float)
            at = first_stop(rule.says(values, **classes))
            judged = rule.judged(values, **classes)
            nearest = rule.nearest(judged[~np.isnan(judged)], default=math.nan)
            end = len(labels) - 1 if at is None else at
            costs = {"wasted": max(0, labels[end] - enough), "lost": fit[-1] - fit[end]}
            stopped = math.nan if at is None else float(labels[at])
            told = {"rule": name, "stopped": stopped, "nearest": nearest, "enough": enough}
            rows.append(keys | told | costs)
    return pd.DataFrame(rows, columns=STOPS)


def stopping_costs(replayed: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """What each rule costs by group: means over its ``curves``.

    ``stops`` is the share of curves that it stops, ``early`` the share stopped before ``enough``.
    """
    judged = replayed.assign(
        stops=replayed["stopped"].notna(), early=replayed["stopped"] < replayed["enough"]
    )
    groups = judged.groupby([*by, "rule"])
    means = groups[["stops", "early", "wasted", "lost"]].mean()
    return pd.concat([groups.size().rename("curves"), means], axis=1)
