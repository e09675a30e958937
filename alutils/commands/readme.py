"""What README and guides show of a profile's records, between the marks that they have for it."""

import textwrap
from collections import Counter
from collections.abc import Iterable

import pandas as pd

from alutils.commands.estimate import markdown_hours
from alutils.paths import ROOT
from alutils.protocol.arms import arm_title
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.parameters import StudyError
from alutils.records import tidy
from alutils.records.files import write_whole
from alutils.reporting import figures, standing, statistics, tables
from alutils.reporting.prose import (
    count,
    interval,
    join,
    paired_seeds,
    points,
    seed_range,
    share_of_labels,
)
from alutils.reporting.record_facts import effort, interim
from alutils.reporting.standing import MARGIN
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies import profiles
from alutils.studies.beyond import ranking, recipes
from alutils.studies.beyond.plan import BeyondStudy
from alutils.studies.claims import ablation, page, rules
from alutils.studies.reductions import comparisons
from alutils.studies.reductions.plan import ReductionsStudy

WIDTH = 100
LONG = ("desktop", "poster", "replica")
"""Profiles whose hours are told."""
STEP_MS = (75, 10)


def update(profile: str) -> None:
    """Put ``blocks`` into the README and the guides, each where its marks stand."""
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
                f"neither README.md nor docs has the marks of {name!r}: nothing was written"
            )
    for file, text in texts.items():
        write_whole(file, text.encode())


def blocks(profile: str) -> dict[str, str]:
    """What was found in short and in full, results, ranking, hours of profiles, as Markdown."""
    plans = {name: profiles.load_study(profile, name) for name in profiles.notebooks(profile)}
    if "04-claims" not in plans:
        raise StudyError(f"{profile!r} has no 04-claims, which README and guides are made from")
    cells = {cell.name: cell for plan in plans.values() for cell in plan.cells()}
    results = tidy.read(plans["04-claims"])
    arms = results[results["figure"].astype(str).isin(["3", "4"])]
    if arms.empty:
        raise StudyError(f"no seed of {profile!r} has every cell of Figures 3 and 4 yet")
    by_dataset = {dataset: ours for (_, dataset), ours in arms.groupby(["figure", "dataset"])}
    verdicts = page.answer(rules.judge(results), interim(plans["04-claims"])).data
    figures_of_arms = (plans[name] for name in profiles.FIGURES[1:] if name in plans)
    note = {plan.dataset: interim(plan) for plan in figures_of_arms}
    answers = [
        f"{tables.answer(ours).data} {_saving(ours)}{note[name]}"
        for name, ours in by_dataset.items()
    ]
    answers.append(verdicts)
    if reduced := plans.get("08-reductions"):
        told = _recipes(reduced, [cell for cell in cells.values() if cell.figure in (3, 4)])
        ranked = plans.get("07-beyond-the-poster")
        others = [results, *([tidy.read_settings(ranked)] if ranked else [])]
        answers.append(told and f"{told} {_shared(tidy.read_settings(reduced), others)}".strip())
    seeds = seed_range(arms.groupby("dataset")["seed"].nunique())
    under = (
        f"Profile `{profile}`: {figures.reported(arms)}; mean over {seeds}. Intervals of "
        "differences hold together for the arms of a dataset (Bonferroni), p in brackets is after "
        "Holm's correction for them: of paired t tests, and of two one-sided tests of equivalence. "
        "Label saving: random's last label count over the one at which an arm reaches random's "
        "last accuracy, on monotone fits per seed, with 95 % t intervals. Records of the profile: "
        f"{effort(profile, cells.values())}"
    )
    told = {
        "found": "\n".join(_folded(one) for one in _found(by_dataset, rules.judge(results))),
        "answer": "\n\n".join(_folded(one) for one in answers if one),
        "results": f"{_table(by_dataset.values())}\n\n{_folded(under)}",
        "hours": markdown_hours(LONG, STEP_MS),
    }
    if further := plans.get("07-beyond-the-poster"):
        told["ranking"] = _ranking(further)
    return told


def _found(by_dataset: dict[str, pd.DataFrame], claims: list[rules.Claim]) -> list[str]:
    """The findings in a plain sentence each: a dataset's, and how the claims stand."""
    tally = Counter(claim.verdict for claim in claims)
    return [
        *(f"- {_in_short(ours, dataset)}" for dataset, ours in by_dataset.items()),
        f"- Of the poster's {len(claims)} claims {tally['supported']} are supported, "
        f"{tally['not supported']} not, and {tally['undecided']} undecided.",
    ]


def _in_short(ours: pd.DataFrame, dataset: str) -> str:
    """What choosing is worth on a dataset, averaged over its range of labels."""
    areas, low, high = statistics.areas(ours), ours["labels"].min(), ours["labels"].max()
    every, where = standing.standings(areas, dataset), f"On {dataset_title(dataset)}"
    within = f"{where}, with {low:,} to {high:,} labels,"
    gains = [one.difference.mean for one in every.values()]
    seeds = paired_seeds(len(areas))
    if all(one.equivalent for one in every.values()):
        return (
            f"{within} all {len(every)} ways of choosing do as well as random labels, to within "
            f"{standing.MARGIN[dataset]:g} point of accuracy ({seeds})."
        )
    if all(one.differs and one.difference.mean > 0 for one in every.values()):
        saved = 100 / statistics.label_savings(ours).drop(columns="random").mean(skipna=False)
        share = f"{saved.min():.0f} to {saved.max():.0f} %"
        least = f", and reach its last accuracy with {share} of its labels"
        least = "" if saved.isna().any() else least
        return (
            f"{within} all {len(every)} ways of choosing beat random labels, by {min(gains):.2f} "
            f"to {max(gains):.2f} points{least} ({seeds})."
        )
    return f"{within} {standing.sentence(areas, dataset)} ({seeds})."


def _saving(ours: pd.DataFrame) -> str:
    """What choosing saves in labels, in short; the table has every arm's."""
    saved = statistics.label_savings(ours).drop(columns="random")
    if len(saved) < FEWEST_SEEDS:
        return ""
    there = saved.dropna(axis=1)
    if there.empty:
        return "No arm reaches random's last accuracy in every seed: no label saving is reported."
    order = there.mean().sort_values().index
    told = " to ".join(
        f"{arm_title(arm)} with {share_of_labels(estimate(there[arm]))}"
        for arm in dict.fromkeys([order[0], order[-1]])
    )
    every = saved.shape[1]
    arms = f"{'All' if len(order) == every else f'{len(order)} of'} {count(every, 'arm')}"
    return f"{arms} reach random's last accuracy in every seed: {told}."


def _recipes(plan: ReductionsStudy, arms: list[Cell]) -> str:
    """What the reduced recipe is worth beside the poster's; nothing where arms have another."""
    recipe = plan.reduced_recipe.items()
    if any(getattr(cell, key) != value for cell in arms for key, value in recipe):
        return ""
    found = tidy.read_settings(plan)
    told = [
        _recipe_gain(dataset_title(name), gains)
        for name in DATASETS
        if (gains := comparisons.recipe_gains(found, name)).size
    ]
    if not told:
        return ""
    under_both = comparisons.picks_told(found)
    untried = dict.fromkeys(cell.dataset for cell in arms if cell.dataset not in under_both)
    return " ".join(
        [
            "02 and 03, on which C3 to C6 are judged, are trained by the reduced recipe, not the "
            "poster's. On the same random labels its accuracy minus that with the poster's is "
            f"{join(told)} (08).",
            *under_both.values(),
            *map(_once, untried),
        ]
    )


def _shared(found: pd.DataFrame, others: list[pd.DataFrame]) -> str:
    """How many cells of 08 have a training beyond the first labels that another report has too.

    Equal in likelihood to the last digit: such reports are not independent of each other.
    """
    same = ["dataset", "arm", "seed", "labels", "test_nll"]
    elsewhere = pd.concat(others)[same].drop_duplicates()
    later = found[found["labels"] > found.groupby("record")["labels"].transform("min")]
    cells = later.merge(elsewhere, on=same)["record"].nunique()
    if not cells:
        return ""
    return (
        f"Of the {count(found['record'].nunique(), 'cell')} of 08 {cells} share trainings with 01, "
        "02, 03 or 07: these reports are not independent."
    )


def _recipe_gain(title: str, gains: pd.DataFrame) -> str:
    """The mean over the sizes, and the gain at the largest of them."""
    told = f"{points(estimate(gains.mean(axis=1)))} on {title}"
    if gains.shape[1] < 2:
        return told
    last = gains.columns[-1]
    return (
        f"{told} (mean over {count(gains.shape[1], 'size')}; at {last:,} labels "
        f"{points(estimate(gains[last]), '')})"
    )


def _once(dataset: str) -> str:
    """What choosing gains under the poster's recipe, where one acquisition alone was tried."""
    title = dataset_title(dataset)
    for effect in ablation.effects(ablation.results(ablation.AblationStudy())):
        if (effect.dataset, effect.what) == (dataset, ablation.MARGIN):
            return (
                f"On {title} the poster's recipe was tried with one acquisition alone (04): at "
                f"{effect.labels:,} labels margin minus random is {points(effect.estimate)}."
            )
    return f"What choosing gains under the poster's recipe on {title} is open."


def _ranking(plan: BeyondStudy) -> str:
    """What strategies and recipes beyond the poster's are worth, as far as the records go."""
    found = ranking.whole(tidy.read_settings(plan), plan.settings())
    parts = [
        f"How they rank, by 07 of the profile `{plan.profile}`:",
        ranking.sentences(found).data,
        f"How those rank that start from {plan.start_first} labels, {plan.start_step} a round:",
        ranking.sentences(found, "start").data,
        recipes.sentences(found).data,
        interim(plan).strip(),
    ]
    return "\n\n".join(_folded(part) for part in parts if part)


def _folded(text: str) -> str:
    """Markdown with its lines folded, and what follows in a list's item set in."""
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _table(by_dataset: Iterable[pd.DataFrame]) -> str:
    """Arms beside random, whose tests stand under one title for all datasets."""
    rows = [row for ours in by_dataset for row in _rows(ours)]
    margins = join([f"{margin:g} ({dataset_title(name)})" for name, margin in MARGIN.items()])
    head = (
        "| dataset | arm | last accuracy (%) | area, difference to random (points) | different (p) "
        f"| equivalent within {margins} (p) | label saving (times) |"
    )
    return "\n".join([head, "|---" * 7 + "|", *rows])


def _rows(ours: pd.DataFrame) -> list[str]:
    """The rows of one dataset."""
    dataset, areas, last = ours["dataset"].iloc[0], statistics.areas(ours), statistics.final(ours)
    every, saved = standing.standings(areas, dataset), statistics.label_savings(ours)
    rows = []
    for arm in areas.columns:
        cells = [dataset_title(dataset), arm_title(arm), f"{last[arm].mean():.2f}"]
        if arm not in every:
            cells += ["baseline", "", "", ""]
        else:
            tests = [*standing.columns(every[arm], dataset).values(), ""][:2]
            tests = tests if len(areas) >= FEWEST_SEEDS else ["", ""]
            cells += [points(every[arm].difference, ""), *tests, _times(saved[arm])]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _times(saved: pd.Series) -> str:
    """The ratio, or in how many seeds the arm gets there at all."""
    reached = saved.dropna()
    if len(reached) < len(saved):
        return f"in {len(reached)} of {len(saved)} seeds"
    return interval(estimate(saved), "")
