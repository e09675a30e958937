"""The audit of the poster's claims, from a results table; nothing here trains.

The rules were fixed before the runs, except two clauses of C6 (see ``c6``). Intervals are 95 % t
intervals over paired seeds. A claim is supported when its test says so, not supported when the
opposite is shown, and undecided otherwise. It is also undecided if the runs don't span the poster's
label range or have under three seeds.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pandas as pd

from alutils.protocol.arms import POSTER_ARMS, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import statistics
from alutils.reporting.arm_comparison import EQUIVALENCE_MARGIN
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, estimate
from alutils.studies.claims import judging
from alutils.studies.claims.findings import Claim, Finding
from alutils.studies.claims.judging import RANGE, MissingRuns, above, below, on_arms, on_sizes

APPROACHES = POSTER_ARMS[1:]
"""The poster's four; users' own arms are not judged."""


def judge(results: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> list[Claim]:
    """The six claims, judged on a results table: a row per record and round.

    Columns: ``figure``, ``dataset``, ``arm``, ``seed``, ``labels``, ``accuracy`` (%).
    Rows of figure 2 are the training-size runs; those of figures 3 and 4 the arms. With fewer than
    ``fewest`` seeds nothing is decided.
    """
    return [judge_claim(key, results, fewest) for key in RULES]


def judge_claim(key: str, results: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """One of the six claims, as in ``judge``."""
    figures, rule = RULES[key]
    return rule(results[results["figure"].astype(str).isin(figures)], fewest)


def with_seeds_left_out(results: pd.DataFrame, claims: list[Claim]) -> list[Claim]:
    """The claims of ``judge``, each judged again without each of its seeds (``leave_one_out``).

    Each finding says how often it ``stays``. This changes no verdict. Two seeds are enough to
    compute a finding again, though not to decide one by the rules; if runs are missing, nothing is
    decided that could stay.
    """
    seeds = sorted(results["seed"].unique())
    again = {int(seed): judge(results[results["seed"] != seed], 2) for seed in seeds}
    left_out = (
        claim
        if claim.missing_runs
        else _left_out(claim, {seed: others[index] for seed, others in again.items()})
        for index, claim in enumerate(claims)
    )
    return [_by_random(claim, results) if claim.key == "C6" else claim for claim in left_out]


def _by_random(claim: Claim, results: pd.DataFrame) -> Claim:
    """C6, with a remark if it depends on the seed in which random ends highest."""
    if not claim.leave_one_out:
        return claim
    arms = results[results["figure"].astype(str).isin(RULES["C6"][0])]
    seed = statistics.random_ends(judging.poster_rows(arms, "mnist")).idxmax()
    if (verdict := dict(claim.leave_one_out).get(seed, claim.verdict)) == claim.verdict:
        return claim
    return replace(
        claim,
        remark=f"{claim.remark} Seed {seed}, without which C6 would be {verdict}, is the one in "
        "which random's fit ends highest: there, an arm has to reach a higher accuracy.",
    )


def _left_out(claim: Claim, again: dict[int, Claim]) -> Claim:
    """The claim with its verdicts in ``again``, the same claim by the seed that is left out.

    Its findings are in the same order in all of them. A set that has all seeds of a finding is not
    counted for it, and one that has all seeds of all findings is not counted for the claim.
    """
    findings = []
    fewer: set[int] = set()
    for index, finding in enumerate(claim.findings):
        others = {s: c.findings[index] for s, c in again.items() if len(c.findings) > index}
        verdicts = {s: o.verdict for s, o in others.items() if o.seeds < finding.seeds}
        kept = sum(verdict == finding.verdict for verdict in verdicts.values())
        findings.append(replace(finding, stays=(kept, len(verdicts))))
        fewer |= verdicts.keys()
    without = tuple((seed, again[seed].verdict) for seed in sorted(fewer))
    return replace(claim, findings=tuple(findings), leave_one_out=without)


def c1(sizes: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """A larger training set gives better accuracy."""
    claim = Claim(
        "C1",
        "For both datasets it is clear that larger training set size gives better accuracy.",
        "The lower bound of the gain from the smallest to the largest size is above 0 on both "
        "datasets.",
    )

    def test(dataset: str, curves: pd.DataFrame) -> list[Finding]:
        return [judging.gain(dataset, curves, curves.columns[0], curves.columns[-1], 0.0, above)]

    return on_sizes(claim, sizes, test, fewest)


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
        low, high = (judging.nearest_count(curves.columns, count) for count in (1500, 5500))
        if low is None or high is None:
            raise MissingRuns(f"{dataset_title(dataset)} at 1,500 and 5,500 labels")
        line, side = {"mnist": (1.5, below), "cifar10": (5.0, above)}[dataset]
        return [judging.gain(dataset, curves, low, high, line, side)]

    claim = on_sizes(claim, sizes, test, fewest)
    if claim.missing_runs or "heldout_best" not in sizes:
        return claim
    best = on_sizes(claim, sizes.assign(accuracy=100 * sizes["heldout_best"]), test, fewest)
    if best.missing_runs:
        return claim
    gains = [
        f"{finding.what} {gain.mean:.2f}{claim.unit} ({gain.low:.2f} to {gain.high:.2f})"
        for finding in best.findings
        if (gain := finding.estimate)
    ]
    return replace(
        claim,
        remark="For description only, as a training may end in a dip: by the best evaluation on "
        f"held-out images, {'; '.join(gains)}; seeds: {claim.seeds}. Such a best favours the size "
        "at which accuracy fluctuates more.",
    )


def c3(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """For the same number of labels, active learning beats the random baseline."""
    claim = Claim(
        "C3",
        "It is clear that for the same amount of data points the baseline is outperformed by the "
        "active learning models.",
        "For each arm and dataset, the lower bound of the paired difference in area from the "
        "random arm is above 0, Holm-corrected over the eight.",
        tests=2 * len(APPROACHES),
    )

    def test(dataset: str, areas: pd.DataFrame, _: pd.DataFrame) -> list[Finding]:
        return [
            judging.difference(
                dataset, areas[arm] - areas["random"], f"{arm_title(arm)} minus random", 0.0, above
            )
            for arm in APPROACHES
        ]

    return judging.corrected(on_arms(claim, arms, test, fewest))


def c4(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """The four active-learning approaches are very similar."""
    claim = Claim(
        "C4",
        "For both datasets the accuracy of the 4 active learning approaches are very similar.",
        "Two one-sided tests on the differences in area between the four arms, with a margin of "
        "1.0 point on CIFAR-10 and 0.3 on MNIST.",
    )

    def test(dataset: str, areas: pd.DataFrame, _: pd.DataFrame) -> list[Finding]:
        return [
            judging.equivalence(
                dataset,
                areas[first] - areas[second],
                f"{arm_title(first)} minus {arm_title(second)}",
                EQUIVALENCE_MARGIN[dataset],
            )
            for first, second in combinations(APPROACHES, 2)
        ]

    claim = on_arms(claim, arms, test, fewest)
    if claim.missing_runs:
        return claim
    alike = [
        f"{_as_random(arms, name)} of the {len(APPROACHES)} on {dataset_title(name)}"
        for name in RANGE
    ]
    aside = (
        f"By such tests, Holm-corrected, random labels are equivalent to {' and '.join(alike)}: "
        "where they are, the similarity of the four says nothing about the benefit of choosing."
    )
    return replace(claim, remark=aside)


def _as_random(arms: pd.DataFrame, dataset: str) -> int:
    """How many of the four approaches are equivalent to random labels, by their areas."""
    areas = statistics.areas(judging.poster_rows(arms, dataset))
    return sum(
        p < 1 - LEVEL for p in statistics.equivalence(areas, EQUIVALENCE_MARGIN[dataset]).values()
    )


def c5(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """On CIFAR-10 at most 4 points better."""
    claim = Claim(
        "C5",
        "For the same size training data the active learning approaches have atmost a 4% better "
        "accuracy than that of the baseline.",
        "On CIFAR-10, the upper bound of the best arm's difference from random at the last label "
        "count is below 4 points.",
    )

    def test(dataset: str, _: pd.DataFrame, rows: pd.DataFrame) -> list[Finding]:
        last = statistics.final(rows)
        gains = {arm: last[arm] - last["random"] for arm in APPROACHES}
        best = max(gains, key=lambda arm: gains[arm].mean())
        what = f"{arm_title(best)}, the best arm, minus random at the last label count"
        finding = judging.difference(dataset, gains.pop(best), what, 4.0, below)
        bounds = [f"{arm_title(arm)} {estimate(gain).high:.2f}" for arm, gain in gains.items()]
        note = f"upper bounds of the others: {', '.join(bounds)}"
        if finding.estimate and finding.estimate.mean <= 0:
            note += "; no arm's mean lies above random's, so that nothing is gained there"
        return [finding if math.isnan(finding.p) else replace(finding, note=note)]

    claim = on_arms(claim, arms, test, fewest, ["cifar10"])
    if claim.missing_runs:
        return claim
    gains = statistics.gains(judging.poster_rows(arms, "cifar10"))
    by_count = gains.groupby(["arm", "labels"])["accuracy"]
    bounds = by_count.apply(lambda values: estimate(values).high)
    arm, labels = bounds.idxmax()
    return replace(
        claim,
        remark="The claim is about every size, its rule only about the last label count. Over all "
        "label counts and arms, the largest upper bound, not corrected, is "
        f"{bounds.max():.2f} points "
        f"({arm_title(arm)} at {labels:,} labels).",
    )


def c6(arms: pd.DataFrame, fewest: int = FEWEST_SEEDS) -> Claim:
    """On MNIST the baseline's accuracy needs a much smaller set."""
    claim = Claim(
        "C6",
        "For the MNIST dataset the accuracy of the 4 active learning approaches are better than "
        "the baseline for a much smaller dataset.",
        "On MNIST, the lower bound of each arm's label saving is above 2. The saving is random's "
        "last label count divided by the count at which the arm reaches random's last accuracy, on "
        f"monotone fits per seed ({statistics.FIT}).",
        " times",
        remark="Two clauses of this rule were added after results were known. An arm that reaches "
        "random's last accuracy in no seed opposes the claim only if its own last accuracy is "
        "shown to lie below random's, and is undecided otherwise. An arm that has this accuracy "
        "from the first label count on in some seed is undecided, as the saving is only bounded "
        "there.",
    )

    def test(dataset: str, _: pd.DataFrame, rows: pd.DataFrame) -> list[Finding]:
        savings, last = statistics.label_savings(rows), statistics.final(rows)
        most = rows["labels"].max() / rows["labels"].min()
        return [
            judging.saving(dataset, savings[arm], last[arm] - last["random"], most, arm_title(arm))
            for arm in APPROACHES
        ]

    claim = on_arms(claim, arms, test, fewest, ["mnist"])
    if claim.findings and not any(finding.note for finding in claim.findings):
        claim = replace(claim, remark=f"{claim.remark} Neither applies to a finding here.")
    return claim


RULES: dict[str, tuple[tuple[str, ...], Callable[[pd.DataFrame, int], Claim]]] = {
    "C1": (("2",), c1),
    "C2": (("2",), c2),
    "C3": (("3", "4"), c3),
    "C4": (("3", "4"), c4),
    "C5": (("3", "4"), c5),
    "C6": (("3", "4"), c6),
}
"""By claim the figures whose runs it is judged on, and its rule."""
