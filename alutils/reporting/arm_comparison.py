"""How arms compare with random: shown to differ, shown to be equivalent, or neither."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, statistics
from alutils.reporting.prose import count, join, points, verb
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, OWN_SPREAD_SEEDS, POWER, Estimate

EQUIVALENCE_MARGIN = {"mnist": 0.3, "cifar10": 1.0}
"""Points of area within which two arms count as equal."""


@dataclass(frozen=True)
class ArmComparison:
    """An arm's difference from random in area, and what two families of tests show about it.

    ``difference`` has the simultaneous interval. ``p`` is the p-value of the paired t test and
    ``p_equal`` that of two one-sided tests within the dataset's margin (NaN if it has none), both
    Holm-corrected for the arms.
    """

    difference: Estimate
    p: float
    p_equal: float

    @property
    def differs(self) -> bool:
        """Whether it is shown to differ from random."""
        return self.p < 1 - LEVEL

    @property
    def side(self) -> str:
        """The side of random where it is shown to lie, ``above`` or ``below``; else empty."""
        if not self.differs:
            return ""
        return "above" if self.difference.mean > 0 else "below"

    @property
    def equivalent(self) -> bool:
        """Whether it is shown to lie within the margin of random."""
        return self.p_equal < 1 - LEVEL

    def word(self, dataset: str) -> str:
        """What is shown about it relative to random, in a few words."""
        if self.side:
            return f"{self.side} random{f' {by_less(dataset)}' if self.equivalent else ''}"
        return "equivalent to random" if self.equivalent else "not shown to differ from random"

    @property
    def short(self) -> str:
        """What ``word`` says, without random and the size of the margin."""
        if self.side:
            return f"{self.side}{', by less than the margin' if self.equivalent else ''}"
        return "equivalent" if self.equivalent else "open"


def compare_with_random(areas: pd.DataFrame, dataset: str) -> dict[str, ArmComparison]:
    """Every arm compared with random, from a dataset's areas by seed (rows) and arm (columns)."""
    differences = statistics.paired_differences(areas, tests=len(areas.columns) - 1)
    p, margin = statistics.holm_p_values(areas), EQUIVALENCE_MARGIN.get(dataset)
    equal = statistics.equivalence(areas, margin) if margin else dict.fromkeys(p, float("nan"))
    return {arm: ArmComparison(differences[arm], p[arm], equal[arm]) for arm in differences}


def tests(areas: pd.DataFrame, dataset: str) -> str:
    """The tests by which arms are compared with random, in words."""
    number = len(areas.columns) - 1
    equal = " and two one-sided tests of equivalence" if dataset in EQUIVALENCE_MARGIN else ""
    corrected = f", Holm-corrected for {number} arms" if number > 1 else ""
    return f"paired t tests{equal} at 5 %{corrected}"


def sentence(areas: pd.DataFrame, dataset: str) -> str:
    """Which arms differ from random, which are equivalent to it, and for which neither is shown."""
    by_arm = compare_with_random(areas, dataset)
    parts = []
    for small in (False, True):
        shown = {a: s for a, s in by_arm.items() if s.equivalent == small}
        for where in ("above", "below"):
            if arms := [arm_title(a) for a, s in shown.items() if s.side == where]:
                parts.append(f"{join(arms)} {verb(arms)} {where} random")
                if small:
                    parts[-1] += f", {by_less(dataset)}"
    if same := [arm_title(a) for a, s in by_arm.items() if s.equivalent and not s.differs]:
        parts.append(
            f"{join(same)} {'is' if len(same) == 1 else 'are'} equivalent to random within "
            f"{margin_points(dataset)}"
        )
    if zero := [
        arm_title(a) for a, s in by_arm.items() if s.differs and not s.difference.differs_from_zero
    ]:
        parts.append(
            f"the simultaneous interval of {join(zero)} reaches zero, but Holm's test decides"
        )
    if left := [arm_title(arm) for arm in undecided(by_arm)]:
        neither = "no difference"
        if dataset in EQUIVALENCE_MARGIN:
            neither = f"neither a difference nor equivalence within {margin_points(dataset)}"
        arms = f"any of the {len(left)} arms" if len(left) == len(by_arm) > 1 else join(left)
        parts.append(f"{neither} is shown for {arms}")
    return "; ".join(parts)


def normality(areas: pd.DataFrame, dataset: str) -> str:
    """What the p-values of the arms' tests assume; empty with enough seeds, or too few to test."""
    unreached = beyond_sign_flips(areas, dataset)
    if not unreached:
        return ""
    values = [
        f"{least} for {'a ' if what == 'difference' else ''}{what}"
        for what, least in unreached.items()
    ]
    number = len(areas.columns) - 1
    corrected = f", and after Holm's correction for {number} tests none below {1 - LEVEL:.2g}"
    return (
        f"With {count(len(areas), 'seed')} a sign-flip test, which does not assume normality, "
        f"gives no p below {join(values, 'or')}{corrected if number > 1 else ''}: what is shown "
        "here assumes that differences are approximately normal."
    )


def beyond_sign_flips(areas: pd.DataFrame, dataset: str) -> dict[str, str]:
    """What no sign-flip test with these arms and seeds can show, with its smallest p-value.

    Either may be in it: ``difference`` and, if the dataset has a margin, one-sided ``equivalence``,
    after Holm's correction. Empty with too few seeds for a test.
    """
    if len(areas) < FEWEST_SEEDS:
        return {}
    one_sided = {"difference": False} | (
        {"equivalence": True} if dataset in EQUIVALENCE_MARGIN else {}
    )
    flips = {
        what: sign_flip(len(areas), len(areas.columns) - 1, side)
        for what, side in one_sided.items()
    }
    return {what: least for what, (least, rejects) in flips.items() if not rejects}


def sign_flip(seeds: int, tests: int, one_sided: bool) -> tuple[str, bool]:
    """The smallest p-value of a sign-flip test, in words: 0.25 (2/2^3).

    Also whether such a test could reject after Holm's correction for ``tests`` tests.
    """
    p = statistics.smallest_sign_flip_p(seeds, one_sided)
    return f"{p:.3g} ({1 if one_sided else 2}/2^{seeds})", tests * p < 1 - LEVEL


def pooled(areas: pd.DataFrame) -> str:
    """What intervals with a spread pooled over all arms would show for each arm, in a sentence.

    From areas by seed and arm; empty if there is nothing to pool, or with ``OWN_SPREAD_SEEDS`` or
    more, which are enough to estimate each arm's own spread.
    """
    _, freedom = statistics.pooled_error(areas)
    seeds, arms = areas.shape
    if not freedom or arms < 3 or seeds >= OWN_SPREAD_SEEDS:
        return ""
    half, wide = (statistics.pooled_half_width(areas, tests) for tests in (1, arms - 1))
    return (
        f"With a spread pooled over all {arms} arms ({freedom} degrees of freedom), every interval "
        f"would be ± {half:.2f} points, or ± {wide:.2f} if simultaneous (with few seeds, a much "
        "narrower interval may be so by chance). The simultaneous ones would put "
        f"{_sides(areas, wide)}; this decides nothing."
    )


def _sides(areas: pd.DataFrame, half: float) -> str:
    """On which side of random each arm would lie if every interval were ± ``half`` points."""
    gains = areas.drop(columns="random").sub(areas["random"], axis=0).mean()
    sides = {
        "above random": gains > half,
        "below random": gains < -half,
        "on neither side": gains.abs() <= half,
    }
    groups = [(where, [arm_title(arm) for arm in gains.index[of]]) for where, of in sides.items()]
    *few, (most, arms) = sorted(filter(lambda group: group[1], groups), key=lambda g: len(g[1]))
    rest = f"all {len(arms)}" if not few else "all others" if len(arms) > 2 else join(arms)
    return join([*(f"{join(names)} {where}" for where, names in few), f"{rest} {most}"])


def undecided(by_arm: dict[str, ArmComparison]) -> list[str]:
    """The arms that are shown neither to differ from random nor to be equivalent to it."""
    return [arm for arm, s in by_arm.items() if not (s.differs or s.equivalent)]


def power(areas: pd.DataFrame, dataset: str) -> str:
    """The true difference from random that ``POWER`` needs, for the undecided arms."""
    every, seeds = compare_with_random(areas, dataset), len(areas)
    if not (left := undecided(every)):
        return ""
    number = sum(not arm.differs for arm in every.values())
    level = statistics.simultaneous_level(number)  # Holm's level for the arms that are left
    corrected = f" and corrected for {number} tests" if number > 1 else ""
    shown = [
        statistics.detectable_difference((areas[arm] - areas["random"]).std(), seeds, level=level)
        for arm in left
    ]
    if min(shown) > 100:
        return f" For these, {seeds} seeds can hardly show any difference."
    low = f"{min(shown):.2f}"
    high = f"{max(shown):.2f}" if max(shown) <= 100 else "over 100"
    span = f"{low} points" if low == high else f"{low} to {high} points, by arm"
    return (
        f" For these, with {seeds} seeds{corrected}, {100 * POWER:.0f} % power needs a true "
        f"difference of {span}."
    )


def table(results: pd.DataFrame) -> HTML | Markdown:
    """What the tests show about every arm's difference from random in area, on one dataset."""
    areas, dataset = statistics.areas(results), results["dataset"].iloc[0]
    if len(areas) < FEWEST_SEEDS:
        return Markdown(f"With fewer than {FEWEST_SEEDS} paired seeds nothing is tested.")
    by_arm, dunnett = compare_with_random(areas, dataset), statistics.dunnett(areas)
    rows = [
        {
            dataset_title(dataset): arm_title(arm),
            "difference from random, simultaneous interval (points)": points(
                comparison.difference, ""
            ),
            **columns(comparison, dataset),
            "p by pooled variance (Dunnett)": _dunnett_p(dunnett[arm]),
        }
        for arm, comparison in by_arm.items()
    ]
    tested = prose.table(pd.DataFrame(rows)).data
    number = count(len(by_arm), "arm")
    notes = [
        margin_in_labels(results),
        f"p in brackets, after Holm's correction for {number}; intervals simultaneous for {number} "
        "(Bonferroni).",
        reaches_past(by_arm, dataset),
        normality(areas, dataset),
        pooled(areas),
        "The last column is secondary and decides nothing: all arms are tested at once with one "
        "residual variance, in an additive model of seed and arm.",
    ]
    return HTML(f"{''.join(f'<p>{note}</p>' for note in filter(None, notes))}{tested}")


def margin_in_labels(results: pd.DataFrame) -> str:
    """About how many labels the margin is worth at the end of random's curve, in a sentence.

    Empty for a dataset without a margin, or if some seed's complete curve lies within it.
    """
    margin = EQUIVALENCE_MARGIN.get(dataset := results["dataset"].iloc[0])
    labels = statistics.labels_before(results, margin) if margin else []
    if not len(labels) or np.isnan(labels).any():
        return ""
    mean, low, high = (
        f"{round(end, -1):,.0f}" for end in (labels.mean(), min(labels), max(labels))
    )
    by_seed = f"; {low} to {high} by seed" if len(labels) > 1 else ""
    return (
        f"At random's last label count, {margin_points(dataset)} of accuracy "
        f"{'is' if margin == 1 else 'are'} worth about {mean} labels (on monotone fits{by_seed})."
    )


def too_wide(by_arm: dict[str, ArmComparison], dataset: str) -> str:
    """A note that no arm is shown equivalent as every interval is wider than the margin, or none.

    An interval is wider if its half-width exceeds the margin.
    """
    margin = EQUIVALENCE_MARGIN.get(dataset)
    halves = [arm.difference.high - arm.difference.mean for arm in by_arm.values()]
    if margin is None or any(arm.equivalent for arm in by_arm.values()) or min(halves) <= margin:
        return ""
    return (
        f"Equivalence to random within {margin_points(dataset)} is shown for no arm: the narrowest "
        f"simultaneous interval is ± {min(halves):.2f} points."
    )


def columns(comparison: ArmComparison, dataset: str, equal: bool = True) -> dict[str, str]:
    """An arm's test results by column title: different from random, and equivalent to it.

    The second is left out for a dataset without a margin, or if ``equal`` is false.
    """
    results = {"different (p)": _test_result(comparison.differs, comparison.p)}
    if equal and dataset in EQUIVALENCE_MARGIN:
        title = f"equivalent within {margin_points(dataset)} (p)"
        results[title] = _test_result(comparison.equivalent, comparison.p_equal)
    return results


def _test_result(shown: bool, p: float) -> str:
    """Whether a test shows what it tests for, with its p-value."""
    return f"{'yes' if shown else 'not shown'} ({prose.p_value(p)})"


def _dunnett_p(p: float) -> str:
    """A p-value of ``statistics.dunnett``, with the digits that its error of about 1e-4 allows."""
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def reaches_past(by_arm: dict[str, ArmComparison], dataset: str) -> str:
    """Why an arm is equivalent though its interval reaches past the margin; no text if none is."""
    past = [
        arm_title(arm)
        for arm, each in by_arm.items()
        if each.equivalent
        and max(-each.difference.low, each.difference.high) >= EQUIVALENCE_MARGIN[dataset]
    ]
    if not past:
        return ""
    level = f"{100 * statistics.simultaneous_level(len(by_arm)):.4g} %"
    return (
        f"The interval of {join(past)} extends beyond {margin_points(dataset)} because it is "
        f"two-sided at {level}; equivalence is decided by two one-sided tests at 5 %, "
        "Holm-corrected."
    )


def by_less(dataset: str) -> str:
    """How far an arm that is both different and equivalent lies from random, in words."""
    return f"by less than the margin of {margin_points(dataset)}"


def margin_points(dataset: str) -> str:
    """The margin of a dataset in words: 1 point."""
    margin = EQUIVALENCE_MARGIN[dataset]
    return f"{margin:g} point{'' if margin == 1 else 's'}"
