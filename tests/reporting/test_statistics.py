import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from alutils.protocol.arms import BASELINE
from alutils.reporting import statistics, tables


def results(values: dict[str, list[list[float]]], labels=(100, 200, 400)) -> pd.DataFrame:
    """Accuracies (share) by arm: a list a seed, a value a label count."""
    rows = [
        {"dataset": "mnist", "figure": 4, "arm": arm, "seed": seed, "labels": count,
         "accuracy": 100 * value, "test_accuracy": value, "epochs": 20, "reported": "test"}
        for arm, seeds in values.items()
        for seed, curve in enumerate(seeds)
        for count, value in zip(labels, curve, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_interval_is_scipys():
    values = [91.2, 93.4, 90.1, 92.8]
    estimate = statistics.estimate(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-12)
    assert estimate.seeds == 4 and estimate.differs_from_zero


def test_one_seed_has_no_interval():
    estimate = statistics.estimate([5.0])
    assert math.isnan(estimate.low) and math.isnan(estimate.high) and not estimate.differs_from_zero


def test_two_seeds_decide_nothing_however_near_they_are():
    two = statistics.estimate([1.0, 1.01])
    assert two.low > 0 and not two.differs_from_zero
    assert statistics.estimate([1.0, 1.01, 1.02]).differs_from_zero
    assert math.isnan(statistics.ratio([1.0, 1.1], [2.0, 2.01]).low)
    assert not math.isnan(statistics.ratio([1.0, 1.1, 1.0], [2.0, 2.01, 2.0]).low)


def test_the_area_is_a_mean_accuracy():
    assert statistics.area([100, 200, 400], [50, 70, 90]) == pytest.approx(
        (60 * 100 + 80 * 200) / 300
    )
    assert statistics.area([100, 300], [80, 80]) == 80
    assert statistics.area([100], [42]) == 42


def test_differences_are_paired_by_seed():
    table = results({"random": [[0.1] * 3, [0.5] * 3], "margin": [[0.2] * 3, [0.6] * 3]})
    by_seed = statistics.areas(table)
    difference = statistics.paired_differences(by_seed)["margin"]
    assert difference.mean == pytest.approx(10)
    assert difference.high - difference.low == pytest.approx(0, abs=1e-9)


def test_an_arm_that_lacks_a_seed_is_not_compared():
    table = results({"random": [[0.1] * 3, [0.5] * 3], "margin": [[0.2] * 3]})
    with pytest.raises(ValueError, match="lacks a seed"):
        statistics.paired_differences(statistics.areas(table))


def test_an_oracle_is_in_no_ranking_and_changes_none():
    found = results({"random": [[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]],
                     "margin": [[0.2, 0.3, 0.3], [0.6, 0.6, 0.8]],
                     "oracle": [[0.2, 0.8, 0.9], [0.6, 0.9, 0.9]]})  # fmt: skip
    without = found[found["arm"] != "oracle"]
    for number in (statistics.areas, statistics.final, statistics.label_savings):
        pd.testing.assert_frame_equal(number(found), number(without))
    assert tables.wins(found).data == tables.wins(without).data
    assert set(statistics.gains(found)["arm"]) == {"margin", "oracle"}


def test_gains_are_within_a_seed_and_a_label_count():
    table = results({"random": [[0.5, 0.6, 0.7], [0.4, 0.5, 0.9]],
                     "margin": [[0.5, 0.7, 0.6], [0.4, 0.6, 0.95]],
                     "baseline": [[0.1] * 3] * 2})  # fmt: skip
    gains = statistics.gains(table.sample(frac=1, random_state=0)).sort_values(["seed", "labels"])
    assert set(gains["arm"]) == {"margin"}
    assert gains["accuracy"].tolist() == pytest.approx([0, 10, -10, 0, 10, 5])


def test_curve_and_final():
    table = results({"random": [[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]]})
    curve = statistics.curve(table)
    assert curve["mean"].tolist() == pytest.approx([20, 30, 40])
    assert curve["seeds"].tolist() == [2, 2, 2]
    assert statistics.final(table)["random"].tolist() == pytest.approx([30, 50])


def test_the_p_value_is_that_of_a_paired_t_test():
    """Student's sleep data (1908): t = -4.0621, p = 0.002833 in every textbook."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    p = statistics.p_value(np.subtract(first, second))
    assert p == pytest.approx(0.002833, abs=5e-7)
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-12)
    assert statistics.p_value([1, 1, 1]) == 0 and statistics.p_value([0, 0, 0]) == 1
    assert math.isnan(statistics.p_value([1.0]))


def test_holm_by_hand():
    """0.01 x 4, then 0.02 x 3, then max(0.06, 0.03 x 2), then max(0.06, 0.04)."""
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_two_one_sided_agrees_with_its_interval():
    values = np.array([0.12, -0.05, 0.20, 0.08, -0.11])
    p = statistics.tost_p_value(values, 0.3)
    sem = stats.sem(values)
    by_hand = max(
        stats.t.sf((values.mean() + 0.3) / sem, 4), stats.t.cdf((values.mean() - 0.3) / sem, 4)
    )
    assert p == pytest.approx(by_hand, rel=1e-9)
    within = statistics.estimate(values, 0.90)
    assert (p < 0.05) == (-0.3 < within.low and within.high < 0.3)
    edge = max(abs(within.low), abs(within.high))
    assert statistics.tost_p_value(values, edge) == pytest.approx(0.05, rel=1e-9)


def test_the_detectable_difference_has_its_power():
    """G*Power's example: effect 0.5, alpha 0.05 two-sided, power 0.8 needs 34 pairs."""
    assert statistics.detectable_difference(1.0, 34) == pytest.approx(0.4949, abs=5e-4)
    difference = statistics.detectable_difference(2.0, 5)
    shift, critical = difference / 2 * math.sqrt(5), stats.t.ppf(0.975, 4)
    power = stats.nct.sf(critical, 4, shift) + stats.nct.cdf(-critical, 4, shift)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert math.isnan(statistics.detectable_difference(1.0, 1))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_detectable_difference_has_its_power_after_a_correction(seeds):
    """Power by integrating over the spread that is drawn, not by a noncentral t."""
    level = 1 - 0.05 / 14
    difference, df = statistics.detectable_difference(1.0, seeds, level=level), seeds - 1
    critical = stats.t.ppf((1 + level) / 2, df)
    power, _ = integrate.quad(
        lambda v: stats.chi2.pdf(v, df)
        * stats.norm.sf(critical * math.sqrt(v / df) - difference * math.sqrt(seeds)),
        0, math.inf,
    )  # fmt: skip
    assert power == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 0.3, -0.6])
def test_the_seeds_that_show_equivalence_have_its_power(mean):
    """By simulation, within its error; with two seeds less they have not."""
    seeds = statistics.seeds_for_equivalence(mean, 0.7, 1.0)
    rng = np.random.default_rng(0)

    def power(count: int) -> float:
        drawn = rng.normal(mean, 0.7, (20_000, count))
        half = stats.t.ppf(0.95, count - 1) * stats.sem(drawn, axis=1)
        return float((np.abs(drawn.mean(axis=1)) + half < 1).mean())

    assert power(seeds) > 0.79 and power(seeds - 2) < 0.79


def test_the_seeds_that_show_a_difference_have_the_power_and_one_less_has_not():
    seeds = statistics.seeds_for_difference(0.5, 0.7, level=1 - 0.05 / 8)
    rng = np.random.default_rng(0)

    def power(count: int) -> float:
        drawn = rng.normal(0.5, 0.7, (40_000, count))
        half = stats.t.ppf(1 - 0.05 / 16, count - 1) * stats.sem(drawn, axis=1)
        return float((drawn.mean(axis=1) > half).mean())

    assert power(seeds) > 0.795 and power(seeds - 1) < 0.8
    assert statistics.seeds_for_difference(0.5, 0.7) < seeds
    assert statistics.seeds_for_difference(0.0, 0.7) is None
    assert statistics.seeds_for_difference(0.001, 0.7) is None
    assert statistics.seeds_for_difference(0.5, 0.0) == 2
    assert statistics.seeds_for_difference(15.0, 1.0) == 2  # SciPy has no number for some


def test_the_seeds_that_show_equivalence_are_none_out_of_reach_and_two_without_spread():
    assert statistics.seeds_for_equivalence(1.0, 0.7, 1.0) is None
    assert statistics.seeds_for_equivalence(0.99, 0.7, 1.0) is None
    assert statistics.seeds_for_equivalence(0.99, 0.0, 1.0) == 2
    assert (
        statistics.seeds_for_equivalence(0.1, 0.05, 1.0)
        == statistics.seeds_for_equivalence(0.1, 0.03, 0.3)
        == 2
    )


def test_labels_to_reach_on_a_monotone_fit():
    """70, 60 pool to 65, so 72.5 lies halfway from 65 at 300 to 80 at 400."""
    labels, accuracy = [100, 200, 300, 400], [50, 70, 60, 80]
    assert statistics.labels_to_reach(labels, accuracy, 72.5) == pytest.approx(350)
    assert statistics.labels_to_reach(labels, accuracy, 57.5) == pytest.approx(150)
    assert statistics.labels_to_reach(labels, accuracy, 80) == 400
    assert statistics.labels_to_reach(labels, accuracy, 40) == 100
    assert math.isnan(statistics.labels_to_reach(labels, accuracy, 80.1))


def test_no_number_depends_on_the_order_of_the_rows():
    table = results({
        "random": [[0.5, 0.7, 0.6], [0.4, 0.6, 0.8]], "margin": [[0.6, 0.7, 0.9], [0.5, 0.9, 0.7]],
    })  # fmt: skip
    reversed_table = table.iloc[::-1]
    for statistic in (statistics.areas, statistics.final, statistics.label_savings):
        expected, actual = statistic(table), statistic(reversed_table)
        pd.testing.assert_frame_equal(expected, actual.loc[expected.index, expected.columns])


def test_random_ends_where_its_monotone_fit_does():
    """Not at its last point, which lies below the one before: the arm gets to 64 % and no more."""
    table = results({"random": [[0.5, 0.7, 0.6]], "margin": [[0.5, 0.64, 0.64]]})
    assert statistics.label_savings(table)["margin"].isna().all()


def test_label_savings_per_seed():
    """Random ends at 80 with 400 labels; margin is there at 200 in seed 0 and never in seed 1."""
    table = results(
        {"random": [[0.5, 0.7, 0.8], [0.5, 0.7, 0.8]], "margin": [[0.6, 0.8, 0.9], [0.5, 0.6, 0.7]]}
    )
    savings = statistics.label_savings(table)
    assert savings.loc[0, "margin"] == pytest.approx(2.0)
    assert math.isnan(savings.loc[1, "margin"])
    assert savings["random"].tolist() == [1.0, 1.0]
    single = table[table["labels"] == 400].assign(arm=BASELINE)
    assert statistics.label_savings(pd.concat([table, single])).equals(savings)


def test_the_win_matrix_counts_label_counts_won():
    """Margin beats random at 400 in every seed, at 200 not; at 100 they are one."""
    table = results(
        {
            "random": [[0.5, 0.60, 0.70], [0.5, 0.61, 0.71], [0.5, 0.62, 0.69]],
            "margin": [[0.5, 0.65, 0.75], [0.5, 0.55, 0.76], [0.5, 0.68, 0.74]],
        }
    )
    wins = statistics.win_matrix(table)
    assert wins.loc["margin", "random"] == pytest.approx(1 / 2)
    assert wins.loc["random", "margin"] == 0 and wins.loc["margin", "margin"] == 0
    start = statistics.win_matrix(table[table["labels"] == 100])
    assert (start.to_numpy() == 0).all()


def test_differences_are_corrected_for_the_number_of_arms():
    areas = pd.DataFrame({"random": [50.0, 51, 52], "a": [51.0, 52.1, 53], "b": [50.5, 51, 53]})
    p = statistics.holm_p_values(areas)
    alone = {arm: statistics.p_value(areas[arm] - areas["random"]) for arm in "ab"}
    assert p == pytest.approx({"a": 2 * alone["a"], "b": alone["b"]})


def test_simultaneous_intervals_are_bonferronis():
    areas = pd.DataFrame({"random": [50.0, 51, 52], "a": [51.0, 52.1, 53], "b": [50.5, 51, 53]})
    intervals = statistics.paired_differences(areas, tests=2)
    difference = areas["a"] - areas["random"]
    ends = stats.t.interval(0.975, 2, difference.mean(), stats.sem(difference))
    assert (intervals["a"].low, intervals["a"].high) == pytest.approx(ends)


def test_equivalence_is_corrected_for_the_number_of_arms():
    areas = pd.DataFrame({"random": [50.0, 51, 52], "a": [50.1, 51.2, 52], "b": [50.5, 51, 53]})
    alone = [statistics.tost_p_value(areas[arm] - areas["random"], 1.0) for arm in "ab"]
    expected = dict(zip("ab", statistics.holm(alone), strict=True))
    assert statistics.equivalence(areas, 1.0) == pytest.approx(expected)
    assert min(alone) < min(expected.values())


@pytest.mark.parametrize(
    ("arms", "freedom", "critical"),
    [(4, 16, 2.71), (4, 8, 3.02), (3, 16, 2.59), (4, 20, 2.65), (1, 16, 2.12)],
)
def test_dunnetts_critical_values_are_the_published_ones(arms, freedom, critical):
    """Two-sided at 5 % (Dunnett, Biometrics 20, 1964, table of two-sided comparisons)."""
    below, above = (
        statistics.dunnett_coverage(critical + half, arms, freedom) for half in (-0.006, 0.006)
    )
    assert below < 0.95 < above


def test_dunnetts_comparison_of_one_arm_is_a_t_test():
    for ratio, freedom in ((2.0, 8), (2.5, 8), (3.0, 2)):
        expected = 1 - 2 * stats.t.sf(ratio, freedom)
        assert statistics.dunnett_coverage(ratio, 1, freedom) == pytest.approx(expected, abs=1e-9)


def test_dunnetts_comparison_is_that_of_an_additive_model():
    """Against the ordinary least squares of statsmodels; no seed's level matters."""
    import statsmodels.formula.api as smf

    rng = np.random.default_rng(0)
    arms = ["random", "a", "b", "c", "d"]
    areas = pd.DataFrame(rng.normal(50, 1, (5, 5)), columns=arms) + [0, 0.5, 1, 1.5, 3]
    rows = areas.reset_index(names="seed").melt("seed", var_name="arm", value_name="area")
    model = smf.ols("area ~ C(arm, Treatment('random')) + C(seed)", rows).fit()
    p_values = statistics.dunnett(areas)
    for arm in arms[1:]:
        ratio = abs(model.tvalues[f"C(arm, Treatment('random'))[T.{arm}]"])
        expected = 1 - statistics.dunnett_coverage(ratio, 4, 16)
        assert p_values[arm] == pytest.approx(expected, abs=1e-6)
    error, freedom = statistics.pooled_error(areas)
    assert freedom == model.df_resid == 16
    assert error == pytest.approx(model.bse["C(arm, Treatment('random'))[T.a]"])
    low, high = model.conf_int(0.05).loc["C(arm, Treatment('random'))[T.a]"]
    assert statistics.pooled_half_width(areas) == pytest.approx((high - low) / 2)
    low, high = model.conf_int(0.05 / 4).loc["C(arm, Treatment('random'))[T.a]"]
    assert statistics.pooled_half_width(areas, tests=4) == pytest.approx((high - low) / 2)
    shifted = areas.add([0.0, 10, 20, 30, 40], axis=0)
    assert statistics.dunnett(shifted) == pytest.approx(p_values, abs=1e-6)


def test_dunnetts_comparison_without_any_residual_decides_as_the_means_do():
    level = pd.DataFrame({"random": [50.0, 51], "a": [50.0, 51], "b": [51.0, 52]})
    assert statistics.dunnett(level) == {"a": 1.0, "b": 0.0}
    assert math.isnan(statistics.dunnett(level[:1])["a"])


def test_one_seed_or_arm_has_no_spread_to_pool():
    for few in (
        pd.DataFrame({"random": [50.0], "a": [51.0]}),
        pd.DataFrame({"random": [50.0, 51]}),
    ):
        error, freedom = statistics.pooled_error(few)
        assert math.isnan(error) and freedom == 0
        assert math.isnan(statistics.pooled_half_width(few))


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_smallest_sign_flip_p_is_that_of_differences_of_one_sign(seeds):
    """Against every set of signs of differences that are all above zero."""
    values = np.arange(1.0, seeds + 1)
    signs = np.array(list(product((-1, 1), repeat=seeds)))
    as_extreme = np.abs((signs * values).sum(1)) >= values.sum()
    assert statistics.smallest_sign_flip_p(seeds) == as_extreme.mean()
    assert statistics.smallest_sign_flip_p(seeds, one_sided=True) == as_extreme.mean() / 2


def test_the_interval_of_a_ratio_ends_where_the_test_of_a_ratio_does():
    """By its definition: at both ends p is 5 %, and the ratio is that of the means."""
    rng = np.random.default_rng(0)
    of = 3 + rng.normal(size=12)
    values = 0.5 * of + rng.normal(size=12)
    ratio = statistics.ratio(values, of)
    assert (ratio.mean, ratio.seeds) == (pytest.approx(values.mean() / of.mean()), 12)
    assert ratio.low < ratio.mean < ratio.high
    for end in (ratio.low, ratio.high):
        assert statistics.p_value(values - end * of) == pytest.approx(0.05)


@pytest.mark.parametrize("of", [[-1.0, 1.0, 0.5], [2.0]])
def test_a_ratio_to_what_may_be_zero_has_no_interval(of):
    ratio = statistics.ratio(of, of)
    assert ratio.mean == 1 and math.isnan(ratio.low) and math.isnan(ratio.high)
