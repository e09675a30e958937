import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alutils.reporting.forecast import (
    FEWEST_ROUNDS,
    KINDS,
    MOST_TIMES,
    Forecast,
    NoForecast,
    forecast,
    forecasts,
    standard_errors,
)
from alutils.reporting.powerlaw import errors_at, fit, labels_at_accuracy, law_of, laws_on_grid

LABELS = np.array([450, 890, 1320, 1750, 2170, 2590, 3000, 3410])
SIZE = 10_000
NEARLY_EXACT = 10**9


def truth(labels, a=6.0, b=0.4, c=0.2) -> np.ndarray:
    """Accuracies (%) by a power law of the error."""
    return 100 * (1 - a * np.asarray(labels, dtype=float) ** -b - c)


def forecast_of(labels, accuracy, target, seed=0, size=SIZE, **options):
    return forecast(labels, accuracy, target, np.random.default_rng(seed), size=size, **options)


@pytest.mark.parametrize("law", [(6.0, 0.4, 0.2), (2.0, 0.2, 0.0), (30.0, 1.0, 0.01)])
def test_a_known_law_is_recovered(law):
    accuracy = truth(LABELS, *law)
    laws = fit(LABELS, accuracy, standard_errors(accuracy, NEARLY_EXACT), np.random.default_rng(0))
    a, b, c = laws.law
    assert (a * LABELS[-1] ** b, b, c) == pytest.approx(law, rel=0.01, abs=1e-4)
    assert errors_at(laws.law[None], LABELS / LABELS[-1])[0] == pytest.approx(
        1 - accuracy / 100, abs=1e-5
    )
    answer = forecast_of(LABELS, accuracy, truth(5000, *law), size=NEARLY_EXACT)
    assert answer.more == pytest.approx(5000 - LABELS[-1], abs=15)
    assert answer.low <= 5000 - LABELS[-1] <= answer.high


@pytest.mark.parametrize("law", [(6.0, 0.4, 0.2), (2.0, 0.2, 0.0), (300.0, 1.5, 0.3)])
def test_the_grid_of_exponents_fits_as_well_as_scipys_search(law):
    """The sums of squares, in units of the variance of one measurement, differ by less than 0.1."""
    rng = np.random.default_rng(0)
    ratio, scale = LABELS / LABELS[-1], np.full(len(LABELS), 0.005)
    errors_S_R = 1 - truth(LABELS, *law) / 100 + rng.normal(size=(10, len(LABELS))) * scale

    def squares(laws_S_3):
        return (((errors_at(laws_S_3, ratio) - errors_S_R) / scale) ** 2).sum(axis=1)

    by_grid = laws_on_grid(ratio, errors_S_R, scale**-2)
    by_search = np.stack([law_of(ratio, errors, scale) for errors in errors_S_R])
    assert (squares(by_search) <= squares(by_grid) + 1e-6).all()
    assert (squares(by_grid) <= squares(by_search) + 0.1).all()
    for laws in (by_grid, by_search):
        a, b, c = laws.T
        assert (a > 0).all() and (b > 0).all() and (c >= 0).all() and (c < 1).all()


def test_the_law_meets_the_last_rounds():
    accuracy = truth(LABELS) + np.array([0, 0, 0, 0, 0, 2, 2, 2])
    laws = fit(LABELS, accuracy, standard_errors(accuracy, SIZE), np.random.default_rng(0))
    last = 1 - accuracy[-3:].mean() / 100
    ratio = LABELS[-3:] / LABELS[-1]
    assert errors_at(laws.law[None], ratio).mean() == pytest.approx(last, abs=1e-12)
    assert errors_at(laws.laws_S_3, ratio).mean() == pytest.approx(last, abs=1e-3)


def test_the_interval_covers_in_about_its_nominal_share():
    """Of 100 simulated curves with binomial noise, 95 intervals are to hold the truth.

    As few as fail this test would come by a chance of less than 1 in 100 at the nominal share.
    """
    needed, covered = 1500, 0
    target = truth(LABELS[-1] + needed)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        accuracy = rng.binomial(SIZE, truth(LABELS) / 100) / SIZE * 100
        answer = forecast(LABELS, accuracy, target, rng, size=SIZE)
        covered += isinstance(answer, Forecast) and answer.low <= needed <= answer.high
    assert covered >= stats.binom.ppf(0.01, 100, 0.95)


def test_golden_forecast():
    """Weights of the rounds, noise of the resamples and shift to the last rounds, all in one."""
    answer = forecast_of(LABELS, truth(LABELS) + np.array([0, 0, 0, 0, 0, 2, 2, 2]), 65)
    assert vars(answer) == pytest.approx({"more": 2507, "low": 2022, "high": 4270}, rel=0.02)


def test_a_target_that_most_resampled_fits_never_reach_is_not_forecast():
    """The fit itself does, after more labels than there are."""
    accuracy = truth(LABELS) + np.array([0.0, 0.5, -0.5, -1.5, -0.5, -1.5, 0.0, 2.0])
    laws = fit(LABELS, accuracy, standard_errors(accuracy, SIZE), np.random.default_rng(0))
    assert np.isfinite(labels_at_accuracy(laws.law[None], 99.8)).all()
    assert 0.6 < np.isinf(labels_at_accuracy(laws.laws_S_3, 99.8)).mean() < 0.9
    answer = forecast_of(LABELS, accuracy, 99.8)
    assert isinstance(answer, NoForecast) and answer.kind == "asymptote"
    assert answer.reason.endswith("% of the resampled fits")


def test_scatter_beyond_the_measurement_widens_the_interval():
    target = truth(4500)
    up_and_down = np.where(np.arange(len(LABELS)) % 2, 1.0, -1.0)
    calm = forecast_of(LABELS, truth(LABELS), target)
    rough = forecast_of(LABELS, truth(LABELS) + up_and_down, target)
    assert rough.high - rough.low > 1.5 * (calm.high - calm.low)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_same_seed_gives_the_same_answer(seed):
    first, second = (forecast_of(LABELS, truth(LABELS), truth(4500), seed) for _ in range(2))
    assert first == second and isinstance(first, Forecast)
    assert 0 <= first.low <= first.more <= first.high


def test_a_higher_target_needs_more_labels():
    targets = truth([3600, 4000, 4500, 5000])
    answers = forecasts(LABELS, truth(LABELS), targets, np.random.default_rng(0), size=SIZE)
    assert answers[1] == forecast_of(LABELS, truth(LABELS), targets[1])
    for ends in ("more", "low", "high"):
        values = [getattr(answer, ends) for answer in answers]
        assert values == sorted(values)


def test_a_target_that_is_reached_needs_no_more():
    assert forecast_of(LABELS, truth(LABELS), truth(LABELS)[-1]) == Forecast(0, 0, 0)
    assert forecast_of(LABELS[:2], [50, 60], 55) == Forecast(0, 0, 0)


@pytest.mark.parametrize(
    "accuracy, target, kind, words",
    [
        (truth(LABELS[:2]), 80, "rounds", "2 rounds are available, and a forecast needs 5"),
        (truth(LABELS[:1]), 80, "rounds", "1 round is available"),
        (np.full(8, 60.0), 80, "constant", "does not rise by more than its measurement"),
        (np.full(8, 100 / 3), 80, "constant", "does not rise"),
        (60 + 0.3 * np.tile([0, 1, 1, 0], 2), 80, "constant", "does not rise"),
        (truth(LABELS)[::-1], 80, "falling", "falls as labels are added"),
        (truth(LABELS), 95, "asymptote", "levels off below 95 %"),
        (truth(LABELS, 300, 1.5, 0.3), 72, "asymptote", "levels off below 72 %"),
        (truth(LABELS), 100, "asymptote", "levels off below 100 %"),
        (truth(LABELS), 76, "no end", "no upper end: the curve levels off below 76 % in"),
        (truth(LABELS, 2, 0.2, 0.0), 75, "far", "more than 10 times the 3,410 labels so far"),
    ],
)
def test_a_curve_without_a_forecast_gives_the_reason(accuracy, target, kind, words):
    answer = forecast_of(LABELS[: len(accuracy)], accuracy, target)
    assert isinstance(answer, NoForecast)
    assert answer.kind == kind and kind in KINDS
    assert words in answer.reason


def test_the_fewest_rounds_are_enough():
    few = LABELS[:FEWEST_ROUNDS]
    assert isinstance(forecast_of(few, truth(few), truth(2500)), Forecast)
    answer = forecast_of(few[:-1], truth(few[:-1]), truth(2500))
    assert isinstance(answer, NoForecast) and answer.kind == "rounds"


def test_no_forecast_reaches_beyond_the_stated_multiple():
    for target in np.arange(60, 80):
        answer = forecast_of(LABELS, truth(LABELS), target)
        assert isinstance(answer, NoForecast) or answer.high <= (MOST_TIMES - 1) * LABELS[-1]


def test_a_law_reaches_a_target_where_its_error_is_the_targets():
    laws = np.array([[0.2, 0.5, 0.1], [0.2, 0.5, 0.4], [0.2, 0.01, 0.0]])
    assert labels_at_accuracy(laws, 80)[0] == pytest.approx(4)  # 0.2 / sqrt(4) + 0.1 = 0.2
    assert np.isinf(labels_at_accuracy(laws, 80)[1]) and np.isinf(labels_at_accuracy(laws, 90)[0])
    assert np.isfinite(labels_at_accuracy(laws, 99.99)[2])  # far, but not never


def test_errors_are_binomial_and_never_zero():
    assert standard_errors(np.array([50.0]), SIZE) == pytest.approx(0.5, rel=1e-3)
    assert (standard_errors(np.array([0.0, 100.0]), 100) > 0).all()
    errors = standard_errors(truth(LABELS), SIZE)
    rng = np.random.default_rng(0)
    assert forecast(LABELS, truth(LABELS), 70, rng, errors=errors) == forecast_of(
        LABELS, truth(LABELS), 70
    )


@pytest.mark.parametrize(
    "labels, accuracy, target, options, words",
    [
        (LABELS, truth(LABELS), 80, {}, "either the size"),
        (LABELS, truth(LABELS), 80, {"size": 100, "errors": np.ones(8)}, "either the size"),
        (LABELS, truth(LABELS)[:-1], 80, {"size": 100}, "for every round"),
        ([], [], 80, {"size": 100}, "for every round"),
        (LABELS[::-1], truth(LABELS), 80, {"size": 100}, "rise from round to round"),
        (LABELS - 450, truth(LABELS), 80, {"size": 100}, "must be positive"),
        (LABELS, truth(LABELS), 101, {"size": 100}, "percentages"),
        (LABELS, np.full(8, np.nan), 80, {"size": 100}, "percentages"),
        (LABELS, truth(LABELS), 80, {"errors": np.zeros(8)}, "errors must be positive"),
    ],
)
def test_what_is_no_curve_is_refused(labels, accuracy, target, options, words):
    with pytest.raises(ValueError, match=words):
        forecast(labels, accuracy, target, np.random.default_rng(0), **options)
