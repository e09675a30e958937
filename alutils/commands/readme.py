"""The parts of README and guides that are generated from a profile's records, between markers."""

import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from alutils.commands import run_states
from alutils.commands.estimate import markdown_hours
from alutils.paths import ROOT
from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.protocol.parameters import StudyError, cells_of
from alutils.protocol.study import Study
from alutils.records import tidy
from alutils.records.files import write_atomically
from alutils.reporting import arm_comparison, figures, statistics, tables
from alutils.reporting.arm_comparison import EQUIVALENCE_MARGIN
from alutils.reporting.markdown import markdown_table
from alutils.reporting.prose import count, join, paired_seeds, seed_range, verb
from alutils.reporting.record_facts import effort, interim
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, enough_seeds, estimate
from alutils.studies import overlap, profiles
from alutils.studies.beyond import readme_text as beyond
from alutils.studies.claims import first_seeds, judging, page, rules
from alutils.studies.pretrained import readme_text as pretrained
from alutils.studies.recipes import TITLES, recipe_of
from alutils.studies.reductions import readme_text as reductions
from alutils.studies.training_size import ceiling

WIDTH = 100
LONG = ("desktop", "poster", "replica")
"""Profiles whose hours the guide on machines shows."""
STEP_MS = (75, 10)
"""Milliseconds per step for which it shows them."""
FEATURES_NOTEBOOK = "09-pretrained-features"
"""The notebook on features, whose runs the table of results and its notes leave out."""


def update(profile: str) -> None:
    """Write ``blocks`` into the README and the guides, each between its markers."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    for name, block in blocks(profile).items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        for file, text in texts.items():
            before, mark, rest = text.partition(start)
            _, closed, after = rest.partition(end)
            if mark and closed:
                texts[file] = f"{before}{start}{block}\n{end}{after}"
                break
        else:
            raise StudyError(
                f"neither README.md nor docs has the markers of {name!r}: nothing was written"
            )
    for file, text in texts.items():
        write_atomically(file, text.encode())


def blocks(profile: str) -> dict[str, str]:
    """The Markdown blocks by the names of their markers.

    These are the findings in short (``found``) and in full (``answer``), the table of results,
    which reports and profiles lack runs, the hours of the long profiles, and how strategies rank
    (``ranking``, from 07, and ``ranks``, from 09).
    """
    studies = profiles.studies(profile)
    if "04-claims" not in studies:
        raise StudyError(f"{profile!r} has no 04-claims, which README and guides are made from")
    results = tidy.read(studies["04-claims"])
    arms = results[results["figure"].astype(str).isin(["3", "4"])]
    if arms.empty:
        raise StudyError(f"no seed of {profile!r} has every cell of Figures 3 and 4 yet")
    by_dataset = {dataset: ours for (_, dataset), ours in arms.groupby(["figure", "dataset"])}
    claims = rules.with_seeds_left_out(results, rules.judge(results))
    further, encoded = studies.get("07-beyond-the-poster"), studies.get(FEATURES_NOTEBOOK)
    others = tidy.read_settings(further) if further else pd.DataFrame()
    whole = pretrained.whole_seeds(encoded) if encoded else pd.DataFrame()
    on_features = pretrained.short(encoded, whole, others) if encoded else ""
    texts = {
        "found": _found(studies, by_dataset, claims, on_features),
        "answer": _answer(
            studies, by_dataset, claims, first_seeds.verdict_changes(results, profile).data
        ),
        "results": _results(profile, studies, by_dataset),
        "interim": run_states.interim_reports(profile),
        "states": _folded(run_states.states()),
        "hours": markdown_hours(LONG, STEP_MS),
    }
    if further:
        texts["ranking"] = _folded(beyond.text(further))
    if encoded:
        texts["ranks"] = _folded(pretrained.text(encoded, whole))
    return texts


def _found(
    studies: dict[str, Study],
    by_dataset: dict[str, pd.DataFrame],
    claims: list[rules.Claim],
    on_features: str,
) -> str:
    """A sentence for each dataset, the findings of 09, the verdicts and what they rest on."""
    reduced, profile = studies.get("08-reductions"), studies["04-claims"].profile
    rest_on = reductions.on_recipe(studies["04-claims"].cells()) if reduced else ""
    strong = {name: reductions.strong_in_short(name) if reduced else "" for name in by_dataset}
    lines = [
        *(f"- {_in_short(each, name)}{strong[name]}" for name, each in by_dataset.items()),
        *([f"- {on_features}"] if on_features else []),
    ]
    hang = " ".join(filter(None, [*_on_few_seeds(claims), rest_on]))
    texts = ["\n".join(lines), _rules(claims, profile), _claims(claims), hang]
    return "\n\n".join(_folded(text) for text in texts if text)


def _rules(claims: list[rules.Claim], profile: str) -> str:
    """How the claims are judged, and what was known before; stands above their table."""
    seen = len(first_seeds.SEEN.get(profile, ()))
    sizes = [each for claim in claims if claim.key in first_seeds.KEYS for each in claim.findings]
    added = max((each.seeds for each in sizes), default=0) - seen
    more = f"; Figure 2 got {added} more seeds after a look at {seen}" if seen and added > 0 else ""
    return (
        f"The claims are judged by rules fixed before the runs (except two clauses of C6{more}). "
        "*Not supported*: the opposite of a finding is shown; *undecided*: neither is shown."
    )


def _claims(claims: list[rules.Claim]) -> str:
    """A table of the claims: verdict, seeds, and the finding nearest to its threshold."""
    rows = []
    for claim in claims:
        shown = sum(finding.verdict == "supported" for finding in claim.findings)
        counts = f"{shown} of {len(claim.findings)}; {claim.seeds}"
        verdict = f"{claim.verdict} ({counts})" if claim.seeds else claim.verdict
        nearest, wanted = claim.change, ""
        if claim.findings and not claim.missing_runs:
            nearest, wanted = page.measured(claim, claim.nearest), claim.nearest.wanted
        rows.append([f"{claim.key}: {page.SHORT[claim.key]}", verdict, nearest, wanted])
    head = [
        "claim",
        "verdict (findings for it; seeds)",
        "closest call (interval, 95 % unless noted)",
        "needed",
    ]
    return markdown_table(head, rows)


def _on_few_seeds(claims: list[rules.Claim]) -> list[str]:
    """Which verdicts depend on single seeds, and which on the number of seeds, in sentences."""
    by_outcome: dict[str, list[str]] = {}
    for claim in claims:
        verdicts = Counter(
            verdict for _, verdict in claim.leave_one_out if verdict != claim.verdict
        )
        for verdict, sets in verdicts.items():
            outcome = f"{verdict} in {sets} of {len(claim.leave_one_out)} sets"
            by_outcome.setdefault(outcome, []).append(claim.key)
    sentences = []
    if by_outcome:
        told = "; ".join(
            f"{join(keys)} {'is' if len(keys) == 1 else 'are'} {outcome}"
            for outcome, keys in by_outcome.items()
        )
        sentences.append(f"With each seed left out in turn, {told}.")
    if fewer := judging.undecided_with_one_seed_fewer(claims):
        on_fewer = f"one seed fewer would leave {join(fewer)} undecided"
        sentences.append(f"With the observed mean and spread, {on_fewer}.")
    return sentences


def _answer(
    studies: dict[str, Study],
    by_dataset: dict[str, pd.DataFrame],
    claims: list[rules.Claim],
    on_first_seeds: str,
) -> str:
    """The findings in full: by dataset, on the claims, and their scope."""
    note = {study.dataset: interim(study) for study in _curves(studies)}
    audit = studies["04-claims"]
    verdicts = page.answer(claims, interim(audit)).data
    paragraphs = [
        *(f"{tables.answer(o).data} {_saving(o)}{note[name]}" for name, o in by_dataset.items()),
        f"{verdicts} Verdicts with one seed left out: {reductions.link(audit)}.",
        on_first_seeds,
    ]
    if reduced := studies.get("08-reductions"):
        paragraphs += reductions.recipe_paragraphs(reduced)
        paragraphs.append(reductions.scope_bullets(reduced, cells_of(_curves(studies))))
    shared = (
        overlap.sentence(studies[name], name).data
        for name in ("07-beyond-the-poster", "08-reductions")
        if name in studies
    )
    paragraphs.append(" ".join(shared))
    return "\n\n".join(_folded(text) for text in paragraphs if text)


def _results(profile: str, studies: dict[str, Study], by_dataset: dict[str, pd.DataFrame]) -> str:
    """The table of results, what it shows, and what its numbers rest on."""
    arms = pd.concat(by_dataset.values())
    told = (study for name, study in studies.items() if name != FEATURES_NOTEBOOK)
    seeds = seed_range(arms.groupby("dataset")["seed"].nunique())
    of_table = (
        f"{_profile(profile)}: {figures.reported(arms)}, mean over {seeds}. Area: mean accuracy "
        "over the curve. Label saving: random's last label count divided by that at which an arm "
        f"reaches random's last accuracy{_by_chance(by_dataset)}. "
        f"Records, without those of report 09: {effort(profile, cells_of(told))}"
    )
    rests_on = (
        "Intervals of differences are simultaneous for a dataset's arms (Bonferroni; in C3 for "
        "both datasets' arms); p, Holm-corrected for the same arms, is from paired t tests and two "
        "one-sided tests of equivalence, whose margins were fixed for C4 before the runs. "
        f"{_normality(by_dataset)}Label savings are read off monotone fits per seed "
        f"(isotonic regression), with 95 % t intervals. {_held_out(studies).rstrip()}"
    )
    ceilings = [r for study in _curves(studies) for r in ceiling.of_recipe(study).itertuples()]
    texts = [_table(by_dataset.values(), ceilings), _folded(of_table), *_details(_folded(rests_on))]
    return "\n\n".join(texts)


def _profile(profile: str) -> str:
    """A profile and, if it has one of the two recipes, that recipe."""
    if not (recipe := recipe_of(profile)):
        return f"Profile `{profile}`"
    guide = "docs/plan.md#what-is-run" if recipe == "poster" else "docs/recipe.md"
    return f"Profile `{profile}`, [{TITLES[recipe]}]({guide})"


def _curves(studies: dict[str, Study]) -> list[Study]:
    """The studies of Figures 3 and 4."""
    return [studies[name] for name in profiles.FIGURES[1:] if name in studies]


def _normality(by_dataset: dict[str, pd.DataFrame]) -> str:
    """What is shown only under normality, in a sentence with a space at its end.

    Empty with enough seeds. If the datasets differ in their number of seeds, what cannot be shown
    with the most cannot be shown with fewer either.
    """
    lacking: dict[str, set[int]] = {}
    for dataset, ours in by_dataset.items():
        areas = statistics.areas(ours)
        for what in arm_comparison.beyond_sign_flips(areas, dataset):
            lacking.setdefault(what, set()).add(len(areas))
    shown: dict[str, list[str]] = {}
    for what, counts in lacking.items():
        fewer = " or fewer" if len(counts) > 1 else ""
        named = "a difference" if what == "difference" else what
        shown.setdefault(f"{count(max(counts), 'seed')}{fewer}", []).append(named)
    if not shown:
        return ""
    parts = join([f"{join(what, 'or')} with {seeds}" for seeds, what in shown.items()], "or")
    return (
        f"A sign-flip test, which does not assume normality, could not show {parts} after Holm's "
        "correction: what is shown here assumes normal differences (04). "
    )


def _by_chance(by_dataset: dict[str, pd.DataFrame]) -> str:
    """What a number of seeds in the table's last column means; empty if there is none there."""
    missed = any(
        statistics.label_savings(ours).isna().any(axis=None) for ours in by_dataset.values()
    )
    if not missed:
        return ""
    return ", or in how many seeds it does (about half for an arm as good as random)"


def _held_out(studies: dict[str, Study]) -> str:
    """How many images Figures 3 and 4 hold out, in a sentence with a space at its end."""
    sizes = [
        f"{study.heldout_size(study.dataset):,} of {dataset_title(study.dataset)}"
        for study in _curves(studies)
    ]
    return f"Labels of held-out images are not counted: {join(sizes)}. "


def _in_short(ours: pd.DataFrame, dataset: str) -> str:
    """How the ways of choosing compare with random labels on a dataset, in one sentence."""
    areas, low, high = statistics.areas(ours), ours["labels"].min(), ours["labels"].max()
    if len(areas) < FEWEST_SEEDS:
        return tables.answer(ours).data
    comparisons = arm_comparison.compare_with_random(areas, dataset)
    by_arm, number = list(comparisons.values()), len(comparisons)
    trained = f"{dataset_title(dataset)}, {figures.trained(ours)}"
    within = f"On {trained}, averaged over {low:,} to {high:,} labels,"
    gains = [arm.difference.mean for arm in by_arm]
    seeds, fewer = paired_seeds(len(areas)), _fewer(areas, dataset)
    if all(arm.equivalent for arm in by_arm):
        return (
            f"{within} all {number} strategies are within {arm_comparison.margin_points(dataset)} "
            f"of random labels ({seeds}; a test added after results of the reduced recipe were "
            f"known){_sides(comparisons)}.{fewer}"
        )
    if all(arm.side == "above" for arm in by_arm):
        return (
            f"{within} all {number} strategies beat random labels, by {min(gains):.2f} "
            f"to {max(gains):.2f} points{_saved(ours)} ({seeds}).{fewer}"
        )
    return f"{within} {arm_comparison.sentence(areas, dataset)} ({seeds}).{fewer}"


def _saved(ours: pd.DataFrame) -> str:
    """The share of random's labels with which all arms reach its last accuracy, if certain."""
    shares = 100 / statistics.label_savings(ours).drop(columns="random")
    if shares.isna().any(axis=None) or any(estimate(shares[arm]).high >= 100 for arm in shares):
        return "; how many labels that saves is open"
    share = f"{shares.mean().min():.0f} to {shares.mean().max():.0f} %"
    return f", and reach random's last accuracy with {share} of its labels"


def _sides(comparisons: dict[str, arm_comparison.ArmComparison]) -> str:
    """Which ways of choosing within the margin are shown to lie above or below random."""
    phrases = []
    for where in ("above", "below"):
        if shown := [arm_title(arm) for arm, each in comparisons.items() if each.side == where]:
            phrases.append(f"{join(shown)} {verb(shown)} {where} random")
    return f"; within that margin, {join(phrases)}" if phrases else ""


def _fewer(areas: pd.DataFrame, dataset: str) -> str:
    """Which results are lost in some of the sets that leave out one seed; empty if none are.

    Also empty if such sets have too few seeds for a test.
    """
    if len(areas) <= FEWEST_SEEDS:
        return ""
    again = [
        arm_comparison.compare_with_random(areas.drop(index=seed), dataset) for seed in areas.index
    ]
    sets: dict[str, dict[str, int]] = {}
    for arm, each in arm_comparison.compare_with_random(areas, dataset).items():
        if each.side:
            kept = sum(others[arm].side == each.side for others in again)
            sets.setdefault(f"{each.side} random", {})[arm_title(arm)] = kept
        if each.equivalent:
            kept = sum(others[arm].equivalent for others in again)
            sets.setdefault(f"within {arm_comparison.margin_points(dataset)}", {})[
                arm_title(arm)
            ] = kept
    parts = []
    for where, by_arm in sets.items():
        if fewer := {arm: kept for arm, kept in by_arm.items() if kept < len(again)}:
            same = len(set(fewer.values())) == 1
            counts = [str(kept or "none") for kept in fewer.values()][: 1 if same else None]
            shown = f"{'is' if len(fewer) == 1 else 'are'} shown {where}"
            parts.append(f"{join(list(fewer))} {shown} in {join(counts)} of {len(again)} sets")
    return f" With each seed left out in turn, {join(parts)}." if parts else ""


def _saving(ours: pd.DataFrame) -> str:
    """The label savings of every arm; empty with too few seeds."""
    return tables.savings(ours).data if enough_seeds(ours) else ""


def _details(text: str) -> list[str]:
    """Paragraphs that are folded until a reader opens them."""
    return ["<details><summary>What these numbers rest on</summary>", text, "</details>"]


def _folded(text: str) -> str:
    """Markdown wrapped at ``WIDTH``; continuation lines of a list item are indented.

    Rows of a table stay as they are.
    """
    return "\n".join(
        line
        if line.startswith("|")
        else textwrap.fill(
            line,
            WIDTH,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _table(by_dataset: Iterable[pd.DataFrame], ceilings: list[Any]) -> str:
    """The table of results: a row for each dataset and arm, and one for all labels, if trained."""
    rows = [row for ours in by_dataset for row in (*_rows(ours), *_on_all_labels(ours, ceilings))]
    margins = join(
        [f"{margin:g} ({dataset_title(name)})" for name, margin in EQUIVALENCE_MARGIN.items()]
    )
    head = ["dataset", "arm", "last accuracy (%)", "area, difference from random (points)"]
    head += ["different (p)", f"equivalent within {margins} (p)", "label saving (times)"]
    return markdown_table(head, rows)


def _rows(ours: pd.DataFrame) -> list[list[str]]:
    """The rows of one dataset."""
    dataset, areas, last = ours["dataset"].iloc[0], statistics.areas(ours), statistics.final(ours)
    by_arm = arm_comparison.compare_with_random(areas, dataset)
    saved = statistics.label_savings(ours)
    rows = []
    for arm in areas.columns:
        cells = [dataset_title(dataset), arm_title(arm), f"{last[arm].mean():.2f}"]
        if arm not in by_arm:
            cells += [f"baseline, {count(len(areas), 'seed')}", "", "", ""]
        else:
            tests = [*arm_comparison.columns(by_arm[arm], dataset).values(), ""][:2]
            tests = tests if len(areas) >= FEWEST_SEEDS else ["", ""]
            cells += [_mean(by_arm[arm].difference, "+"), *tests, _times(saved[arm])]
        rows.append(cells)
    return rows


def _on_all_labels(ours: pd.DataFrame, ceilings: list[Any]) -> list[list[str]]:
    """The row of a training on every label of a dataset; none if there was no such training."""
    return [
        [dataset_title(one.dataset), f"all {one.labels:,} labels (one training)"]
        + [f"{one.accuracy:.2f}", *[""] * 4]
        for one in ceilings
        if one.dataset == ours["dataset"].iloc[0]
    ]


def _times(saved: pd.Series) -> str:
    """An arm's label saving, or in how many seeds it reaches random's last accuracy.

    If the interval extends below 1, where no saving can lie, the range over seeds is given instead.
    """
    reached = saved.dropna()
    if len(reached) < len(saved):
        return f"in {len(reached)} of {len(saved)} seeds"
    if (mean := estimate(saved)).low < 1:
        return f"{mean.mean:.2f} ({saved.min():.2f} to {saved.max():.2f} by seed)"
    return _mean(mean)


def _mean(value: Estimate, sign: str = "") -> str:
    """A mean, with its interval if it has enough seeds; with ``sign`` = "+", both are signed."""
    ends = f" ({value.low:{sign}.2f} to {value.high:{sign}.2f})"
    return f"{value.mean:{sign}.2f}{ends if value.seeds >= FEWEST_SEEDS else ''}"
