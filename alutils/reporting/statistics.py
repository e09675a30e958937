"""Statistics over the tidy results table: curves with intervals, areas, paired differences.

Its column ``accuracy`` is in percent; a seed is one replication, and intervals are t intervals
over seeds. With one seed there is no interval: its bounds are NaN.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import optimize, stats

from alutils.protocol.arms import BASELINE, ORACLES

LEVEL, POWER = 0.95, 0.8
FEWEST_SEEDS = 3
"""Minimum number of seeds for a test or a verdict; with fewer, none is given."""
MOST_SEEDS = 1000
"""Most seeds that ``seeds_for_difference`` and ``seeds_for_equivalence`` consider."""
FIT = "isotonic regression, interpolated linearly between label counts"
"""How ``labels_to_reach`` reads a label count off a curve, in words."""
OWN_SPREAD_SEEDS = 10
"""Seeds enough to estimate each arm's own spread; with fewer, a pooled one is given as well."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its t interval."""

    mean: float
    low: float
    high: float
    seeds: int
    spread: float = math.nan
    """Standard deviation of the underlying values."""

    @property
    def differs_from_zero(self) -> bool:
        """Whether the interval excludes zero; two seeds decide nothing."""
        return self.seeds >= FEWEST_SEEDS and (self.low > 0 or self.high < 0)


def enough_seeds(results: pd.DataFrame) -> bool:
    """Whether there are enough seeds for a test."""
    return results["seed"].nunique() >= FEWEST_SEEDS


def estimate(values: np.ndarray | list[float], level: float = LEVEL) -> Estimate:
    """Mean and t interval of independent replications; NaN for the interval of one."""
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, math.nan, math.nan, count)
    half = stats.t.ppf((1 + level) / 2, count - 1) * stats.sem(values)
    return Estimate(mean, mean - half, mean + half, count, float(values.std(ddof=1)))


def prediction_interval(values: np.ndarray | list[float]) -> Estimate:
    """Mean of independent replications, with the prediction interval for one more."""
    mean = estimate(values)
    half = stats.t.ppf((1 + LEVEL) / 2, mean.seeds - 1) * mean.spread * (1 + 1 / mean.seeds) ** 0.5
    return replace(mean, low=mean.mean - half, high=mean.mean + half)


def ratio(values: np.ndarray | list[float], of: np.ndarray | list[float]) -> Estimate:
    """Mean of ``values`` over the mean of their partners ``of``, with its interval (Fieller, 1954).

    The interval holds every ratio r for which the mean of ``values - r * of`` is not shown to
    differ from zero. It has ends if the interval of ``of`` excludes zero; otherwise, and with
    fewer than ``FEWEST_SEEDS`` pairs, they are NaN.
    """
    values, of = np.asarray(values, dtype=float), np.asarray(of, dtype=float)
    top, bottom, pairs = float(values.mean()), float(of.mean()), len(values)
    if not estimate(of).differs_from_zero:
        return Estimate(top / bottom, math.nan, math.nan, pairs)
    (var_top, both), (_, var_bottom) = np.cov(values, of) * (
        stats.t.ppf((1 + LEVEL) / 2, pairs - 1) ** 2 / pairs
    )
    square, half = bottom**2 - var_bottom, top * bottom - both
    root = math.sqrt(max(0.0, half**2 - square * (top**2 - var_top)))
    low, high = float((half - root) / square), float((half + root) / square)
    return Estimate(top / bottom, low, high, pairs)


def _equal(values: np.ndarray) -> bool:
    """Whether the values differ by nothing but rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def p_value(values: np.ndarray | list[float]) -> float:
    """Two-sided p-value of the one-sample t test against zero; NaN with one value.

    If all values are equal, p is 0, or 1 if they are zero.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return math.nan
    if _equal(values):
        return float(values[0] == 0)
    return float(stats.ttest_1samp(values, 0).pvalue)


def smallest_sign_flip_p(seeds: int, one_sided: bool = False) -> float:
    """Smallest p-value of a sign-flip test on ``seeds`` paired differences.

    The test assumes no normality (Fisher, 1935). Of the 2^seeds equally likely sets of signs, two
    are the most extreme, all plus and all minus; in a one-sided test, only one of them.
    """
    return (1 if one_sided else 2) / 2**seeds


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values (Holm, 1979), which bound the family-wise error; NaN counts as 1."""
    from statsmodels.stats.multitest import multipletests

    known = np.nan_to_num(np.asarray(p_values, dtype=float), nan=1.0)
    return multipletests(known, method="holm")[1].tolist() if len(known) else []


def tost_p_value(values: np.ndarray | list[float], margin: float) -> float:
    """p-value of the null that the mean is ``margin`` or more from zero (Schuirmann, 1987).

    Below 0.05 the values are equivalent to zero, just as if their 90 % interval lay within the
    margin.
    NaN with one value.
    """
    from statsmodels.stats.weightstats import DescrStatsW

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return math.nan
    if _equal(values):
        return float(abs(values[0]) >= margin)
    return float(DescrStatsW(values).ttost_mean(-margin, margin)[0])


def detectable_difference(spread: float, seeds: int, level: float = LEVEL) -> float:
    """Smallest true mean difference that ``seeds`` pairs would show with ``POWER``.

    ``spread`` is the standard deviation of the paired differences; two-sided paired t test. NaN
    with one seed.
    """
    from statsmodels.stats.power import TTestPower

    if seeds < 2:
        return math.nan

    def lacking(effect: float) -> float:
        """Power that is missing: one-sided, as the other side hardly ever rejects."""
        power = TTestPower().power(effect, seeds, (1 - level) / 2, alternative="larger")
        return POWER - float(power)

    high = 1.0
    while lacking(high) > 0:  # statsmodels' own search ends at 10
        high *= 2
    return spread * float(optimize.brentq(lacking, 0, high))


def seeds_for_difference(difference: float, spread: float, level: float = LEVEL) -> int | None:
    """Seeds for a two-sided paired t test to show, with ``POWER``, that a mean is above zero.

    ``difference`` and ``spread`` (standard deviation) are the true ones. None if the mean is not
    above zero or ``MOST_SEEDS`` are too few.
    """
    if difference <= 0:
        return None
    if spread == 0:
        return 2

    def enough(seeds: int) -> bool:
        """One-sided, as the other side hardly ever rejects."""
        return _power(difference / spread, seeds, (1 - level) / 2) >= POWER

    return _fewest(enough)


def seeds_for_equivalence(mean: float, spread: float, margin: float) -> int | None:
    """Seeds for two one-sided tests to show, with ``POWER``, that a mean is within ``margin``.

    ``mean`` and ``spread`` (standard deviation) are the true ones. The joint power of both tests is
    at least the sum of their powers minus 1, and this bound has to reach ``POWER``. None if the
    mean is not within the margin or ``MOST_SEEDS`` are too few.
    """
    if abs(mean) >= margin:
        return None
    if spread == 0:
        return 2

    def enough(seeds: int) -> bool:
        powers = (_power((margin + sign * mean) / spread, seeds, 1 - LEVEL) for sign in (1, -1))
        return sum(powers) - 1 >= POWER

    return _fewest(enough)


def _power(effect: float, seeds: int, alpha: float) -> float:
    """Power of a one-sided paired t test of an effect above 0, in standard deviations.

    SciPy's noncentral t is NaN for some effects so large that the power is 1.
    """
    from statsmodels.stats.power import TTestPower

    power = float(TTestPower().power(effect, seeds, alpha, None, "larger"))
    return 1.0 if math.isnan(power) else power


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The fewest seeds up to ``MOST_SEEDS`` that are enough, assuming that any larger number is."""
    numbers = range(2, MOST_SEEDS + 1)
    first = bisect_left(numbers, True, key=enough)
    return numbers[first] if first < len(numbers) else None


def monotone(accuracy: np.ndarray | pd.Series) -> np.ndarray:
    """The closest curve that never falls: isotonic regression (Barlow et al., 1972)."""
    from sklearn.isotonic import isotonic_regression

    return isotonic_regression(np.asarray(accuracy, dtype=float))


def labels_to_reach(labels: np.ndarray, accuracy: np.ndarray, target: float) -> float:
    """Label count at which a monotone fit of the curve reaches ``target``; NaN if it never does.

    The fit is isotonic regression (Barlow et al., 1972), linear between label counts. A target
    that the first point already meets gives the first label count: the true one may be smaller.
    """
    labels, fit = np.asarray(labels, dtype=float), monotone(accuracy)
    if not fit[-1] >= target:
        return math.nan
    first = int(np.argmax(fit >= target))
    if first == 0:
        return float(labels[0])
    share = (target - fit[first - 1]) / (fit[first] - fit[first - 1])
    return float(labels[first - 1] + share * (labels[first] - labels[first - 1]))


def area(labels: np.ndarray, accuracy: np.ndarray) -> float:
    """Area under the budget curve (trapezoids) divided by its width: a mean accuracy.

    With a single label count, the accuracy there.
    """
    labels, accuracy = np.asarray(labels, dtype=float), np.asarray(accuracy, dtype=float)
    if len(labels) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, labels) / (labels[-1] - labels[0]))


def curve(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval by dataset, arm and label count: mean, low, high, seeds."""
    groups = results.groupby(["dataset", "arm", "labels"], sort=False)["accuracy"]
    rows = [dict(zip(groups.keys, key, strict=True)) | vars(estimate(g)) for key, g in groups]
    return pd.DataFrame(rows)


def strategies(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of ranked arms: all but the single baseline run and the oracles."""
    return results[~results["arm"].isin([BASELINE, *ORACLES])]


def areas(results: pd.DataFrame) -> pd.DataFrame:
    """Area under the budget curve by seed (rows) and arm (columns), of one dataset.

    A single baseline run has no curve, and so no area; an oracle is no strategy, and is left out.
    """
    curves = strategies(results).sort_values("labels", kind="stable")
    groups = curves.groupby(["seed", "arm"], sort=False)
    return groups.apply(lambda g: area(g["labels"], g["accuracy"])).unstack("arm")


def paired_differences(
    by_seed: pd.DataFrame, reference: str = "random", tests: int = 1
) -> dict[str, Estimate]:
    """Every arm's difference from ``reference``, taken per seed, then averaged over seeds.

    With several ``tests`` the intervals are simultaneous: all of them hold their true values in
    95 % of studies (Bonferroni). Raises ``ValueError`` if an arm lacks a seed, as its
    difference would not be paired.
    """
    if by_seed.isna().any(axis=None):
        raise ValueError("some arm lacks a seed, so its difference can't be paired")
    others, level = by_seed.columns.drop(reference), simultaneous_level(tests)
    return {arm: estimate(by_seed[arm] - by_seed[reference], level) for arm in others}


def simultaneous_level(tests: int) -> float:
    """Level of each of ``tests`` intervals that hold together at ``LEVEL`` (Bonferroni)."""
    return 1 - (1 - LEVEL) / tests


def gains(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of all arms but random, of one dataset, with ``accuracy`` minus random's.

    Random's accuracy is that of the same seed and label count. In points; NaN if random has none.
    """
    by = ["seed", "labels"]
    random = results[results["arm"] == "random"].set_index(by)["accuracy"]
    arms = results[~results["arm"].isin(["random", BASELINE])]
    beside = random.reindex(pd.MultiIndex.from_frame(arms[by])).to_numpy()
    return arms.assign(accuracy=arms["accuracy"] - beside)


def holm_p_values(by_seed: pd.DataFrame, reference: str = "random") -> dict[str, float]:
    """Holm-corrected p-values of every arm's paired difference from ``reference``."""
    return _holm_of_arms(by_seed, reference, p_value)


def equivalence(by_seed: pd.DataFrame, margin: float) -> dict[str, float]:
    """Holm-corrected p-values of the null that an arm is ``margin`` or more from random.

    From two one-sided tests of the paired differences; below 0.05 the arm is equivalent to random.
    """
    return _holm_of_arms(by_seed, "random", lambda values: tost_p_value(values, margin))


def _holm_of_arms(
    by_seed: pd.DataFrame, reference: str, test: Callable[[pd.Series], float]
) -> dict[str, float]:
    arms = by_seed.columns.drop(reference)
    p_values = holm([test(by_seed[arm] - by_seed[reference]) for arm in arms])
    return dict(zip(arms, p_values, strict=True))


def dunnett(by_seed: pd.DataFrame) -> dict[str, float]:
    """p-values of all arms against random at once, with a pooled variance (Dunnett, 1955).

    From an additive model of seed and arm with one residual variance, which has (arms - 1)(seeds
    - 1) degrees of freedom; two-sided, corrected for the number of arms. By quasi-Monte Carlo
    integration with a fixed seed, to about 1e-4.
    """
    error, freedom = pooled_error(by_seed)
    if not freedom:
        return dict.fromkeys(by_seed.columns.drop("random"), math.nan)
    differences = by_seed.mean().drop("random") - by_seed["random"].mean()
    rounding = 1e-12 * float(by_seed.abs().max(axis=None))
    return {
        arm: float(abs(difference) <= rounding)
        if error <= rounding
        else 1 - dunnett_coverage(abs(difference) / error, len(differences), freedom)
        for arm, difference in differences.items()
    }


def pooled_error(by_seed: pd.DataFrame) -> tuple[float, int]:
    """Pooled standard error of a difference between two arms, and its degrees of freedom.

    The variance is the residual one of an additive model of seed and arm, the same for all arms,
    with (arms - 1)(seeds - 1) degrees of freedom; if these are 0, the error is NaN.
    """
    values = by_seed.to_numpy(dtype=float)
    seeds, arms = values.shape
    freedom = (arms - 1) * (seeds - 1)
    if not freedom:
        return math.nan, 0
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return math.sqrt(2 * float((residuals**2).sum()) / freedom / seeds), freedom


def pooled_half_width(by_seed: pd.DataFrame, tests: int = 1) -> float:
    """Half-width of the interval of any difference between two arms, from ``pooled_error``, or NaN.

    With several ``tests`` the intervals are simultaneous, as in ``paired_differences``.
    """
    error, freedom = pooled_error(by_seed)
    return error * float(stats.t.ppf((1 + simultaneous_level(tests)) / 2, freedom or math.nan))


def dunnett_coverage(ratio: float, arms: int, freedom: int) -> float:
    """Probability that no arm's t statistic lies further than ``ratio`` from zero, if none differs.

    The arms share their reference, so that their statistics have correlation 1/2.
    """
    if arms == 1:
        return float(2 * stats.t.cdf(ratio, freedom) - 1)
    shape = 0.5 + 0.5 * np.eye(arms)
    ends = np.full(arms, float(ratio))
    inside = stats.multivariate_t.cdf(
        ends, shape=shape, df=freedom, lower_limit=-ends, random_state=0
    )
    return min(1.0, float(inside))


def label_savings(results: pd.DataFrame) -> pd.DataFrame:
    """Random's last label count over that at which an arm reaches random's final accuracy.

    By seed (rows) and arm (columns), for one dataset, on monotone fits per seed; NaN if the arm
    never reaches it. Random's own column is above 1 if its fit is flat at the end: an arm saves
    labels only beyond that. A single baseline run has no curve, and so no saving; an oracle
    is left out.
    """
    ends = random_ends(results)
    curves = {
        key: group.sort_values("labels")
        for key, group in strategies(results).groupby(["seed", "arm"], sort=False)
    }
    savings: dict[str, dict[int, float]] = {}
    for (seed, arm), curve in curves.items():
        random = curves[seed, "random"]
        needed = labels_to_reach(curve["labels"], curve["accuracy"], ends[seed])
        savings.setdefault(arm, {})[seed] = float(random["labels"].iloc[-1]) / needed
    return pd.DataFrame(savings)


def random_ends(results: pd.DataFrame) -> pd.Series:
    """Accuracy (%) of random's monotone fit at its end, by seed, of one dataset."""
    random = results[results["arm"] == "random"].sort_values("labels").groupby("seed")["accuracy"]
    return random.apply(lambda curve: monotone(curve)[-1])


def labels_before(results: pd.DataFrame, points: float) -> np.ndarray:
    """How many labels before its end random's accuracy is ``points`` lower, by seed.

    For one dataset, on monotone fits; NaN if it is never that low.
    """
    before = []
    for _, curve in results[results["arm"] == "random"].groupby("seed"):
        labels, accuracy = curve.sort_values("labels")[["labels", "accuracy"]].to_numpy(float).T
        fit = monotone(accuracy)
        needed = labels_to_reach(labels, accuracy, fit[-1] - points)
        before.append(labels[-1] - needed if fit[0] <= fit[-1] - points else math.nan)
    return np.array(before)


def win_matrix(results: pd.DataFrame) -> pd.DataFrame:
    """Share of label counts at which the row's arm beats the column's (BADGE, arXiv 1906.03671).

    For one dataset. An arm wins if the paired t interval of its accuracy minus the other's lies
    above zero, which needs ``FEWEST_SEEDS``. The first label count, at which most arms have the
    same labels, is left out if there are others. Row sums show which arms win, column means which
    arms lose (lower is better).
    """
    wide = results.pivot_table(index=["labels", "seed"], columns="arm", values="accuracy")
    arms = list(dict.fromkeys(results["arm"]))
    wins = pd.DataFrame(0.0, index=arms, columns=arms)
    sizes = [group for _, group in wide.groupby("labels")]
    sizes = sizes[1:] or sizes
    for arm in arms:
        for other in arms:
            gains = [estimate(size[arm] - size[other]) for size in sizes]
            beats = [gain.differs_from_zero and gain.mean > 0 for gain in gains]
            wins.loc[arm, other] = float(np.mean(beats))
    return wins


def final(results: pd.DataFrame) -> pd.DataFrame:
    """Accuracy (%) at the last label count by seed (rows) and arm (columns), without oracles."""
    results = results[~results["arm"].isin(ORACLES)]
    last = results.sort_values("labels", kind="stable").groupby(["seed", "arm"], sort=False).last()
    return last["accuracy"].unstack("arm")
