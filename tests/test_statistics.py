import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alutils import statistics


def results(values: dict[str, list[list[float]]], labels=(100, 200, 400)) -> pd.DataFrame:
    """Accuracies (share) by arm: a list a seed, a value a label count."""
    rows = [
        {"dataset": "mnist", "figure": 4, "arm": arm, "seed": seed, "labels": count,
         "test_accuracy": value}
        for arm, seeds in values.items()
        for seed, curve in enumerate(seeds)
        for count, value in zip(labels, curve, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_interval_is_scipys():
    values = [91.2, 93.4, 90.1, 92.8]
    found = statistics.estimate(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.seeds == 4 and found.decided


def test_one_seed_has_no_interval():
    found = statistics.estimate([5.0])
    assert math.isnan(found.low) and math.isnan(found.high) and not found.decided


def test_the_area_is_a_mean_accuracy():
    assert statistics.area([100, 200, 400], [50, 70, 90]) == pytest.approx(
        (60 * 100 + 80 * 200) / 300
    )
    assert statistics.area([100, 300], [80, 80]) == 80
    assert statistics.area([100], [42]) == 42


def test_differences_are_paired_by_seed():
    found = results({"random": [[0.1] * 3, [0.5] * 3], "margin": [[0.2] * 3, [0.6] * 3]})
    by_seed = statistics.areas(found)
    difference = statistics.paired_differences(by_seed)["margin"]
    assert difference.mean == pytest.approx(10)
    assert difference.high - difference.low == pytest.approx(0, abs=1e-9)


def test_an_arm_that_lacks_a_seed_is_not_compared():
    found = results({"random": [[0.1] * 3, [0.5] * 3], "margin": [[0.2] * 3]})
    with pytest.raises(ValueError, match="lacks a seed"):
        statistics.paired_differences(statistics.areas(found))


def test_curve_and_final():
    found = results({"random": [[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]]})
    curve = statistics.curve(found)
    assert curve["mean"].tolist() == pytest.approx([20, 30, 40])
    assert curve["seeds"].tolist() == [2, 2, 2]
    assert statistics.final(found)["random"].tolist() == pytest.approx([30, 50])
