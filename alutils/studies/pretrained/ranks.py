"""What README and the guides tell of 09: its findings in short, and every arm's rank."""

import pandas as pd

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.protocol.encoders import encoder_title
from alutils.records import tidy
from alutils.reporting import standing, statistics
from alutils.reporting.prose import join, seed_range
from alutils.reporting.record_facts import interim
from alutils.reporting.statistics import FEWEST_SEEDS
from alutils.studies.pretrained.plan import PARTS, PretrainedStudy
from alutils.studies.pretrained.worth import balanced, best_arm, ranked_datasets

SIDE = {"above": " +", "below": " -", "": ""}
"""How a rank is marked whose arm is shown to lie above or below random."""


def whole_seeds(study: PretrainedStudy) -> pd.DataFrame:
    """The rows of the seeds that have every arm of a part, from the finished cells."""
    return tidy.complete_seeds(tidy.read_settings(study), study.settings())


def short(results: pd.DataFrame) -> str:
    """What the features are worth, and which arm leads with few labels, in two sentences.

    Without seeds enough for a test there is no text.
    """
    few = {name: balanced(results, "few", name) for name in ranked_datasets(results)}
    few = {name: rows for name, rows in few.items() if rows["seed"].nunique() >= FEWEST_SEEDS}
    if not few:
        return ""
    worth = [each for name in few if (each := _against_scratch(results, name))]
    leads: dict[str, list[str]] = {}
    for name, rows in few.items():
        arm = best_arm(rows)
        beside = standing.standings(statistics.areas(rows), name)[arm]
        if beside.side == "above":
            gain = f"{dataset_title(name)} ({beside.difference.mean:+.2f})"
            leads.setdefault(arm_title(arm), []).append(gain)
    counts = pd.concat(few.values())["labels"]
    text = f"A linear layer on frozen ImageNet features (09) has {join(worth)}." if worth else ""
    if leads:
        arms = join([f"{arm} on {join(gains)}" for arm, gains in leads.items()])
        text += (
            f" With {counts.min():,} to {counts.max():,} labels the largest mean gain over random "
            f"(points of area) is that of {arms}: "
            f"{seed_range([rows['seed'].nunique() for rows in few.values()])}, found by looking."
        )
    return text.strip()


def _against_scratch(results: pd.DataFrame, dataset: str) -> str:
    """The head's accuracy where it first beats the network's last, or where it ends below that."""
    head, scratch = balanced(results, "head", dataset), balanced(results, "scratch", dataset)
    if head.empty or scratch.empty:
        return ""
    means = head.groupby("labels")["accuracy"].mean()
    network = scratch.groupby("labels")["accuracy"].mean()
    labels = next((n for n, mean in means.items() if mean >= network.iloc[-1]), means.index[-1])
    return (
        f"{means[labels]:.2f} % on {dataset_title(dataset)} with {labels:,} random labels (the "
        f"network from scratch: {network.iloc[-1]:.2f} % with {network.index[-1]:,})"
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
        f"Ranks by mean area under the curve, by 09 of the profile `{study.profile}`: a linear "
        f"layer on frozen features of {encoder_title(study.encoder)}, classes as they are, "
        f"{seed_range([len(areas) for areas in by_part.values()])}; {join(spans)}, with "
        f"{join([f'{number} arms' for number in arms.values()])}, random among them. Marked are "
        "those that are shown to lie above (+) or below (-) random (paired t tests at 5 %, "
        f"Holm-corrected within a column). By how much, and what there is to gain, is in [its "
        f"report](../outputs/{study.profile}/09-pretrained-features.ipynb).{interim(study)}"
    )
    return f"{sentence}\n\n{table(results)}"


def areas_by_part(results: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Areas by seed and arm of each dataset and part, classes as they are."""
    return {
        (dataset, part): statistics.areas(rows)
        for dataset in ranked_datasets(results)
        for part in PARTS
        if len(rows := balanced(results, part, dataset))
    }


def table(results: pd.DataFrame) -> str:
    """Arms by their mean rank with few labels, or with many where they have no other."""
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
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _shown(areas: pd.DataFrame, ranks: pd.Series, dataset: str) -> dict[str, str]:
    """An arm's rank, and where it is shown to lie beside random."""
    tested = standing.standings(areas, dataset) if len(areas) >= FEWEST_SEEDS else {}
    side = {arm: SIDE[each.side] for arm, each in tested.items()}
    return {arm: f"{ranks[arm]:g}{side.get(arm, '')}" for arm in areas.columns}
