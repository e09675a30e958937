"""What README and the guides say about 09: its findings in short, and every arm's rank."""

import pandas as pd

from alutils.protocol.arms import POSTER_ARMS, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.protocol.encoders import encoder_title
from alutils.records import tidy
from alutils.reporting import arm_comparison, statistics
from alutils.reporting.markdown import markdown_table
from alutils.reporting.prose import join, seed_range, verb
from alutils.reporting.record_facts import interim
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies.beyond.readme_text import best_recipe
from alutils.studies.pretrained.plan import PARTS, PretrainedStudy
from alutils.studies.pretrained.scratch_comparison import (
    head_vs_scratch,
    needed,
    ranked_datasets,
    rows_of,
)

SIDE = {"above": " +", "below": " -", "": ""}
"""Mark on the rank of an arm that is shown to lie above or below random."""


def whole_seeds(study: PretrainedStudy) -> pd.DataFrame:
    """The rows of the seeds that have every arm of a part, from the finished cells."""
    return tidy.complete_seeds(tidy.read_settings(study), study.settings())


def short(study: PretrainedStudy, results: pd.DataFrame, others: pd.DataFrame) -> str:
    """What the features are worth, and the poster's arms on them, in a few sentences.

    From the rows of ``whole_seeds``, and those of 07 (``others``), which has other recipes. Empty
    without enough seeds for a test.
    """
    few = _with_few_labels(results)
    return f"{_worth(study, results, others, list(few))} {_of_poster(few)}".strip() if few else ""


def _with_few_labels(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the part with few labels, by dataset, if it has enough seeds for a test."""
    few = {name: rows_of(results, "few", name) for name in ranked_datasets(results)}
    return {name: rows for name, rows in few.items() if statistics.enough_seeds(rows)}


def _worth(
    study: PretrainedStudy, results: pd.DataFrame, others: pd.DataFrame, datasets: list[str]
) -> str:
    """The head compared with the network from scratch, by dataset, in a sentence."""
    better, worse = [], []
    for name in datasets:
        if not (beside := head_vs_scratch(results, name)):
            continue
        title, accuracy = dataset_title(name), f"{beside.head.mean:.2f} %"
        if not beside.reached:
            scratch = needed(results, name, beside.head.mean)
            worse.append(f"{accuracy} on {title} with {beside.labels:,} ({scratch} from scratch)")
            continue
        by = "" if better else f" by {study.scratch_recipe}"
        scratch = f"{beside.scratch.mean:.2f} % with {beside.scratch_labels:,}{by}"
        if best := best_recipe(others, name):
            scratch += f", {best} by the best recipe tried"
        random = "" if better else " random labels"
        better.append(
            f"{accuracy} on {title} with {beside.labels:,}{random} (from scratch: {scratch})"
        )
    if not better and not worse:
        return ""
    known = " (which has nearly all CIFAR-10 classes)" if "cifar10" in datasets else ""
    has = [f"reaches {join(better)}"] if better else []
    has += [f"reaches only {join(worse)}"] if worse else []
    return (
        f"A linear layer on frozen features of an encoder trained on ImageNet{known} "
        f"{'; it '.join(has)}."
    )


def leads(results: pd.DataFrame) -> str:
    """Which arm has the largest mean gain with few labels, if that is shown to be a gain.

    A sentence with a space before it, from the rows of ``whole_seeds``. The next arm is named, too,
    if the two are not shown to differ (paired, not corrected).
    """
    gains: dict[str, list[str]] = {}
    for name, rows in _with_few_labels(results).items():
        areas = statistics.areas(rows)
        arms = arm_comparison.compare_with_random(areas, name)
        arm, *others = areas.mean().drop("random").sort_values(ascending=False).index
        if arms[arm].side != "above":
            continue
        gain = f"{arms[arm].difference.mean:+.2f}"
        if others and not estimate(areas[arm] - areas[others[0]]).differs_from_zero:
            next_one = arms[others[0]].difference.mean
            gain += f"; not shown to differ from {arm_title(others[0])}, {next_one:+.2f}"
        gains.setdefault(arm_title(arm), []).append(f"{dataset_title(name)} ({gain})")
    if not gains:
        return ""
    firsts = join([f"{arm} on {join(datasets)}" for arm, datasets in gains.items()])
    return (
        " With few labels, the arm with the largest mean gain over random (points of area), picked "
        f"after seeing the results, is {firsts}."
    )


def _always_above(results: pd.DataFrame) -> str:
    """Which arms are shown to lie above random in every column of the table that has them.

    A sentence with a space before it. An arm counts if it was run with few labels and with many.
    """
    sides: dict[str, list[str]] = {}
    for (name, _), areas in areas_by_part(results).items():
        for arm, side in _sides(areas, name).items():
            sides.setdefault(arm, []).append(side)
    most = max(map(len, sides.values()), default=0)
    shown = [arm for arm, each in sides.items() if each == most * ["above"]]
    if not shown or most < 2:
        return ""
    arms = join([arm_title(arm) for arm in shown])
    return f" Shown to lie above random in every column: {arms} (of the arms that are in all)."


def _of_poster(few: dict[str, pd.DataFrame]) -> str:
    """Which of the poster's arms are shown to lie on one side of random on every dataset."""
    by_dataset = [
        arm_comparison.compare_with_random(statistics.areas(rows), name)
        for name, rows in few.items()
    ]
    every, phrases = f" on {join([dataset_title(name) for name in few])}", []
    for side in ("above", "below"):
        of_side = [{arm for arm, each in arms.items() if each.side == side} for arms in by_dataset]
        if shown := [arm_title(a) for a in POSTER_ARMS if a in set.intersection(*of_side)]:
            lies = side if phrases else f"{verb(shown)} {side} random{every}"
            phrases.append(f"{join(shown)} {lies}")
    if not phrases:
        return ""
    counts = pd.concat(few.values())["labels"]
    seeds = seed_range(rows["seed"].nunique() for rows in few.values())
    return (
        f"With {counts.min():,} to {counts.max():,} labels, {seeds}, {', '.join(phrases)} "
        "([ranks](docs/strategies.md#how-they-rank))."
    )


def text(study: PretrainedStudy, results: pd.DataFrame) -> str:
    """What the table shows, and the table, in Markdown, from the rows of ``whole_seeds``."""
    by_part = areas_by_part(results)
    if not by_part:
        return f"No seed of the profile `{study.profile}` has every arm of 09 yet."
    spans = [
        f"{part} labels are {rows['labels'].min():,} to {rows['labels'].max():,}"
        for part in PARTS
        if len(rows := results[results["factor"] == part])
    ]
    arms = {part: len(areas.columns) for (_, part), areas in by_part.items()}
    sentence = (
        f"Ranks by mean area under the curve, from 09 of the profile `{study.profile}`: a linear "
        f"layer on frozen features of {encoder_title(study.encoder)}, all classes complete, "
        f"{seed_range([len(areas) for areas in by_part.values()])}; {join(spans)}, with "
        f"{join([f'{number} arms' for number in arms.values()])}, including random. Arms that are "
        "shown to lie above (+) or below (-) random are marked (paired t tests at 5 %, "
        f"Holm-corrected within a column). [Its report](../outputs/{study.profile}/"
        "09-pretrained-features.ipynb) says by how much, and what there is to gain."
        f"{leads(results)}{_always_above(results)}{interim(study)}"
    )
    return f"{sentence}\n\n{table(results)}"


def areas_by_part(results: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Areas by seed and arm of each dataset and part, classes as they are."""
    return {
        (dataset, part): statistics.areas(rows)
        for dataset in ranked_datasets(results)
        for part in PARTS
        if len(rows := rows_of(results, part, dataset))
    }


def table(results: pd.DataFrame) -> str:
    """Arms by their mean rank with few labels, or with many if they have no other."""
    by_part = areas_by_part(results)
    ranks = pd.DataFrame(
        {key: areas.mean().rank(ascending=False) for key, areas in by_part.items()}
    )
    means = [ranks.loc[:, [key[1] == part for key in by_part]].mean(axis=1) for part in PARTS]
    order = pd.concat(means, axis=1).sort_values([0, 1], kind="stable").index
    shown = {key: _shown(areas, ranks[key], key[0]) for key, areas in by_part.items()}
    rows = [[arm_title(arm), *(cells.get(arm, "") for cells in shown.values())] for arm in order]
    head, named = ["arm"], ""
    for dataset, part in by_part:
        head.append(part if dataset == named else f"{dataset_title(dataset)}, {part}")
        named = dataset
    return markdown_table(head, rows)


def _shown(areas: pd.DataFrame, ranks: pd.Series, dataset: str) -> dict[str, str]:
    """Ranks by arm, each marked if the arm is shown to lie above or below random."""
    marks = {arm: SIDE[side] for arm, side in _sides(areas, dataset).items()}
    return {arm: f"{ranks[arm]:g}{marks.get(arm, '')}" for arm in areas.columns}


def _sides(areas: pd.DataFrame, dataset: str) -> dict[str, str]:
    """By arm, where it is shown to lie relative to random; empty without enough seeds."""
    if len(areas) < FEWEST_SEEDS:
        return {}
    by_arm = arm_comparison.compare_with_random(areas, dataset)
    return {arm: each.side for arm, each in by_arm.items()}
