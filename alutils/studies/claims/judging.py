"""How a claim's rule is applied: the runs that it needs, which are missing, and single tests."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from alutils.protocol.arms import POSTER_ARMS, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import statistics
from alutils.reporting.prose import LEAST_P, count, p_value
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, Estimate, estimate
from alutils.studies.claims.findings import Claim, Finding, Verdict

RANGE = {"cifar10": (450, 6549), "mnist": (540, 7875)}
"""Labels of the first and the last round of the poster's Figures 3 and 4."""
SIZES = (540, 5490)
"""The smallest and the largest training set of the poster's Figure 2, of either dataset."""
SLACK = 0.05
"""Share by which a run may miss either end of such a range."""


class MissingRuns(LookupError):
    """The runs don't cover what a claim is about; the message says which are missing."""


def on_sizes(
    claim: Claim,
    sizes: pd.DataFrame,
    test: Callable[[str, pd.DataFrame], list[Finding]],
    fewest: int,
) -> Claim:
    """The claim with the findings of ``test`` on accuracy (%) by seed and label count.

    If the counts don't span ``SIZES``, the findings only describe and decide nothing.
    """

    def of_dataset(dataset: str, lacking: list[str]) -> list[Finding]:
        rows = sizes[sizes["dataset"] == dataset]
        curves = rows.pivot_table(index="seed", columns="labels", values="accuracy")
        if curves.shape[1] < 2:
            raise MissingRuns(f"{dataset_title(dataset)} at two sizes or more")
        findings = test(dataset, curves)
        _check_range(dataset, curves.columns, SIZES, lacking)
        _check_seeds(dataset, curves, lacking, fewest)
        return findings

    return _collect(claim, RANGE, of_dataset)


def on_arms(
    claim: Claim,
    arms: pd.DataFrame,
    test: Callable[[str, pd.DataFrame, pd.DataFrame], list[Finding]],
    fewest: int,
    datasets: Iterable[str] = tuple(RANGE),
) -> Claim:
    """The claim with the findings of ``test`` on areas by seed and arm, and on all rows."""

    def of_dataset(dataset: str, lacking: list[str]) -> list[Finding]:
        rows = poster_rows(arms, dataset)
        if missing := set(POSTER_ARMS) - set(rows["arm"]):
            names = ", ".join(arm_title(arm) for arm in POSTER_ARMS if arm in missing)
            raise MissingRuns(f"{dataset_title(dataset)} with the arms {names}")
        ends = rows.groupby(["arm", "seed"])["labels"].agg(["min", "max"])
        shared = (ends["min"].max(), ends["max"].min())
        _check_range(dataset, shared, RANGE[dataset], lacking)
        areas = statistics.areas(rows)
        _check_seeds(dataset, areas, lacking, fewest)
        return test(dataset, areas, rows)

    return _collect(claim, datasets, of_dataset)


def poster_rows(arms: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of the poster's arms on a dataset."""
    return arms[(arms["dataset"] == dataset) & arms["arm"].isin(POSTER_ARMS)]


def _collect(
    claim: Claim, datasets: Iterable[str], of_dataset: Callable[[str, list[str]], list[Finding]]
) -> Claim:
    """The claim with its findings; if runs are missing, they only describe and decide nothing.

    ``of_dataset`` adds missing runs to its second argument if its findings can still be computed,
    and raises ``MissingRuns`` if they can't.
    """
    findings: list[Finding] = []
    lacking: list[str] = []
    for dataset in datasets:
        try:
            findings += of_dataset(dataset, lacking)
        except MissingRuns as error:
            lacking.append(str(error))
    if lacking:
        findings = [replace(finding, verdict="undecided") for finding in findings]
    return replace(claim, findings=tuple(findings), missing_runs=" and ".join(lacking))


def _check_range(
    dataset: str, counts: Collection[int], wanted: tuple[int, int], lacking: list[str]
) -> None:
    first, last = wanted
    if min(counts) > (1 + SLACK) * first or max(counts) < (1 - SLACK) * last:
        lacking.append(f"{dataset_title(dataset)} from {first:,} to {last:,} labels")


def _check_seeds(dataset: str, by_seed: pd.DataFrame, lacking: list[str], fewest: int) -> None:
    if by_seed.isna().any(axis=None):
        raise MissingRuns(f"{dataset_title(dataset)} with the same seeds throughout")
    if len(by_seed) < fewest:
        lacking.append(f"{dataset_title(dataset)} with at least {fewest} seeds")


Side = Callable[[Estimate, float], Verdict]
"""On which side of its line an interval must lie: ``above`` or ``below``."""


def above(interval: Estimate, line: float) -> Verdict:
    """Supported if the whole interval lies above the line, not supported if below."""
    if interval.low > line:
        return "supported"
    return "not supported" if interval.high < line else "undecided"


def below(interval: Estimate, line: float) -> Verdict:
    """Supported if the whole interval lies below the line, not supported if above."""
    if interval.high < line:
        return "supported"
    return "not supported" if interval.low > line else "undecided"


def gain(
    dataset: str, curves: pd.DataFrame, low: int, high: int, line: float, side: Side
) -> Finding:
    """The test of the gain in accuracy from one label count to another."""
    gains = curves[high] - curves[low]
    return difference(dataset, gains, f"gain from {low:,} to {high:,} labels", line, side)


def difference(dataset: str, values: pd.Series, what: str, line: float, side: Side) -> Finding:
    """The test of a mean over seeds against a line."""
    interval = estimate(values)
    p = statistics.p_value(values)
    return Finding(
        dataset_title(dataset), what, interval, (line,), side(interval, line), p,
        above=side is above,
    )  # fmt: skip


def corrected(claim: Claim) -> Claim:
    """The claim with its findings after Holm's correction for all its tests.

    Tests whose runs are missing count, too.
    """
    p_values = [finding.p for finding in claim.findings]
    lacking = [math.nan] * (claim.tests - len(p_values))
    adjusted = statistics.holm(p_values + lacking)[: len(p_values)]
    findings = (
        _corrected(finding, p, claim.tests)
        for finding, p in zip(claim.findings, adjusted, strict=True)
    )
    return replace(claim, findings=tuple(findings))


def _corrected(finding: Finding, p: float, tests: int) -> Finding:
    """The finding after Holm's test, which may reject though Bonferroni's interval contains 0."""
    if finding.estimate is None or math.isnan(finding.p):
        return replace(finding, verdict="undecided")
    interval, level = finding.estimate, statistics.simultaneous_level(tests)
    standard_error = interval.spread / math.sqrt(interval.seeds)
    half = standard_error * stats.t.ppf((1 + level) / 2, interval.seeds - 1)
    wide = replace(interval, low=interval.mean - half, high=interval.mean + half)
    verdict: Verdict = finding.verdict if p < 1 - LEVEL else "undecided"
    if wide.seeds < FEWEST_SEEDS:
        return replace(finding, verdict=verdict)
    note = f"{_p(p)} after Holm's correction for {tests} tests"
    if verdict != "undecided" and not wide.differs_from_zero:
        note += ", which decides"
    return replace(finding, verdict=verdict, note=note, simultaneous=wide)


def with_one_seed_fewer(claim: Claim) -> Claim:
    """The claim on one seed fewer, with means and spreads as found: the effect of the number."""
    fewer = replace(claim, findings=tuple(map(_with_one_seed_fewer, claim.findings)))
    return corrected(fewer) if claim.tests > 1 else fewer


def undecided_with_one_seed_fewer(claims: Iterable[Claim]) -> list[str]:
    """Keys of the decided claims that would then be undecided."""
    decided = (claim for claim in claims if claim.verdict != "undecided")
    return [c.key for c in decided if with_one_seed_fewer(c).verdict == "undecided"]


def _with_one_seed_fewer(finding: Finding) -> Finding:
    """The finding on values with its mean and spread; unchanged if no interval decides it."""
    if finding.estimate is None or finding.bounded or finding.seeds < 3:
        return finding
    even = np.linspace(-1, 1, finding.seeds - 1)
    values = finding.estimate.mean + finding.estimate.spread * even / even.std(ddof=1)
    interval, line = estimate(values), finding.thresholds[-1]
    if len(finding.thresholds) > 1:
        verdict = _within(interval, statistics.tost_p_value(values, line), line)
    else:
        verdict = (above if finding.above else below)(interval, line)
    return replace(finding, estimate=interval, p=statistics.p_value(values), verdict=verdict)


def equivalence(dataset: str, values: pd.Series, what: str, margin: float) -> Finding:
    """Two one-sided tests of whether a difference by seed lies within the margin of zero.

    The opposite is shown if the whole 95 % interval lies beyond the margin.
    """
    interval, p = estimate(values), statistics.tost_p_value(values, margin)
    narrow = estimate(values, 2 * LEVEL - 1)  # the two tests are this interval
    verdict = _within(interval, p, margin)
    few = interval.seeds < FEWEST_SEEDS
    note = "" if few else f"{_p(p)} against a difference of {margin:g} or more"
    if note and verdict == "supported" and interval.differs_from_zero:
        note += "; its uncorrected 95 % interval excludes zero"
    judged = None if few or verdict == "not supported" else narrow
    ends = (-margin, margin)
    return Finding(dataset_title(dataset), what, interval, ends, verdict, p, note, judged)


def _p(p: float) -> str:
    """A p-value in words."""
    return f"p {p_value(p)}" if p < LEAST_P else f"p = {p_value(p)}"


def _within(interval: Estimate, p: float, margin: float) -> Verdict:
    """Supported if both tests reject, not supported if the interval lies beyond the margin."""
    if p < 1 - LEVEL:
        return "supported"
    beyond = interval.low > margin or interval.high < -margin
    return "not supported" if beyond else "undecided"


def saving(dataset: str, savings: pd.Series, gains: pd.Series, most: float, title: str) -> Finding:
    """The test of whether an arm saves more than half of random's labels.

    ``savings`` by seed are NaN if the arm never gets to random's last accuracy, and at most
    ``most``, the ratio of the last label count to the first. ``gains`` are its last accuracy minus
    random's. Judged by the interval if the arm gets there in every seed, and in none at its first
    labels, as those only bound a saving. Not supported if it gets there in no seed and the gain is
    shown to lie below zero: on the same plateau as random, not getting there is chance.
    """
    finding = partial(Finding, dataset_title(dataset), f"label saving of {title}")
    reached = savings.dropna()
    if len(reached) == len(savings):
        interval = estimate(savings)
        if not (early := int((savings == most).sum())):
            return finding(interval, (2.0,), above(interval, 2.0))
        note = f"random's accuracy reached at the first label count in {count(early, 'seed')}"
        return finding(interval, (2.0,), "undecided", note=note, bounded=True)
    opposed = not len(reached) and estimate(gains).high < 0
    verdict: Verdict = "not supported" if opposed else "undecided"
    note = f"random's accuracy not reached in {len(savings) - len(reached)} of {len(savings)} seeds"
    return finding(None, (2.0,), verdict, note=note, unmeasured=len(savings))


def nearest_count(counts: pd.Index, wanted: int) -> int | None:
    """The label count nearest to the wanted one, if it lies within 2 %."""
    nearest = min(counts, key=lambda count: abs(count - wanted))
    return nearest if abs(nearest - wanted) <= 0.02 * wanted else None
