"""Statistics over the tidy results table: curves with intervals, areas, paired differences.

Accuracies are in percent throughout; a seed is one replication, and intervals are t intervals
over seeds. With one seed there is no interval: its bounds are NaN.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its t interval."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def estimate(values: np.ndarray | list[float], level: float = LEVEL) -> Estimate:
    """Mean and t interval of independent replications."""
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, math.nan, math.nan, count)
    half = stats.t.ppf((1 + level) / 2, count - 1) * stats.sem(values)
    return Estimate(mean, mean - half, mean + half, count)


def area(labels: np.ndarray, accuracy: np.ndarray) -> float:
    """Area under the budget curve (trapezoids) over its width: a mean accuracy.

    With one label count only, that accuracy.
    """
    labels, accuracy = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    if len(labels) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, labels) / (labels[-1] - labels[0]))


def percent(results: pd.DataFrame) -> pd.DataFrame:
    """The results with ``accuracy``, the test accuracy in percent."""
    return results.assign(accuracy=100 * results["test_accuracy"])


def curve(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval by dataset, arm and label count: mean, low, high, seeds."""
    groups = percent(results).groupby(["dataset", "arm", "labels"], sort=False)["accuracy"]
    rows = [dict(zip(groups.keys, key, strict=True)) | vars(estimate(g)) for key, g in groups]
    return pd.DataFrame(rows)


def areas(results: pd.DataFrame) -> pd.DataFrame:
    """Area under the budget curve by seed (rows) and arm (columns), of one dataset."""
    table = percent(results).sort_values("labels")
    groups = table.groupby(["seed", "arm"], sort=False)
    return groups.apply(lambda g: area(g["labels"], g["accuracy"])).unstack("arm")


def paired_differences(by_seed: pd.DataFrame, reference: str = "random") -> dict[str, Estimate]:
    """Every arm's difference to ``reference``, taken per seed, then over seeds.

    Raises ``ValueError`` where an arm lacks a seed: such a difference would not be paired.
    """
    if by_seed.isna().any(axis=None):
        raise ValueError("some arm lacks a seed, so its difference can't be paired")
    others = by_seed.columns.drop(reference)
    return {arm: estimate(by_seed[arm] - by_seed[reference]) for arm in others}


def final(results: pd.DataFrame) -> pd.DataFrame:
    """Accuracy (%) at the last label count by seed (rows) and arm (columns)."""
    last = percent(results).sort_values("labels").groupby(["seed", "arm"], sort=False).last()
    return last["accuracy"].unstack("arm")
