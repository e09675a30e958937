"""How the audit of the poster's claims is shown: verdicts, one figure a claim, sentences."""

from collections import Counter
from html import escape

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from alutils.protocol.cell import Cell, Protocol
from alutils.reporting import figures
from alutils.reporting.picture import Several
from alutils.reporting.prose import count, join, plain, seed_range, show, table
from alutils.reporting.published import ON_CLAIMS
from alutils.reporting.statistics import Estimate
from alutils.reporting.style import house_style
from alutils.studies.claims.rules import Claim, Finding, Verdict

COLOUR: dict[Verdict, str] = {
    "supported": "#2f7d3c",
    "undecided": "#8a8a8a",
    "not supported": "#b3402a",
}
MARKER: dict[Verdict, str] = {"supported": "o", "undecided": "D", "not supported": "X"}
STAYS = "the verdict stays, with one seed left out, in"
SHORT = {
    "C1": "more labels, better accuracy",
    "C2": "MNIST constant from 1,500 labels, CIFAR-10 rising at 5,500",
    "C3": "every approach beats random labels",
    "C4": "the four approaches are alike",
    "C5": "at most 4 points better on CIFAR-10",
    "C6": "a much smaller set will do on MNIST",
}
NAMED = 2
"""Findings that are named where they decide a claim; more are counted."""
TRAINING = (
    "batch_size", "optimiser", "weight_decay", "augmentation", "start", "adam_state", "dropout",
    "stem",
)  # fmt: skip
"""What makes a recipe beside epochs and rate."""


def answer(found: list[Claim], interim: str = "") -> Markdown:
    """The audit in one paragraph; ``interim`` says that runs are still to come."""
    parts = []
    for verdict in COLOUR:
        own = [
            f"{SHORT[c.key]} ({c.key}{_tally(c)}{_deciding(c)})"
            for c in found
            if c.verdict == verdict
        ]
        if own:
            parts.append(f"{len(own)} {'is' if len(own) == 1 else 'are'} {verdict}: {join(own)}")
    lacking = [claim.key for claim in found if claim.lacking]
    note = f" Runs are lacking for {join(lacking)}." if lacking else ""
    told = f"Of the poster's {len(found)} claims, {'; '.join(parts)}.{note}{_seeds(found)}{interim}"
    return Markdown(told)


def _seeds(found: list[Claim]) -> str:
    """How many seeds the claims rest on."""
    by_seeds: dict[int, list[str]] = {}
    for claim in found:
        if claim.seeds:
            by_seeds.setdefault(claim.seeds, []).append(claim.key)
    told = [f"{count(seeds, 'seed')} ({join(keys)})" for seeds, keys in by_seeds.items()]
    return f" They rest on {join(told)}." if told else ""


def protocols(cells: list[Cell]) -> Markdown:
    """By what recipe the runs were trained that the claims are judged on.

    Epochs and rate, and what else of the training is not as the poster has it.
    """
    recipes: dict[str, list[str]] = {
        "C1 and C2 are judged on 01": [],
        "C3 to C6 are judged on 02 and 03": [],
    }
    sizes, arms = recipes.values()
    for cell in cells:
        rate = f"{cell.schedule} rate with peak" if cell.schedule != "constant" else "constant rate"
        recipe = f"{cell.epochs} epochs, {rate} {cell.learning_rate:g}"
        for key in TRAINING:
            if (value := getattr(cell, key)) != Protocol.model_fields[key].default:
                recipe += f", {key} {plain(value)}"
        (sizes if cell.figure == 2 else arms).append(recipe)
    told = [f"{what} ({join(list(dict.fromkeys(own)))})" for what, own in recipes.items() if own]
    return Markdown(
        f"{', '.join(told)}. 08 of the profile `desktop` measures the effect of another recipe."
    )


def _tally(one: Claim) -> str:
    """How many of a claim's findings are for it and how many against, where verdicts differ."""
    counts = Counter(finding.verdict for finding in one.findings)
    if len(counts) < 2:
        return ""
    told = f", {counts['supported']} of {len(one.findings)} findings for it"
    return f"{told}, {counts['not supported']} against" if counts["not supported"] else told


def _deciding(one: Claim) -> str:
    """Which findings keep a claim from being supported, where others are for it and these few."""
    names = [f"“{f.what}”" for f in one.findings if f.verdict == one.verdict]
    if one.verdict == "supported" or not _tally(one) or not 0 < len(names) <= NAMED:
        return ""
    return f"{'; open' if one.verdict == 'undecided' else ''}: {join(names)}"


@house_style()
def overview(found: list[Claim]) -> HTML:
    """Every claim with its verdict, as a figure."""
    figure, ((axes,),) = figures.grid(size=(8, 0.6 + 0.42 * len(found)))
    verdicts = list(reversed(COLOUR))
    for row, claim in enumerate(found):
        axes.plot(
            verdicts.index(claim.verdict), row, MARKER[claim.verdict],
            color=COLOUR[claim.verdict], markersize=12,
        )  # fmt: skip
        axes.annotate(
            _tally(claim).removeprefix(", "), (verdicts.index(claim.verdict), row), (0, -12),
            textcoords="offset points", ha="center", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_xticks(range(len(verdicts)), verdicts)
    axes.set_yticks(range(len(found)), [f"{c.key}: {SHORT[c.key]}" for c in found])
    axes.set(xlim=(-1, len(verdicts) - 0.5), ylim=(len(found) - 0.5, -0.5))
    axes.xaxis.tick_top()
    sns.despine(ax=axes, left=True, bottom=True)
    told = "; ".join(f"{c.key}, {SHORT[c.key]}: {c.verdict}{_tally(c)}" for c in found)
    caption = "The poster's claims and what the runs say of them."
    return show(figure, caption, f"Verdicts. {told}.")


def verdicts(found: list[Claim]) -> HTML:
    """The table at the top: claim, verdict, evidence, seeds, and what would change it."""
    rows = [
        {
            "claim": f"{claim.key}. {claim.words}",
            "verdict": claim.verdict,
            "evidence": _evidence(claim),
            "seeds": claim.seeds or "none",
            "what would change it": claim.change,
        }
        for claim in found
    ]
    return table(pd.DataFrame(rows))


def claim(found: list[Claim], key: str) -> HTML:
    """One claim in full: its words, the published numbers, rule, verdict, figure, findings."""
    (one,) = [claim for claim in found if claim.key == key]
    words = [
        f"<blockquote><p>{escape(one.words)}</p></blockquote>",
        f"<p>In the authors' published numbers, one run each: {escape(ON_CLAIMS[key])}</p>",
        f"<p>Rule: {escape(one.rule)}</p>",
        f'<p>Verdict: <strong class="{one.verdict.replace(" ", "-")}">{one.verdict}</strong>. '
        f"What would change it: {escape(one.change)}</p>",
    ]
    parts = [HTML("\n".join(words))]
    if any(finding.estimate for finding in one.findings):
        parts.append(show(forest(one), *_forest_text(one)))
    if one.findings:
        rows = [
            {
                "finding": finding.what,
                "mean (95 % interval)": _told(finding.estimate, one.unit),
                "simultaneous interval": _ends(finding.simultaneous),
                "verdict": finding.verdict,
                STAYS: "{} of {} sets".format(*finding.stays) if finding.stays else "",
                "note": finding.note,
            }
            for finding in one.findings
        ]
        columns = pd.DataFrame(rows)
        parts.append(table(columns.loc[:, (columns != "").any()]))
    if one.aside:
        parts.append(HTML(f"<p>{escape(one.aside)}</p>"))
    return Several(*parts)


@house_style()
def forest(one: Claim) -> Figure:
    """Every finding's mean and interval, and the lines at which it is judged."""
    drawn = [finding for finding in one.findings if finding.estimate]
    figure, ((axes,),) = figures.grid(size=(8, 0.9 + 0.36 * len(drawn)))
    for row, finding in enumerate(drawn):
        axes.vlines(finding.lines, row - 0.45, row + 0.45, color="black", linewidth=1.2)
        if finding.judged:
            ends = finding.judged.low, finding.judged.high
            axes.hlines(row, *ends, color=COLOUR[finding.verdict], linewidth=4)
    styles = [(COLOUR[finding.verdict], MARKER[finding.verdict]) for finding in drawn]
    figures.intervals(
        axes, [(f.what, f.estimate, style) for f, style in zip(drawn, styles, strict=True)]
    )
    axes.set_xlabel(f"{one.unit.strip()}, with 95 % interval")
    return figure


def _forest_text(one: Claim) -> tuple[str, str]:
    told = "; ".join(f"{f.what}: {_told(f.estimate, one.unit)}" for f in one.findings if f.estimate)
    counts = {f.estimate.seeds for f in one.findings if f.estimate}
    spread = "" if max(counts) < 2 else " with its 95 % interval"
    if spread and any(finding.judged for finding in one.findings):
        spread += ", thick the 90 % one of two one-sided tests at 5 %"
    if spread and one.tests > 1:
        spread += ", not corrected as the verdicts are"
    caption = f"{one.key}. Mean over {seed_range(counts)}{spread}; black line: the threshold."
    return caption, f"Intervals. {told}."


def _ends(one: Estimate | None) -> str:
    """An interval alone; nothing where there is none."""
    return f"{one.low:.2f} to {one.high:.2f}" if one else ""


def _told(one: Estimate | None, unit: str) -> str:
    if one is None:
        return "no number"
    if one.seeds < 2:
        return f"{one.mean:.2f}{unit} (one seed)"
    return f"{one.mean:.2f}{unit} ({one.low:.2f} to {one.high:.2f})"


def _evidence(one: Claim) -> str:
    """How many findings say what; of those that decide, the one nearest to where it is judged."""
    if not one.findings:
        return "nothing to judge by"
    deciding = [finding for finding in one.findings if finding.verdict == one.verdict]
    nearest = min(deciding or one.findings, key=Finding.gap)
    quoted = nearest.simultaneous or nearest.estimate
    told = _told(quoted, one.unit) if quoted else nearest.note
    if nearest.simultaneous:
        told = told.removesuffix(")") + ", simultaneous)"
    if one.tests > 1 and nearest.estimate and nearest.note:
        told += f", {nearest.note}"
    if nearest.stays:
        told += "; with one seed left out this verdict stays in {} of {} sets".format(
            *nearest.stays
        )
    told = f"{nearest.what}: {told}"
    if len(one.findings) == 1:
        return told
    counts = Counter(finding.verdict for finding in one.findings)
    if len(counts) == 1:
        return f"All {len(one.findings)} findings {nearest.verdict}; the nearest: {told}"
    tally = ", ".join(f"{counts[verdict]} {verdict}" for verdict in COLOUR if counts[verdict])
    return f"Of {len(one.findings)} findings {tally}; nearest {nearest.verdict} one: {told}"
