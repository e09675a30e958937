"""A claim of the poster and the findings that judge it: its verdict, and what would change that."""

import math
from dataclasses import dataclass
from typing import Literal

from alutils.reporting import statistics
from alutils.reporting.prose import count, join, span
from alutils.reporting.statistics import LEVEL, Estimate

Verdict = Literal["supported", "not supported", "undecided"]
NEVER = f"no number of seeds up to {statistics.MOST_SEEDS:,}"


@dataclass(frozen=True)
class Finding:
    """One test of a claim: what was compared, its interval, its thresholds and the verdict.

    ``dataset`` is a title, and ``compared`` what was compared on it.
    ``thresholds`` holds one, or the two ends of a margin. ``tost_interval`` is the 90 % interval of
    two one-sided tests at 5 %, if that decides rather than the 95 % one of ``estimate``.
    """

    dataset: str
    compared: str
    estimate: Estimate | None
    thresholds: tuple[float, ...]
    verdict: Verdict
    p: float = math.nan
    note: str = ""
    tost_interval: Estimate | None = None
    above: bool = True
    """With a single threshold: whether values above it support the claim, or values below it."""
    unmeasured: int = 0
    """Seeds of a finding without an estimate."""
    bounded: bool = False
    """Whether some seed only bounds the estimate, which more seeds can't mend."""
    simultaneous: Estimate | None = None
    """The estimate with its simultaneous interval, over all tests that are corrected for."""
    stays: tuple[int, int] | None = None
    """Leave-one-seed-out sets in which the verdict is the same, and number of such sets."""

    @property
    def what(self) -> str:
        """What was compared, and on which dataset: MNIST, margin minus random."""
        return f"{self.dataset}, {self.compared}"

    @property
    def seeds(self) -> int:
        """Seeds that the finding rests on."""
        return self.estimate.seeds if self.estimate else self.unmeasured

    @property
    def interval(self) -> Estimate | None:
        """The interval that decides: of two one-sided tests, of corrected ones, or its own."""
        return self.tost_interval or self.simultaneous or self.estimate

    def gap(self) -> float:
        """Distance of the interval from the nearest threshold; infinite without an interval."""
        interval = self.interval
        if interval is None or math.isnan(interval.low):
            return math.inf
        return min(_distance(interval, threshold) for threshold in self.thresholds)

    @property
    def wanted(self) -> str:
        """Where the claim wants the true value: above 0, below 4, or within 1."""
        if len(self.thresholds) > 1:
            return f"within {self.thresholds[-1]:g}"
        return f"{'above' if self.above else 'below'} {self.thresholds[0]:g}"

    def change(self, unit: str, tests: int) -> str:
        """What would change this finding's verdict, if it is one of ``tests`` corrected ones."""
        if self.estimate is None:
            return f"a value of “{self.what}” in some seed"
        if tests > 1:
            return f"a corrected p of {1 - LEVEL:.2g} or more for “{self.what}”"
        threshold = min(self.thresholds, key=lambda threshold: _distance(self.interval, threshold))
        kind = "a 90 %" if self.tost_interval else "an"
        return f"{kind} interval of “{self.what}” that reaches {threshold:g}{unit}"


def _distance(interval: Estimate, threshold: float) -> float:
    """How far the nearer end of an interval lies from a threshold."""
    return min(abs(interval.low - threshold), abs(interval.high - threshold))


@dataclass(frozen=True)
class Claim:
    """A claim of the poster, the rule that judges it, and the findings.

    ``missing_runs`` names the runs that are missing, empty if there are none; ``tests`` is how many
    tests the verdicts are corrected for, and ``remark`` decides nothing.
    """

    key: str
    words: str
    rule: str
    unit: str = " points"
    findings: tuple[Finding, ...] = ()
    missing_runs: str = ""
    tests: int = 1
    remark: str = ""
    leave_one_out: tuple[tuple[int, Verdict], ...] = ()
    """By seed left out, the verdict on the others; for information only."""

    @property
    def verdict(self) -> Verdict:
        """Supported when every finding is; not supported when the opposite of one is shown."""
        verdicts = {finding.verdict for finding in self.findings}
        if self.missing_runs or not verdicts:
            return "undecided"
        if "not supported" in verdicts:
            return "not supported"
        return "supported" if verdicts == {"supported"} else "undecided"

    @property
    def nearest(self) -> Finding:
        """The finding nearest to its threshold, with the claim's verdict if any finding has it."""
        deciding = [finding for finding in self.findings if finding.verdict == self.verdict]
        return min(deciding or self.findings, key=Finding.gap)

    @property
    def seed_counts(self) -> list[int]:
        """The distinct numbers of seeds behind its findings, in ascending order."""
        return sorted({finding.seeds for finding in self.findings if finding.seeds})

    @property
    def seeds(self) -> str:
        """The seeds behind its findings: 5, or 5 on CIFAR-10, 3 on MNIST; empty without any."""
        if len(self.seed_counts) < 2:
            return "".join(map(str, self.seed_counts))
        by_dataset = {f.dataset: f.seeds for f in self.findings if f.seeds}
        return ", ".join(f"{seeds} on {dataset}" for dataset, seeds in by_dataset.items())

    @property
    def change(self) -> str:
        """What would change the verdict."""
        if self.missing_runs:
            return f"It needs runs on {self.missing_runs}."
        if self.verdict == "undecided":
            return self._change_of_undecided()
        deciding = sum(finding.verdict == self.verdict for finding in self.findings)
        nearest = self.nearest.change(self.unit, self.tests)
        if self.verdict == "supported" or deciding == 1:
            return f"It would be undecided with {nearest}."
        return f"It takes other verdicts on all {deciding} opposing findings; closest: {nearest}."

    def _change_of_undecided(self) -> str:
        undecided = [f for f in self.findings if f.verdict == "undecided"]
        measured = [f for f in undecided if f.estimate and not f.bounded]
        needed = []
        if measured and any(len(finding.thresholds) > 1 for finding in self.findings):
            needed.append(self._seeds_for_equivalence(measured))
        elif measured:
            needed.append(self._detectable_values(measured))
        if unmeasured := [f"“{f.what}”" for f in undecided if f not in measured]:
            needed.append(
                f"{'And runs' if measured else 'Runs'} in which {join(unmeasured)} can be measured "
                "in every seed."
            )
        return " ".join(needed)

    def _detectable_values(self, undecided: list[Finding]) -> str:
        """Which true values these seeds would show with the usual power."""
        decided = sum(finding.verdict != "undecided" for finding in self.findings)
        tests = max(1, self.tests - decided)
        level = statistics.simultaneous_level(tests)  # Holm's level for the tests that are left
        detectable = [
            statistics.detectable_difference(finding.estimate.spread, finding.seeds, level=level)
            for finding in undecided
        ]
        seeds = span(finding.seeds for finding in undecided)
        if max(detectable) < 0.005:
            return f"More seeds than {seeds}."
        corrected = f" and corrected for {count(tests, 'test')}" if self.tests > 1 else ""
        ends = [
            finding.thresholds[0] + (difference if finding.above else -difference)
            for finding, difference in zip(undecided, detectable, strict=True)
        ]
        below_zero = any(
            end < 0 and not finding.above for finding, end in zip(undecided, ends, strict=True)
        )
        return (
            f"More seeds than {seeds}: with {seeds}{corrected}, "
            f"{100 * statistics.POWER:.0f} % power needs a true value of "
            f"{self._values(undecided, ends)}."
            f"{' That is below zero, and hardly attainable.' if below_zero else ''}"
            f" {self._seeds_to_support(undecided, level)}"
        )

    def _seeds_to_support(self, undecided: list[Finding], level: float) -> str:
        """How many seeds would support the undecided findings, if the true values were as found."""
        needed = {
            finding.what: statistics.seeds_for_difference(
                (finding.estimate.mean - finding.thresholds[0]) * (1 if finding.above else -1),
                finding.estimate.spread,
                level,
            )
            for finding in undecided
        }
        seeds = {what: number for what, number in needed.items() if number}
        if not seeds:
            return f"If the true values were those found, {NEVER} would be enough."
        least, most = min(seeds.values()), max(seeds.values())
        takes = f"{least:,} seeds" if least == most else f"{least:,} to {most:,} seeds by finding"
        told = f"If the true values were those found, that power needs {takes}"
        never = [f"“{what}”" for what in needed if what not in seeds]
        if not never:
            return f"{told}."
        few = join(never) if len(never) < 3 else f"{len(never)} of {len(needed)} findings"
        return f"{told}, and {NEVER} would be enough for {few}."

    def _values(self, undecided: list[Finding], ends: list[float]) -> str:
        """Each finding's value, or their range if many are judged by the same threshold."""
        sides = ["or more" if finding.above else "or less" for finding in undecided]
        if len({(f.thresholds[0], f.above) for f in undecided}) == 1 and len(undecided) > 3:
            return f"{min(ends):.2f} to {max(ends):.2f}{self.unit} {sides[0]}, by finding"
        return ", of ".join(
            f"{end:.2f}{self.unit} {side} for “{finding.what}”"
            for finding, end, side in zip(undecided, ends, sides, strict=True)
        )

    def _seeds_for_equivalence(self, undecided: list[Finding]) -> str:
        """How many seeds would show equivalence, if the true differences were those found."""
        needed = []
        for finding in undecided:
            mean, spread = finding.estimate.mean, finding.estimate.spread
            enough = statistics.seeds_for_equivalence(mean, spread, finding.thresholds[1])
            number = f"{enough:,}" if enough else f"more than {statistics.MOST_SEEDS:,}"
            needed.append(f"{number} seeds for “{finding.what}”")
        alone = ", each on its own" if len(needed) > 1 else ""
        seeds = span(finding.seeds for finding in undecided)
        return (
            f"More seeds than {seeds}: if the true differences were those found, "
            f"{100 * statistics.POWER:.0f} % power needs {join(needed)}{alone}."
        )
