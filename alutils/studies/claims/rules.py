"""The audit of the poster's claims, from a results table; nothing here trains.

The rules were fixed before the runs. Intervals are 95 % t intervals over paired seeds. A claim is
supported when its test says so, not supported when the opposite is shown, undecided otherwise, and
whenever the label range or three seeds are not there.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import pandas as pd
from scipy import stats

from alutils.protocol.arms import POSTER_ARMS, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import statistics
from alutils.reporting.prose import count, join
from alutils.reporting.standing import MARGIN
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, Estimate, estimate

Verdict = Literal["supported", "not supported", "undecided"]
APPROACHES = POSTER_ARMS[1:]
"""The poster's four; arms of a user's own are not judged."""
RANGE = {"cifar10": (450, 6549), "mnist": (540, 7875)}
"""Labels of the first and the last round of the poster's Figures 3 and 4."""
SLACK = 0.05
"""Share by which a run may miss either end of that range."""


@dataclass(frozen=True)
class Finding:
    """One test of a claim: what was compared, its interval, where that is judged, the verdict.

    ``judged`` is the 90 % interval of two one-sided tests at 5 %, where that decides rather than
    the 95 % one of ``estimate``.
    """

    what: str
    estimate: Estimate | None
    lines: tuple[float, ...]
    verdict: Verdict
    p: float = math.nan
    note: str = ""
    judged: Estimate | None = None
    above: bool = True
    """Whether it is supported above its line, where that is one."""
    unmeasured: int = 0
    """Seeds of a finding without an estimate."""
    simultaneous: Estimate | None = None
    """With the interval that holds together with those of the other tests that are corrected."""
    stays: tuple[int, int] | None = None
    """In how many of how many sets of all seeds but one the verdict is the same."""

    @property
    def seeds(self) -> int:
        """Seeds that the finding rests on."""
        return self.estimate.seeds if self.estimate else self.unmeasured

    def gap(self) -> float:
        """How far the interval's ends lie from where it is judged; infinite without an interval."""
        one = self.judged or self.estimate
        if one is None or math.isnan(one.low):
            return math.inf
        return min(_distance(one, line) for line in self.lines)

    def turn(self, unit: str, tests: int) -> str:
        """What would change this finding's verdict, of so many that are corrected for."""
        if self.estimate is None:
            return f"“{self.what}” with a number in some seed"
        one = self.judged or self.estimate
        if tests > 1:
            return f"a corrected p of {1 - LEVEL:.2g} or more for “{self.what}”"
        line = min(self.lines, key=lambda line: _distance(one, line))
        kind = "a 90 %" if self.judged else "an"
        return f"{kind} interval of “{self.what}” that reaches {line:g}{unit}"


@dataclass(frozen=True)
class Claim:
    """A claim of the poster, the rule that judges it, and what was found."""

    key: str
    words: str
    rule: str
    unit: str = " points"
    findings: tuple[Finding, ...] = ()
    lacking: str = ""
    tests: int = 1
    aside: str = ""

    @property
    def verdict(self) -> Verdict:
        """Supported when every finding is; not supported when the opposite of one is shown."""
        verdicts = {finding.verdict for finding in self.findings}
        if self.lacking or not verdicts:
            return "undecided"
        if "not supported" in verdicts:
            return "not supported"
        return "supported" if verdicts == {"supported"} else "undecided"

    @property
    def seeds(self) -> int:
        """The fewest seeds behind any finding."""
        return min((finding.seeds for finding in self.findings), default=0)

    @property
    def change(self) -> str:
        """What would change the verdict."""
        if self.lacking:
            return f"It needs runs on {self.lacking}."
        if self.verdict == "undecided":
            return self._open()
        decisive = [f for f in self.findings if f.verdict == self.verdict]
        nearest = min(decisive, key=Finding.gap).turn(self.unit, self.tests)
        if self.verdict == "supported" or len(decisive) == 1:
            return f"It would be undecided with {nearest}."
        return f"Other verdicts on all {len(decisive)} findings that oppose it; nearest: {nearest}."

    def _open(self) -> str:
        undecided = [f for f in self.findings if f.verdict == "undecided" and f.estimate]
        if not undecided:
            return "Runs in which the arms get there in every seed."
        if any(len(finding.lines) > 1 for finding in self.findings):
            return self._open_equivalence(undecided)
        tests = max(1, self.tests - sum(f.verdict != "undecided" for f in self.findings))
        level = 1 - (1 - LEVEL) / tests  # as Holm's correction has it for what is left
        spreads = [f.estimate.spread for f in undecided]
        shown = [statistics.detectable(one, self.seeds, level=level) for one in spreads]
        if max(shown) < 0.005:
            return f"More seeds than {self.seeds}."
        corrected = f" and corrected for {count(tests, 'test')}" if self.tests > 1 else ""
        ends = [
            f.lines[0] + (one if f.above else -one) for f, one in zip(undecided, shown, strict=True)
        ]
        beyond = any(end < 0 and not f.above for f, end in zip(undecided, ends, strict=True))
        if len({(f.lines[0], f.above) for f in undecided}) == 1 and len(undecided) > 3:
            side = "or more" if undecided[0].above else "or less"
            told = f"{min(ends):.2f} to {max(ends):.2f}{self.unit} {side}, by finding"
        else:
            told = ", of ".join(
                f"{end:.2f}{self.unit} {'or more' if f.above else 'or less'} for “{f.what}”"
                for f, end in zip(undecided, ends, strict=True)
            )
        return (
            f"More seeds than {self.seeds}: with {self.seeds}{corrected}, "
            f"{100 * statistics.POWER:.0f} % power needs a true value of {told}."
            f"{' That is below zero, and hardly to be had.' if beyond else ''}"
        )

    def _open_equivalence(self, undecided: list[Finding]) -> str:
        """How many seeds would show equivalence, if the true differences were those found."""
        told = []
        for f in undecided:
            seeds = statistics.seeds_to_equal(f.estimate.mean, f.estimate.spread, f.lines[1])
            needed = f"{seeds:,}" if seeds else f"more than {statistics.MOST_SEEDS:,}"
            told.append(f"{needed} seeds for “{f.what}”")
        alone = ", each by itself" if len(told) > 1 else ""
        return (
            f"More seeds than {self.seeds}: if the true differences were those found, "
            f"{100 * statistics.POWER:.0f} % power needs {join(told)}{alone}."
        )


def judge(results: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> list[Claim]:
    """The six claims, judged on a results table: a row per record and round.

    Columns: ``figure``, ``dataset``, ``arm``, ``seed``, ``labels``, ``accuracy`` (%).
    Rows of figure 2 are the training-size runs; those of figures 3 and 4 the arms. With less than
    the ``fewest`` seeds nothing is decided.
    """
    figure = results["figure"].astype(str)
    sizes, arms = results[figure == "2"], results[figure.isin(["3", "4"])]
    of_sizes, of_arms = (c1, c2), (c3, c4, c5, c6)
    return [*(judge(sizes, fewest) for judge in of_sizes), *(j(arms, fewest) for j in of_arms)]


def with_seeds_left_out(results: pd.DataFrame, found: list[Claim]) -> list[Claim]:
    """The claims of ``judge``, each finding with how often it ``stays`` as one seed is left out.

    That changes no verdict. Two seeds are enough to compute a finding again, though not to decide
    one by the rules; where runs are lacking, nothing is decided that could stay.
    """
    again = [judge(results[results["seed"] != seed], 2) for seed in results["seed"].unique()]
    return [
        claim if claim.lacking else _stays(claim, [one[place] for one in again])
        for place, claim in enumerate(found)
    ]


def _stays(claim: Claim, again: list[Claim]) -> Claim:
    """The findings stand in one order throughout; a set that has all of its seeds counts not."""
    findings = []
    for place, finding in enumerate(claim.findings):
        others = [one.findings[place] for one in again if len(one.findings) > place]
        verdicts = [one.verdict for one in others if one.seeds < finding.seeds]
        kept = sum(verdict == finding.verdict for verdict in verdicts)
        findings.append(replace(finding, stays=(kept, len(verdicts))))
    return replace(claim, findings=tuple(findings))


def c1(sizes: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """A larger training set gives better accuracy."""
    claim = Claim(
        "C1",
        "For both datasets it is clear that larger training set size gives better accuracy.",
        "The gain from the smallest to the largest size has its lower bound above 0, on both.",
    )

    def test(dataset: str, curves: pd.DataFrame) -> list[Finding]:
        return [_gain(dataset, curves, curves.columns[0], curves.columns[-1], 0.0, _above)]

    return _on_sizes(claim, sizes, test, fewest)


def c2(sizes: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """MNIST is about constant from 1,500 labels; CIFAR-10 still rises at 5,500."""
    claim = Claim(
        "C2",
        "For MNIST the accuracy becomes somewhat constant at around 1500 training set datapoints, "
        "while the accuracy for CIFAR-10 still increases at training set size 5500.",
        "From 1,500 to 5,500 labels MNIST gains less than 1.5 points (upper bound) and CIFAR-10 "
        "more than 5 (lower bound).",
    )

    def test(dataset: str, curves: pd.DataFrame) -> list[Finding]:
        low, high = (_nearest(curves.columns, count) for count in (1500, 5500))
        if low is None or high is None:
            raise Lacking(f"{dataset_title(dataset)} at 1,500 and 5,500 labels")
        line, judge = {"mnist": (1.5, _below), "cifar10": (5.0, _above)}[dataset]
        return [_gain(dataset, curves, low, high, line, judge)]

    claim = _on_sizes(claim, sizes, test, fewest)
    if claim.lacking or "heldout_best" not in sizes:
        return claim
    best = _on_sizes(claim, sizes.assign(accuracy=100 * sizes["heldout_best"]), test, fewest)
    if best.lacking:
        return claim
    told = [
        f"{finding.what} {one.mean:.2f}{claim.unit} ({one.low:.2f} to {one.high:.2f})"
        for finding in best.findings
        if (one := finding.estimate)
    ]
    return replace(
        claim,
        aside="Described, not judged by, as a training may end in a dip: by its best evaluation on "
        f"held-out images, {'; '.join(told)}, {claim.seeds} seeds. Such a best flatters the size "
        "at which accuracy swings more.",
    )


def c3(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """For the same number of labels, active learning beats the random baseline."""
    claim = Claim(
        "C3",
        "It is clear that for the same amount of data points the baseline is outperformed by the "
        "active learning models.",
        "Per arm and dataset, the paired difference in area to the random arm has its lower bound "
        "above 0, Holm-corrected over the eight.",
        tests=2 * len(APPROACHES),
    )

    def test(dataset: str, areas: pd.DataFrame, _: pd.DataFrame) -> list[Finding]:
        return [
            _difference(
                dataset, areas[arm] - areas["random"], f"{arm_title(arm)} minus random", 0.0, _above
            )
            for arm in APPROACHES
        ]

    claim = _on_arms(claim, arms, test, fewest)
    adjusted = statistics.holm([finding.p for finding in claim.findings])
    findings = (
        _corrected(finding, p, len(adjusted))
        for finding, p in zip(claim.findings, adjusted, strict=True)
    )
    return replace(claim, findings=tuple(findings))


def _corrected(finding: Finding, p: float, tests: int) -> Finding:
    """The finding as Holm's test has it, which may reject where Bonferroni's interval holds 0."""
    if finding.estimate is None or math.isnan(finding.p):
        return replace(finding, verdict="undecided")
    one, level = finding.estimate, statistics.simultaneous_level(tests)
    half = one.spread / math.sqrt(one.seeds) * stats.t.ppf((1 + level) / 2, one.seeds - 1)
    wide = replace(one, low=one.mean - half, high=one.mean + half)
    verdict: Verdict = finding.verdict if p < 1 - LEVEL else "undecided"
    note = f"p = {p:.3g} after Holm's correction for {tests} tests"
    if verdict != "undecided" and not wide.decided:
        note += ", which decides though the simultaneous interval reaches 0"
    return replace(finding, verdict=verdict, note=note, simultaneous=wide)


def c4(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """The four active-learning approaches are very similar."""
    claim = Claim(
        "C4",
        "For both datasets the accuracy of the 4 active learning approaches are very similar.",
        "Two one-sided tests on the differences in area between the four arms, margin 1.0 point "
        "on CIFAR-10 and 0.3 on MNIST.",
    )

    def test(dataset: str, areas: pd.DataFrame, _: pd.DataFrame) -> list[Finding]:
        margin, found = MARGIN[dataset], []
        for one, other in combinations(APPROACHES, 2):
            difference = areas[one] - areas[other]
            interval, p = estimate(difference), statistics.two_one_sided(difference, margin)
            narrow = estimate(difference, 2 * LEVEL - 1)  # the two tests are this interval
            apart = interval.low > margin or interval.high < -margin
            verdict: Verdict = (
                "supported" if p < 1 - LEVEL else "not supported" if apart else "undecided"
            )
            what = f"{dataset_title(dataset)}, {arm_title(one)} minus {arm_title(other)}"
            note = (
                "" if math.isnan(p) else f"p = {p:.3g} against a difference of {margin:g} or more"
            )
            if verdict == "supported" and interval.decided:
                note += "; not zero, but within that margin"
            judged = None if verdict == "not supported" else narrow
            found.append(Finding(what, interval, (-margin, margin), verdict, p, note, judged))
        return found

    claim = _on_arms(claim, arms, test, fewest)
    if claim.lacking:
        return claim
    told = [
        f"{_as_random(arms, name)} of the {len(APPROACHES)} on {dataset_title(name)}"
        for name in RANGE
    ]
    aside = (
        f"By such tests, Holm-corrected, random labels are equivalent to {' and '.join(told)}: "
        "where they are, the likeness of the four says nothing about the benefit of choosing."
    )
    return replace(claim, aside=aside)


def _as_random(arms: pd.DataFrame, dataset: str) -> int:
    """How many of the four approaches are equivalent to random labels, by their areas."""
    one = arms[(arms["dataset"] == dataset) & arms["arm"].isin(POSTER_ARMS)]
    areas = statistics.areas(one)
    return sum(p < 1 - LEVEL for p in statistics.equivalence(areas, MARGIN[dataset]).values())


def c5(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """On CIFAR-10 at most 4 points better."""
    claim = Claim(
        "C5",
        "For the same size training data the active learning approaches have atmost a 4% better "
        "accuracy than that of the baseline.",
        "On CIFAR-10, the upper bound of the best arm's difference to random at the last label "
        "count is below 4 points.",
    )

    def test(dataset: str, _: pd.DataFrame, one: pd.DataFrame) -> list[Finding]:
        last = statistics.final(one)
        gains = {arm: last[arm] - last["random"] for arm in APPROACHES}
        best = max(gains, key=lambda arm: gains[arm].mean())
        what = f"{arm_title(best)}, the best arm, minus random at the last label count"
        found = _difference(dataset, gains.pop(best), what, 4.0, _below)
        bounds = [f"{arm_title(arm)} {estimate(gain).high:.2f}" for arm, gain in gains.items()]
        told = f"upper bounds of the others: {', '.join(bounds)}"
        if found.estimate and found.estimate.mean <= 0:
            told += "; no arm's mean lies above random's, so that nothing is gained there"
        return [found if math.isnan(found.p) else replace(found, note=told)]

    return _on_arms(claim, arms, test, fewest, ["cifar10"])


def c6(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """On MNIST the baseline's accuracy needs a much smaller set."""
    claim = Claim(
        "C6",
        "For the MNIST dataset the accuracy of the 4 active learning approaches are better than "
        "the baseline for a much smaller dataset.",
        "On MNIST, per arm, the lower bound of the label saving is above 2: labels at the end of "
        "the random arm, over labels at which the arm reaches the accuracy that random ends with, "
        "on monotone fits per seed.",
        " times",
    )

    def test(dataset: str, _: pd.DataFrame, one: pd.DataFrame) -> list[Finding]:
        savings, last = statistics.label_savings(one), statistics.final(one)
        most = one["labels"].max() / one["labels"].min()
        return [
            _saving(dataset, savings[arm], last[arm] - last["random"], most, arm_title(arm))
            for arm in APPROACHES
        ]

    return _on_arms(claim, arms, test, fewest, ["mnist"])


class Lacking(LookupError):
    """The runs don't reach what a claim speaks of; the message says which are lacking."""


def _on_sizes(
    claim: Claim,
    sizes: pd.DataFrame,
    test: Callable[[str, pd.DataFrame], list[Finding]],
    fewest: int,
) -> Claim:
    """The claim with the findings of ``test`` on accuracy (%) by seed and label count."""

    def of_dataset(dataset: str, lacking: list[str]) -> list[Finding]:
        one = sizes[sizes["dataset"] == dataset]
        curves = one.pivot_table(index="seed", columns="labels", values="accuracy")
        if curves.shape[1] < 2:
            raise Lacking(f"{dataset_title(dataset)} at two sizes or more")
        _check_seeds(dataset, curves, lacking, fewest)
        return test(dataset, curves)

    return _collect(claim, RANGE, of_dataset)


def _on_arms(
    claim: Claim,
    arms: pd.DataFrame,
    test: Callable[[str, pd.DataFrame, pd.DataFrame], list[Finding]],
    fewest: int,
    datasets: Iterable[str] = tuple(RANGE),
) -> Claim:
    """The claim with the findings of ``test`` on areas by seed and arm, and on all rows."""

    def of_dataset(dataset: str, lacking: list[str]) -> list[Finding]:
        one = arms[(arms["dataset"] == dataset) & arms["arm"].isin(POSTER_ARMS)]
        if missing := set(POSTER_ARMS) - set(one["arm"]):
            names = ", ".join(arm_title(arm) for arm in POSTER_ARMS if arm in missing)
            raise Lacking(f"{dataset_title(dataset)} with the arms {names}")
        first, last = RANGE[dataset]
        ends = one.groupby(["arm", "seed"])["labels"].agg(["min", "max"])
        if (ends["min"] > (1 + SLACK) * first).any() or (ends["max"] < (1 - SLACK) * last).any():
            lacking.append(f"{dataset_title(dataset)} from {first:,} to {last:,} labels")
        areas = statistics.areas(one)
        _check_seeds(dataset, areas, lacking, fewest)
        return test(dataset, areas, one)

    return _collect(claim, datasets, of_dataset)


def _collect(
    claim: Claim, datasets: Iterable[str], of_dataset: Callable[[str, list[str]], list[Finding]]
) -> Claim:
    """The claim with its findings; where runs are lacking they describe, and decide nothing."""
    findings: list[Finding] = []
    lacking: list[str] = []
    for dataset in datasets:
        try:
            findings += of_dataset(dataset, lacking)
        except Lacking as error:
            lacking.append(str(error))
    if lacking:
        findings = [replace(finding, verdict="undecided") for finding in findings]
    return replace(claim, findings=tuple(findings), lacking=" and ".join(lacking))


def _check_seeds(dataset: str, by_seed: pd.DataFrame, lacking: list[str], fewest: int) -> None:
    if by_seed.isna().any(axis=None):
        raise Lacking(f"{dataset_title(dataset)} with the same seeds throughout")
    if len(by_seed) < fewest:
        lacking.append(f"{dataset_title(dataset)} with {fewest} seeds or more")


Judge = Callable[[Estimate, float], Verdict]


def _above(one: Estimate, line: float) -> Verdict:
    return "supported" if one.low > line else "not supported" if one.high < line else "undecided"


def _below(one: Estimate, line: float) -> Verdict:
    return "supported" if one.high < line else "not supported" if one.low > line else "undecided"


def _gain(
    dataset: str, curves: pd.DataFrame, low: int, high: int, line: float, judge: Judge
) -> Finding:
    gain = curves[high] - curves[low]
    return _difference(dataset, gain, f"gain from {low:,} to {high:,} labels", line, judge)


def _difference(dataset: str, values: pd.Series, what: str, line: float, judge: Judge) -> Finding:
    one = estimate(values)
    p = statistics.p_value(values)
    above = judge is _above
    return Finding(
        f"{dataset_title(dataset)}, {what}", one, (line,), judge(one, line), p, above=above
    )


def _saving(dataset: str, savings: pd.Series, gain: pd.Series, most: float, title: str) -> Finding:
    """Judged where the arm gets to random's last accuracy in every seed, after its first labels.

    Those bound a saving: ``most`` is the ratio of the last label count to the first.
    Opposed where it does so in none and ``gain``, its last accuracy minus random's, is shown to lie
    below zero: on one plateau with random, no arm reaching it is chance.
    """
    what = f"{dataset_title(dataset)}, label saving of {title}"
    reached = savings.dropna()
    if len(reached) == len(savings):
        one = estimate(savings)
        if not (early := int((savings == most).sum())):
            return Finding(what, one, (2.0,), _above(one, 2.0))
        note = f"random's accuracy is there from the first label count in {count(early, 'seed')}"
        return Finding(what, one, (2.0,), "undecided", note=note)
    below = not len(reached) and estimate(gain).high < 0
    verdict: Verdict = "not supported" if below else "undecided"
    note = f"random's accuracy not reached in {len(savings) - len(reached)} of {len(savings)} seeds"
    return Finding(what, None, (2.0,), verdict, note=note, unmeasured=len(savings))


def _nearest(counts: pd.Index, wanted: int) -> int | None:
    """The label count nearest to the wanted one, if it lies within 2 %."""
    nearest = min(counts, key=lambda count: abs(count - wanted))
    return nearest if abs(nearest - wanted) <= 0.02 * wanted else None


def _distance(one: Estimate, line: float) -> float:
    return min(abs(one.low - line), abs(one.high - line))
