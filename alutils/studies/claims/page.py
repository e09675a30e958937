"""How the audit of the poster's claims is shown: verdicts, one figure per claim, sentences."""

import math
from collections import Counter
from html import escape

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from scipy import stats

from alutils.protocol.cell import Cell, Protocol
from alutils.reporting import arm_comparison, figures
from alutils.reporting.picture import Several
from alutils.reporting.prose import count, join, plain, seed_range, show, table
from alutils.reporting.published import ON_CLAIMS
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, Estimate
from alutils.reporting.style import house_style
from alutils.studies.claims import judging
from alutils.studies.claims.findings import Claim, Finding, Verdict

COLOUR: dict[Verdict, str] = {
    "supported": "#2f7d3c",
    "undecided": "#8a8a8a",
    "not supported": "#b3402a",
}
MARKER: dict[Verdict, str] = {"supported": "o", "undecided": "D", "not supported": "X"}
STAYS = "seeds without which the verdict stays"
"""Heading of a column."""
SHORT = {
    "C1": "more labels, better accuracy",
    "C2": "MNIST constant from 1,500 labels, CIFAR-10 rising at 5,500",
    "C3": "every approach beats random labels",
    "C4": "the four approaches are similar",
    "C5": "choosing gains at most 4 points on CIFAR-10",
    "C6": "a much smaller set is enough on MNIST",
}
NAMED = 2
"""Maximum number of findings named as deciding a claim; if there are more, they are counted."""
TRAINING = (
    "batch_size", "optimiser", "weight_decay", "augmentation", "start", "adam_state", "dropout",
    "stem",
)  # fmt: skip
"""Fields of a recipe that are stated, besides epochs and rate, if they are not the poster's."""


def answer(claims: list[Claim], interim: str = "") -> Markdown:
    """The audit in one paragraph; ``interim`` says that runs are still to come."""
    parts = []
    for verdict in COLOUR:
        names = [
            f"{SHORT[claim.key]} ({claim.key}{_tally(claim)}{_deciding(claim)})"
            for claim in claims
            if claim.verdict == verdict
        ]
        if names:
            number = f"{len(names)} {'is' if len(names) == 1 else 'are'}"
            parts.append(f"{number} {verdict}: {join(names)}")
    lacking = [claim.key for claim in claims if claim.missing_runs]
    note = f" Runs are missing for {join(lacking)}." if lacking else ""
    return Markdown(
        f"Of the poster's {len(claims)} claims, {'; '.join(parts)}.{note}{_seeds(claims)}{interim}"
    )


def left_out(claims: list[Claim]) -> Markdown:
    """Which verdicts of ``rules.with_seeds_left_out`` change when a seed is left out, or don't.

    A claim with missing runs is passed over.
    """
    judged = [claim for claim in claims if claim.leave_one_out]
    changed = {claim.key: text for claim in judged if (text := _without(claim))}
    stay = [claim.key for claim in judged if claim.key not in changed]
    parts = [f"{key} {text}" for key, text in changed.items()]
    if stay:
        verb = "keeps its verdict" if len(stay) == 1 else "keep their verdicts"
        parts.append(f"{join(stay)} {verb} whichever is left out")
    if not parts:
        return Markdown("No claim has enough runs to leave a seed out.")
    return Markdown(
        f"The verdicts above use all seeds. With one of them left out: {'; '.join(parts)}. "
        f"{_one_seed_fewer(judged)}"
    )


def _one_seed_fewer(claims: list[Claim]) -> str:
    """How much of that is due to the number of seeds alone, whichever is left out."""
    counts = sorted({n - fewer for c in claims for n in c.seed_counts for fewer in (0, 1)})
    quantiles = [f"{stats.t.ppf((1 + LEVEL) / 2, n - 1):.1f} with {n}" for n in counts]
    lost = judging.undecided_with_one_seed_fewer(claims)
    told = f"leave {join(lost)} undecided" if lost else "change no verdict"
    return (
        f"Having one seed fewer also widens every interval (t is {join(quantiles)} seeds): with "
        f"mean and spread as found, that alone would {told}."
    )


def _without(claim: Claim) -> str:
    """Other verdicts of a claim without some seed, in words; empty if there are none."""
    seeds: dict[Verdict, list[str]] = {}
    for seed, verdict in claim.leave_one_out:
        seeds.setdefault(verdict, []).append(str(seed))
    kept = len(seeds.pop(claim.verdict, []))
    others = [f"{verdict} without seed {join(left, 'or')}" for verdict, left in seeds.items()]
    if not others:
        return ""
    sets = f"{kept} of {len(claim.leave_one_out)} sets"
    return f"would be {join(others)} (stays {claim.verdict} in {sets})"


def normality(claims: list[Claim]) -> Markdown:
    """The smallest p-values of sign-flip tests, by claim, and which claims rest on normality.

    A claim with missing runs shows nothing, and is left out.
    """
    families: dict[str, list[str]] = {}
    normal: list[str] = []
    for claim in (claim for claim in claims if not claim.missing_runs):
        one_sided = any(len(finding.thresholds) > 1 for finding in claim.findings)
        side = "each one-sided test of " if one_sided else ""
        for seeds in claim.seed_counts:
            least, rejects = arm_comparison.sign_flip(seeds, claim.tests, one_sided)
            alone = len(claim.seed_counts) == 1
            key = claim.key if alone else f"{claim.key} with {count(seeds, 'seed')}"
            families.setdefault(f"{least} for {side}", []).append(key)
            shown = (f.verdict != "undecided" and f.seeds == seeds for f in claim.findings)
            if not rejects and any(shown):
                normal.append(key)
    if not families:
        return Markdown("No claim has enough seeds for a test.")
    smallest = join([f"{what}{join(keys)}" for what, keys in families.items()], "or")
    rests = f" What is shown for {join(normal)} rests on this assumption." if normal else ""
    return Markdown(
        "The t tests and intervals assume approximately normal differences. With these seeds, a "
        f"sign-flip test, which doesn't, gives no p below {smallest}.{rests}"
    )


def _seeds(claims: list[Claim]) -> str:
    """How many seeds the claims rest on."""
    by_seeds: dict[str, list[str]] = {}
    for claim in claims:
        if claim.seeds:
            by_seeds.setdefault(claim.seeds, []).append(claim.key)
    seeds_of_claims = [f"{seeds} ({join(keys)})" for seeds, keys in by_seeds.items()]
    return f" Seeds: {'; '.join(seeds_of_claims)}." if seeds_of_claims else ""


def protocols(cells: list[Cell]) -> Markdown:
    """The recipes of the runs that the claims are judged on."""
    by_figure = {
        "C1 and C2 are judged on 01": [cell for cell in cells if cell.figure == 2],
        "C3 to C6 are judged on 02 and 03": [cell for cell in cells if cell.figure != 2],
    }
    judged_on = [
        f"{runs} ({join(list(dict.fromkeys(map(_recipe, some))))})"
        for runs, some in by_figure.items()
        if some
    ]
    text = ", ".join(judged_on)
    return Markdown(f"{text}. 08 of the profile `desktop` measures the effect of another recipe.")


def _recipe(cell: Cell) -> str:
    """Epochs and rate of a cell, and what else in its training differs from the poster's."""
    rate = f"{cell.schedule} rate with peak" if cell.schedule != "constant" else "constant rate"
    recipe = f"{cell.epochs} epochs, {rate} {cell.learning_rate:g}"
    for key in TRAINING:
        if (value := getattr(cell, key)) != Protocol.model_fields[key].default:
            recipe += f", {key} {plain(value)}"
    return recipe


def _tally(claim: Claim) -> str:
    """How many of a claim's findings are for it and how many against, if verdicts differ."""
    counts = Counter(finding.verdict for finding in claim.findings)
    if len(counts) < 2:
        return ""
    against = f", {counts['not supported']} against" if counts["not supported"] else ""
    return f", {counts['supported']} of {len(claim.findings)} findings for it{against}"


def _deciding(claim: Claim) -> str:
    """Which findings keep a claim from being supported; empty if they are many or all."""
    names = [f"“{f.what}”" for f in claim.findings if f.verdict == claim.verdict]
    if claim.verdict == "supported" or not _tally(claim) or not 0 < len(names) <= NAMED:
        return ""
    return f"{'; open' if claim.verdict == 'undecided' else ''}: {join(names)}"


@house_style()
def overview(claims: list[Claim]) -> HTML:
    """Every claim with its verdict, as a figure."""
    figure, ((axes,),) = figures.grid(size=(8, 0.6 + 0.42 * len(claims)))
    verdicts = list(reversed(COLOUR))
    for row, claim in enumerate(claims):
        axes.plot(
            verdicts.index(claim.verdict), row, MARKER[claim.verdict],
            color=COLOUR[claim.verdict], markersize=12,
        )  # fmt: skip
        axes.annotate(
            _tally(claim).removeprefix(", "), (verdicts.index(claim.verdict), row), (0, -12),
            textcoords="offset points", ha="center", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_xticks(range(len(verdicts)), verdicts)
    axes.set_yticks(range(len(claims)), [f"{c.key}: {SHORT[c.key]}" for c in claims])
    axes.set(xlim=(-1, len(verdicts) - 0.5), ylim=(len(claims) - 0.5, -0.5))
    axes.xaxis.tick_top()
    sns.despine(ax=axes, left=True, bottom=True)
    verdict_texts = "; ".join(f"{c.key}, {SHORT[c.key]}: {c.verdict}{_tally(c)}" for c in claims)
    caption = "The poster's claims and what the runs say about them."
    return show(figure, caption, f"Verdicts. {verdict_texts}.")


def verdicts(claims: list[Claim]) -> HTML:
    """The table at the top: claim, verdict, evidence, seeds, and what would change it."""
    rows = [
        {
            "claim": f"{claim.key}. {claim.words}",
            "verdict": claim.verdict,
            "evidence": _evidence(claim),
            "seeds": claim.seeds or "none",
            "what would change it": claim.change,
        }
        for claim in claims
    ]
    return table(pd.DataFrame(rows))


def claim_in_full(claims: list[Claim], key: str) -> HTML:
    """One claim in full: its words, the published numbers, rule, verdict, figure, findings."""
    (claim,) = [claim for claim in claims if claim.key == key]
    words = [
        f"<blockquote><p>{escape(claim.words)}</p></blockquote>",
        f"<p>In the authors' published numbers, one run each: {escape(ON_CLAIMS[key])}</p>",
        f"<p>Rule: {escape(claim.rule)}</p>",
        f'<p>Verdict: <strong class="{claim.verdict.replace(" ", "-")}">{claim.verdict}</strong>. '
        f"What would change it: {escape(claim.change)}</p>",
    ]
    if text := _without(claim):
        words.append(f"<p>With one seed left out: {claim.key} {text}.</p>")
    parts = [HTML("\n".join(words))]
    if any(finding.estimate for finding in claim.findings):
        parts.append(show(forest(claim), *_forest_text(claim)))
    if claim.findings:
        rows = [
            {
                "finding": finding.what,
                "mean (95 % interval)": _mean_and_interval(finding.estimate, claim.unit),
                "simultaneous interval": _ends(finding.simultaneous),
                "90 % interval (decides)": _ends(finding.tost_interval),
                "verdict": finding.verdict,
                STAYS: "{} of {}".format(*finding.stays) if finding.stays else "",
                "note": finding.note,
            }
            for finding in claim.findings
        ]
        columns = pd.DataFrame(rows)
        parts.append(table(columns.loc[:, (columns != "").any()]))
    if claim.remark:
        parts.append(HTML(f"<p>{escape(claim.remark)}</p>"))
    return Several(*parts)


@house_style()
def forest(claim: Claim) -> Figure:
    """Every finding's mean and interval, and the lines at which it is judged."""
    drawn = [finding for finding in claim.findings if finding.estimate]
    figure, ((axes,),) = figures.grid(size=(8, 0.9 + 0.36 * len(drawn)))
    for row, finding in enumerate(drawn):
        axes.vlines(finding.thresholds, row - 0.45, row + 0.45, color="black", linewidth=1.2)
        if finding.simultaneous:
            figures.simultaneous_interval(axes, row, finding.simultaneous, COLOUR[finding.verdict])
        if finding.tost_interval:
            ends = finding.tost_interval.low, finding.tost_interval.high
            axes.hlines(row, *ends, color=COLOUR[finding.verdict], linewidth=4)
    styles = [(COLOUR[finding.verdict], MARKER[finding.verdict]) for finding in drawn]
    figures.intervals(
        axes, [(f.what, f.estimate, style) for f, style in zip(drawn, styles, strict=True)]
    )
    axes.set_xlabel(f"{claim.unit.strip()}, with 95 % interval")
    return figure


def _forest_text(claim: Claim) -> tuple[str, str]:
    """Caption and alternative text of ``forest``."""
    measured = [finding for finding in claim.findings if finding.estimate]
    intervals = "; ".join(
        f"{finding.what}: {_mean_and_interval(finding.estimate, claim.unit)}"
        for finding in measured
    )
    counts = {finding.estimate.seeds for finding in measured}
    spread = "" if max(counts) < FEWEST_SEEDS else " with its 95 % interval"
    if spread and any(finding.tost_interval for finding in claim.findings):
        spread += "; thick: the 90 % interval of two one-sided tests at 5 %"
    if spread and claim.tests > 1:
        spread += f", not corrected; thin: the simultaneous interval for {claim.tests} tests"
    seeds = f"paired seeds ({claim.seeds})" if len(counts) > 1 else seed_range(counts)
    caption = f"{claim.key}. Mean over {seeds}{spread}; black line: the threshold."
    return caption, f"Intervals. {intervals}."


def _ends(interval: Estimate | None) -> str:
    """The ends of an interval; empty if there is none."""
    return f"{interval.low:.2f} to {interval.high:.2f}" if interval else ""


def _mean_and_interval(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return "no number"
    if estimate.seeds < FEWEST_SEEDS:
        return f"{estimate.mean:.2f}{unit} ({count(estimate.seeds, 'seed')})"
    return f"{estimate.mean:.2f}{unit} ({_ends(estimate)})"


def _evidence(claim: Claim) -> str:
    """The number of findings by verdict, and in full the deciding one nearest to its threshold.

    None is nearest if several decide and none of them has an interval.
    """
    if not claim.findings:
        return "no runs to judge it by"
    nearest = claim.nearest
    deciding = sum(finding.verdict == claim.verdict for finding in claim.findings)
    if deciding > 1 and math.isinf(nearest.gap()):
        whose = "" if deciding == len(claim.findings) else f" of the {claim.verdict} ones"
        return f"{_counted(claim)},{whose} none with an interval"
    text = measured(claim, nearest)
    if nearest.stays:
        sets = "{} of {}".format(*nearest.stays)
        text += f"; with one seed left out, this finding stays {nearest.verdict} in {sets} sets"
    if len(claim.findings) == 1:
        return text
    if len({finding.verdict for finding in claim.findings}) == 1:
        return f"{_counted(claim)}; closest to its threshold: {text}"
    return f"{_counted(claim)}; closest {nearest.verdict} one: {text}"


def measured(claim: Claim, finding: Finding) -> str:
    """What was compared, its mean and the interval that decides, and the corrected p."""
    if not finding.interval:
        return f"{finding.what}: {finding.note}"
    if finding.simultaneous:
        text = f"{finding.estimate.mean:.2f}{claim.unit}, {finding.note}"
        text += f" (simultaneous interval {_ends(finding.simultaneous)})"
        return f"{finding.what}: {text}"
    text = _mean_and_interval(finding.interval, claim.unit)
    if finding.tost_interval:
        text = f"{text.removesuffix(')')}, 90 %)"
    return f"{finding.what}: {text}"


def _counted(claim: Claim) -> str:
    """The number of a claim's findings by verdict."""
    counts = Counter(finding.verdict for finding in claim.findings)
    if len(counts) == 1:
        every = "Both" if len(claim.findings) == 2 else f"All {len(claim.findings)}"
        return f"{every} findings {claim.findings[0].verdict}"
    tally = ", ".join(f"{counts[verdict]} {verdict}" for verdict in COLOUR if counts[verdict])
    return f"Of {len(claim.findings)} findings, {tally}"
