"""The parts of README and guides that are made from a profile's records, between marks."""

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
from alutils.protocol.study import Study
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
    verb,
)
from alutils.reporting.record_facts import effort, interim, one_processor
from alutils.reporting.standing import MARGIN
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies import overlap, profiles
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.beyond import ranking, recipes
from alutils.studies.beyond.plan import BeyondStudy
from alutils.studies.claims import ablation, page, rules
from alutils.studies.reductions import both_recipes, comparisons
from alutils.studies.reductions.plan import ReductionsStudy
from alutils.studies.transfer.plan import CHOSEN_UNDER, DATASET_OF

WIDTH = 100
LONG = ("desktop", "poster", "replica")
"""Profiles whose hours the guide on machines shows."""
STEP_MS = (75, 10)
"""Milliseconds a step for which it shows them."""
APART = "09-pretrained-features"
"""The notebook of whose runs these texts tell nothing."""


def update(profile: str) -> None:
    """Write ``blocks`` into the README and the guides, each between its marks."""
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
    """The Markdown blocks by their marks' names.

    These are the findings in short (``found``) and in full (``answer``), the table of results, the
    hours of the long profiles, and the ranking of strategies.
    """
    studies = {name: profiles.load_study(profile, name) for name in profiles.notebooks(profile)}
    if "04-claims" not in studies:
        raise StudyError(f"{profile!r} has no 04-claims, which README and guides are made from")
    told = (study for name, study in studies.items() if name != APART)
    cells = {cell.name: cell for study in told for cell in study.cells()}
    results = tidy.read(studies["04-claims"])
    arms = results[results["figure"].astype(str).isin(["3", "4"])]
    if arms.empty:
        raise StudyError(f"no seed of {profile!r} has every cell of Figures 3 and 4 yet")
    by_dataset = {dataset: ours for (_, dataset), ours in arms.groupby(["figure", "dataset"])}
    claims = rules.with_seeds_left_out(results, rules.judge(results))
    verdicts = (
        f"{page.answer(claims, interim(studies['04-claims'])).data} {page.left_out(claims).data}"
    )
    figures_of_arms = (studies[name] for name in profiles.FIGURES[1:] if name in studies)
    note = {study.dataset: interim(study) for study in figures_of_arms}
    answers = [
        f"{tables.answer(ours).data} {_saving(ours)}{note[name]}"
        for name, ours in by_dataset.items()
    ]
    answers.append(verdicts)
    recipes_told = ""
    if reduced := studies.get("08-reductions"):
        recipes_told = _recipes(reduced, [c for c in cells.values() if c.figure in (3, 4)])
    answers.append(recipes_told)
    answers.append(
        " ".join(
            overlap.sentence(studies[name], name).data
            for name in ("07-beyond-the-poster", "08-reductions")
            if name in studies
        )
    )
    seeds = seed_range(arms.groupby("dataset")["seed"].nunique())
    of_table = (
        f"Profile `{profile}`: {figures.reported(arms)}, mean over {seeds}. Label saving: random's "
        "last label count over the one at which an arm reaches random's last accuracy"
        f"{_by_chance(by_dataset)}. Records, 09's apart: {effort(profile, cells.values())}"
    )
    rests_on = (
        "Intervals of differences hold together for the arms of a dataset (Bonferroni); p in "
        "brackets is after Holm's correction for them: of paired t tests, and of two one-sided "
        f"tests of equivalence. {_normality(by_dataset)}Label savings are read off monotone fits "
        f"per seed ({statistics.FIT}), with 95 % t intervals. {_held_out(studies).rstrip()}"
    )
    findings = _findings(by_dataset, claims, _on_reduced(reduced) if recipes_told else "")
    texts = {
        "found": "\n".join(map(_folded, findings)),
        "answer": "\n\n".join(_folded(answer) for answer in answers if answer),
        "results": "\n\n".join(
            [_table(by_dataset.values()), _folded(of_table), *_details(_folded(rests_on))]
        ),
        "hours": markdown_hours(LONG, STEP_MS),
    }
    if further := studies.get("07-beyond-the-poster"):
        texts["ranking"] = _ranking(further)
    return texts


def _normality(by_dataset: dict[str, pd.DataFrame]) -> str:
    """What the tests of the table rest on, with a blank after it; no text with seeds enough."""
    areas = {dataset: statistics.areas(ours) for dataset, ours in by_dataset.items()}
    notes = [
        standing.normality(len(each), len(each.columns) - 1, dataset in MARGIN)
        for dataset, each in areas.items()
        if len(each) >= FEWEST_SEEDS
    ]
    return "".join(f"{note} " for note in dict.fromkeys(notes) if note)


def _by_chance(by_dataset: dict[str, pd.DataFrame]) -> str:
    """What a number of seeds in the table's last column says, where it has any."""
    missed = any(
        statistics.label_savings(ours).isna().any(axis=None) for ours in by_dataset.values()
    )
    return ", as one that equals random does in about every other seed" if missed else ""


def _held_out(studies: dict[str, Study]) -> str:
    """How many images Figures 3 and 4 hold out, with a blank after it."""
    sizes = [
        f"{study.heldout_size(study.dataset):,} of {dataset_title(study.dataset)}"
        for name in profiles.FIGURES[1:]
        if (study := studies.get(name))
    ]
    return f"Held-out images have labels too, which no label count has: {join(sizes)}. "


def _findings(
    by_dataset: dict[str, pd.DataFrame], claims: list[rules.Claim], rest_on: str
) -> list[str]:
    """A plain sentence for each dataset, and one on the verdicts on the claims."""
    tally = Counter(claim.verdict for claim in claims)
    return [
        *(f"- {_in_short(ours, dataset)}" for dataset, ours in by_dataset.items()),
        f"- Of the poster's {len(claims)} claims {tally['supported']} are supported, "
        f"{tally['not supported']} not, and {tally['undecided']} undecided{rest_on}.",
    ]


def _on_reduced(study: ReductionsStudy) -> str:
    """The end of a sentence: that the claims on choosing rest on the reduced recipe."""
    few, many = study.reduced_recipe["epochs"], ActiveLearningStudy.model_fields["epochs"].default
    first, *_, last = both_recipes.ON_ARMS
    return (
        f"; those on choosing ({first} to {last}) rest on {few} epochs a training, not the "
        f"poster's {many}"
    )


def _in_short(ours: pd.DataFrame, dataset: str) -> str:
    """How the ways of choosing compare with random labels on a dataset, in one sentence."""
    areas, low, high = statistics.areas(ours), ours["labels"].min(), ours["labels"].max()
    standings = standing.standings(areas, dataset)
    by_arm, number = list(standings.values()), len(standings)
    within = f"On {dataset_title(dataset)}, on average over {low:,} to {high:,} labels,"
    gains = [arm.difference.mean for arm in by_arm]
    seeds = paired_seeds(len(areas))
    if all(arm.equivalent for arm in by_arm):
        return (
            f"{within} all {number} ways of choosing come within {standing.margin_points(dataset)} "
            f"of the accuracy of random labels ({seeds}){_sides(standings)}."
        )
    if all(arm.side == "above" for arm in by_arm):
        needed = (100 / statistics.label_savings(ours).drop(columns="random")).mean(skipna=False)
        share = f"{needed.min():.0f} to {needed.max():.0f} %"
        least = f", and reach its last accuracy with {share} of its labels"
        least = "" if needed.isna().any() else least
        return (
            f"{within} all {number} ways of choosing beat random labels, by {min(gains):.2f} "
            f"to {max(gains):.2f} points{least} ({seeds})."
        )
    return f"{within} {standing.sentence(areas, dataset)} ({seeds})."


def _sides(standings: dict[str, standing.Standing]) -> str:
    """Which ways of choosing within the margin are shown to lie above or below random."""
    phrases = []
    for where in ("above", "below"):
        if shown := [arm_title(arm) for arm, each in standings.items() if each.side == where]:
            phrases.append(f"; {join(shown)} {verb(shown)} {where} it, by less than that")
    return "".join(phrases)


def _saving(ours: pd.DataFrame) -> str:
    """The label savings of the arms that save most and least, in a sentence."""
    saved = statistics.label_savings(ours).drop(columns="random")
    if len(saved) < FEWEST_SEEDS:
        return ""
    reached = saved.dropna(axis=1)
    if reached.empty:
        return (
            "No arm reaches random's last accuracy in every seed: no label saving is reported. "
            f"{tables.BY_CHANCE}"
        )
    order = reached.mean().sort_values().index
    ends = " to ".join(
        f"{arm_title(arm)} with {share_of_labels(reached[arm])}"
        for arm in dict.fromkeys([order[0], order[-1]])
    )
    number = saved.shape[1]
    arms = f"{'All' if len(order) == number else f'{len(order)} of'} {count(number, 'arm')}"
    return f"{arms} reach random's last accuracy in every seed: {ends}.{tables.head_start(ours)}"


def _recipes(study: ReductionsStudy, arms: list[Cell]) -> str:
    """How accuracy by the reduced recipe compares with the poster's recipe's, in sentences.

    Empty where some of ``arms`` was trained by another recipe than the reduced one.
    """
    recipe = study.reduced_recipe.items()
    if any(getattr(cell, key) != value for cell in arms for key, value in recipe):
        return ""
    results = tidy.read_settings(study)
    phrases = [
        _recipe_gain(dataset_title(name), gains)
        for name in DATASETS
        if (gains := comparisons.recipe_gains(results, name)).size
    ]
    if not phrases:
        return ""
    margin = comparisons.picks_sentence_by_dataset(results)
    datasets = {cell.dataset for cell in arms}
    return " ".join(
        [
            "02 and 03, on which C3 to C6 are judged, are trained by the reduced recipe, not the "
            "poster's. On the same random labels its accuracy minus that with the poster's is "
            f"{join(phrases)} (08).",
            *margin.values(),
            *(
                _whole_curves(notebook, dataset, tried=dataset in margin)
                for notebook, dataset in DATASET_OF.items()
                if dataset in datasets
            ),
        ]
    )


def _whole_curves(notebook: str, dataset: str, tried: bool) -> str:
    """What is shown under both recipes over the whole range, or that this is not known yet.

    ``tried`` says that part of the range was run under both.
    """
    if text := both_recipes.compared(notebook):
        note = interim(profiles.load_study(CHOSEN_UNDER["poster"], notebook))
        return f"Over the whole range of labels on {dataset_title(dataset)}, {text} (08).{note}"
    return "" if tried else _one_acquisition(dataset)


def _recipe_gain(title: str, gains: pd.DataFrame) -> str:
    """The reduced recipe's gain, in words: its mean over the sizes, and that at the largest."""
    mean = f"{points(estimate(gains.mean(axis=1)))} on {title}"
    if gains.shape[1] < 2:
        return mean
    last = gains.columns[-1]
    return (
        f"{mean} (mean over {count(gains.shape[1], 'size')}; at {last:,} labels "
        f"{points(estimate(gains[last]), '')})"
    )


def _one_acquisition(dataset: str) -> str:
    """Margin minus random after one acquisition under the poster's recipe, in a sentence."""
    title = dataset_title(dataset)
    for effect in ablation.effects(ablation.results(ablation.AblationStudy())):
        if (effect.dataset, effect.what) == (dataset, ablation.CHOOSING_BY_MARGIN):
            return (
                f"On {title} fewer than {FEWEST_SEEDS} seeds are whole under the poster's recipe "
                f"yet; with one acquisition alone (04), at {effect.labels:,} labels, margin minus "
                f"random is {points(effect.estimate)}."
            )
    return f"What choosing gains under the poster's recipe on {title} is open."


def _ranking(study: BeyondStudy) -> str:
    """How strategies and recipes beyond the poster's compare, from the finished cells."""
    results = tidy.complete_seeds(tidy.read_settings(study), study.settings())
    parts = [
        f"How they rank, by 07 of the profile `{study.profile}`:",
        ranking.sentences(results).data,
        f"How those rank that start from {study.start_first} labels, {study.start_step} a round:",
        ranking.sentences(results, "start").data,
        recipes.sentences(results, one_processor(study, "recipe")).data,
        interim(study).strip(),
    ]
    return "\n\n".join(_folded(part) for part in parts if part)


def _details(text: str) -> list[str]:
    """Paragraphs that a reader unfolds."""
    return ["<details><summary>What these numbers rest on</summary>", text, "</details>"]


def _folded(text: str) -> str:
    """Markdown with lines folded at ``WIDTH``; further lines of a list item are indented."""
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
    """The table of results: a row for each dataset and arm."""
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
    by_arm, saved = standing.standings(areas, dataset), statistics.label_savings(ours)
    rows = []
    for arm in areas.columns:
        cells = [dataset_title(dataset), arm_title(arm), f"{last[arm].mean():.2f}"]
        if arm not in by_arm:
            cells += ["baseline", "", "", ""]
        else:
            tests = [*standing.columns(by_arm[arm], dataset).values(), ""][:2]
            tests = tests if len(areas) >= FEWEST_SEEDS else ["", ""]
            cells += [points(by_arm[arm].difference, ""), *tests, _times(saved[arm])]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _times(saved: pd.Series) -> str:
    """An arm's label saving, or in how many seeds it reaches random's last accuracy."""
    reached = saved.dropna()
    if len(reached) < len(saved):
        return f"in {len(reached)} of {len(saved)} seeds"
    return interval(estimate(saved), "")
