import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alutils.reporting.stopping import (
    error_difference,
    first_stop,
    gain_limits,
    overall_uncertainty,
    stabilising_predictions,
)

RULES = {
    "stabilising predictions": (stabilising_predictions, (0.9, 1.0)),
    "overall uncertainty": (overall_uncertainty, (0.0, 0.5)),
    "error difference": (error_difference, (0.0, 2.0)),
}


def at(rule, values, **options) -> int | None:
    """The first round after which the rule says stop."""
    return first_stop(rule(values, **options))


def test_predictions_are_stable_once_the_mean_of_three_agreements_is_high():
    """By hand: the mean of kappas 2 to 4 is 0.99, that of 1 to 3 is 0.98."""
    agreements = [math.nan, 0.96, 0.99, 0.99, 0.99, 0.5]
    assert at(stabilising_predictions, agreements) == 4
    assert at(stabilising_predictions, agreements, threshold=0.98) == 3
    assert at(stabilising_predictions, agreements, threshold=0.995) is None
    assert at(stabilising_predictions, agreements, window=1) == 2
    assert at(stabilising_predictions, [math.nan, 1.0, 1.0]) is None
    assert at(stabilising_predictions, [math.nan, 1.0]) is None
    assert at(stabilising_predictions, []) is None


def test_uncertainty_is_a_share_of_that_of_a_uniform_guess():
    entropies = np.array([0.9, 0.2, 0.04, 0.06, 0.01]) * math.log(10)
    assert at(overall_uncertainty, entropies) == 2
    assert at(overall_uncertainty, entropies, threshold=0.02) == 4
    assert at(overall_uncertainty, entropies, threshold=0.01) is None
    assert at(overall_uncertainty, [0.06 * math.log(2)], classes=2) is None
    assert at(overall_uncertainty, [0.04 * math.log(2)], classes=2) == 0
    assert at(overall_uncertainty, []) is None


def test_a_change_below_the_tolerance_stops():
    assert at(error_difference, [math.nan, 3.0, 0.4, 0.6]) == 2
    assert at(error_difference, [math.nan, 3.0, 0.4, 0.6], tolerance=0.4) is None
    assert at(error_difference, [0.51, 0.49]) == 1
    assert at(error_difference, [math.nan]) is None


def test_the_gain_a_round_has_the_limit_of_a_z_interval():
    accuracy, errors = np.array([50, 55, 58, 60, 60, 60]), np.full(6, 0.3)
    limits = gain_limits(accuracy, errors)
    z = stats.norm.ppf(0.95) * math.hypot(0.3, 0.3)
    assert np.isnan(limits[:3]).all()
    assert limits[3:] == pytest.approx([(10 + z) / 3, (5 + z) / 3, (2 + z) / 3])
    assert at(error_difference, limits, tolerance=1.0) == 5
    assert np.isnan(gain_limits(accuracy[:2], errors[:2])).all()


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_rule_rests_on_what_is_known_by_then(name, data):
    """What it says of a round is the same whatever follows."""
    rule, (low, high) = RULES[name]
    values = np.array(data.draw(st.lists(st.floats(low, high), min_size=1, max_size=12)))
    says = rule(values)
    for known in range(len(values)):
        assert rule(values[: known + 1]).tolist() == says[: known + 1].tolist()


@pytest.mark.parametrize("name", RULES)
def test_what_is_not_known_stops_nothing(name):
    assert RULES[name][0](np.full(6, math.nan)).tolist() == [False] * 6
