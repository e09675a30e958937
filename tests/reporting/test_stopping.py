import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from alutils.reporting.stopping import (
    error_bounds,
    error_difference,
    gain_limits,
    kappas,
    overall_uncertainty,
    stabilising_predictions,
)

RULES = {
    "stabilising predictions": (stabilising_predictions, (0.9, 1.0)),
    "overall uncertainty": (overall_uncertainty, (0.0, 0.5)),
    "error difference": (error_difference, (0.0, 2.0)),
}


@pytest.mark.parametrize("classes", [2, 10])
def test_kappa_is_sklearns(classes):
    rng = np.random.default_rng(classes)
    predictions_R_N = rng.integers(classes, size=(5, 300))
    predictions_R_N[2] = np.where(rng.random(300) < 0.9, predictions_R_N[1], predictions_R_N[2])
    predictions_R_N[4] = predictions_R_N[3]
    actual = kappas(predictions_R_N)
    expected = [cohen_kappa_score(predictions_R_N[i], predictions_R_N[i - 1]) for i in range(1, 5)]
    assert math.isnan(actual[0]) and actual[1:] == pytest.approx(expected, abs=1e-12)
    assert actual[4] == 1


def test_predictions_of_one_class_alone_agree():
    """scikit-learn divides zero by zero there."""
    assert kappas(np.zeros((3, 7), dtype=int))[1:].tolist() == [1, 1]
    one_then_other = np.repeat([[0], [1]], 7, axis=1)
    assert kappas(one_then_other)[1] == 0


def test_predictions_are_stable_once_the_mean_of_three_agreements_is_high():
    """By hand: the mean of kappas 2 to 4 is 0.99, that of 1 to 3 is 0.98."""
    agreements = [math.nan, 0.96, 0.99, 0.99, 0.99, 0.5]
    assert stabilising_predictions(agreements) == 4
    assert stabilising_predictions(agreements, threshold=0.98) == 3
    assert stabilising_predictions(agreements, threshold=0.995) is None
    assert stabilising_predictions(agreements, window=1) == 2
    assert stabilising_predictions([math.nan, 1.0, 1.0]) is None
    assert stabilising_predictions([math.nan, 1.0]) is None
    assert stabilising_predictions([]) is None


def test_equal_predictions_stop_at_the_fourth_round():
    predictions_R_N = np.tile(np.arange(10), (6, 1))
    assert stabilising_predictions(kappas(predictions_R_N)) == 3


def test_uncertainty_is_a_share_of_that_of_a_uniform_guess():
    entropies = np.array([0.9, 0.2, 0.04, 0.06, 0.01]) * math.log(10)
    assert overall_uncertainty(entropies) == 2
    assert overall_uncertainty(entropies, threshold=0.02) == 4
    assert overall_uncertainty(entropies, threshold=0.01) is None
    assert overall_uncertainty([0.06 * math.log(2)], classes=2) is None
    assert overall_uncertainty([0.04 * math.log(2)], classes=2) == 0
    assert overall_uncertainty([]) is None


def test_a_change_below_the_tolerance_stops():
    assert error_difference([math.nan, 3.0, 0.4, 0.6]) == 2
    assert error_difference([math.nan, 3.0, 0.4, 0.6], tolerance=0.4) is None
    assert error_difference([math.nan]) is None


def test_the_bound_is_that_of_a_t_interval_of_distances():
    """Three images whose distributions move by 0.1, 0.3 and 0: mean 0.1333."""
    before = np.array([[0.5, 0.5, 0], [0.6, 0.2, 0.2], [0, 0, 1]])
    after = np.array([[0.6, 0.4, 0], [0.3, 0.3, 0.4], [0, 0, 1]])
    bounds = error_bounds(np.stack([before, after, after]))
    half = stats.t.ppf(0.95, 2) * stats.sem([10, 30, 0])
    assert bounds[1] == pytest.approx(40 / 3 + half)
    assert math.isnan(bounds[0]) and bounds[2] == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_whatever_the_classes_are(seed):
    """The mean error of drawn classes changes by less than the limit on the same images."""
    rng = np.random.default_rng(seed)
    probs_R_N_C = rng.dirichlet(np.ones(4) * rng.choice([0.1, 1, 10]), size=(2, 50))
    worst = np.abs(np.diff(probs_R_N_C, axis=0)[0]).max(axis=1).mean()
    labels = rng.integers(4, size=50)
    errors = 1 - probs_R_N_C[:, np.arange(50), labels].mean(axis=1)
    limit = error_bounds(probs_R_N_C)[1] / 100
    assert abs(errors[1] - errors[0]) <= worst <= limit


def test_the_gain_a_round_has_the_limit_of_a_z_interval():
    accuracy, errors = np.array([50, 55, 58, 60, 60, 60]), np.full(6, 0.3)
    limits = gain_limits(accuracy, errors)
    z = stats.norm.ppf(0.95) * math.hypot(0.3, 0.3)
    assert np.isnan(limits[:3]).all()
    assert limits[3:] == pytest.approx([(10 + z) / 3, (5 + z) / 3, (2 + z) / 3])
    assert error_difference(limits, tolerance=1.0) == 5
    assert np.isnan(gain_limits(accuracy[:2], errors[:2])).all()


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_rule_rests_on_what_is_known_by_then(name, data):
    """After the round at which it stops, anything may follow; before it, nothing stops."""
    rule, (low, high) = RULES[name]
    values = np.array(data.draw(st.lists(st.floats(low, high), min_size=1, max_size=12)))
    at = rule(values)
    for known in range(len(values)):
        so_far = rule(values[: known + 1])
        assert so_far == (at if at is not None and known >= at else None)


@pytest.mark.parametrize("name", RULES)
def test_what_is_not_known_stops_nothing(name):
    assert RULES[name][0](np.full(6, math.nan)) is None
