"""Arms ranked by the area under their curves: what the runs show, and its presentation."""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import ARMS, POSTER_ARMS, arm_title
from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import arm_comparison, captions, prose, statistics
from alutils.reporting.picture import Chart
from alutils.reporting.prose import count, join, paired_seeds, points
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, estimate


def ranked_rows(results: pd.DataFrame, factor: str, dataset: str) -> pd.DataFrame:
    """The rows of a factor and dataset, the arm with the best area first, oracles last.

    ``results`` has only seeds with every arm, as ``tidy.complete_seeds`` leaves it.
    """
    rows = results[(results["factor"] == factor) & (results["dataset"] == dataset)]
    if rows.empty:
        return rows
    ranked = statistics.areas(rows).mean().sort_values(ascending=False).index
    order = ranked.append(pd.Index(rows["arm"].unique()).difference(ranked))
    return rows.sort_values("arm", key=lambda arm: arm.map(order.get_loc), kind="stable")


def _no_seed_yet(dataset: str) -> Markdown:
    return Markdown(f"On {dataset_title(dataset)} no seed has every arm yet.")


def figure(results: pd.DataFrame, factor: str, dataset: str) -> HTML | Markdown:
    """Every arm's difference from random in area, the best first."""
    rows = ranked_rows(results, factor, dataset)
    return captions.area_differences(rows) if len(rows) else _no_seed_yet(dataset)


def curves(results: pd.DataFrame, factor: str, dataset: str) -> Chart | Markdown:
    """Accuracy against labels for every arm."""
    rows = ranked_rows(results, factor, dataset)
    return captions.learning_curves(rows) if len(rows) else _no_seed_yet(dataset)


def table(results: pd.DataFrame, factor: str, dataset: str) -> HTML | Markdown:
    """Arms by their mean area, with the difference from random, and pairs won and lost.

    A pair is won when the paired 95 % interval of the difference in area lies above zero. If
    equivalence is out of reach for every arm, a sentence says so instead of a column.
    """
    rows = ranked_rows(results, factor, dataset)
    if rows.empty:
        return _no_seed_yet(dataset)
    areas = statistics.areas(rows)
    every, tested = arm_comparison.compare_with_random(areas, dataset), len(areas) >= FEWEST_SEEDS
    wide = arm_comparison.too_wide(every, dataset) if tested else ""
    note = wide or (arm_comparison.reaches_past(every, dataset) if tested else "")
    title = f"difference from random{', simultaneous interval' if tested else ''} (points)"
    entries = []
    for rank, arm in enumerate(areas.columns, 1):
        others = [estimate(areas[arm] - areas[other]) for other in areas.columns.drop(arm)]
        entry = {
            "place": rank,
            "arm": arm_title(arm),
            "area (%)": f"{areas[arm].mean():.2f}",
            title: points(every[arm].difference, "") if arm in every else "baseline",
        }
        if tested:
            entry |= arm_comparison.columns(every[arm], dataset, not wide) if arm in every else {}
            entry |= {
                "pairs won (uncorrected)": sum(margin.low > 0 for margin in others),
                "pairs lost (uncorrected)": sum(margin.high < 0 for margin in others),
            }
        entries.append(entry)
    shown = prose.table(pd.DataFrame(entries).fillna(""))
    return HTML(f"<p>{note}</p>{shown.data}") if note else shown


def sentences(results: pd.DataFrame, factor: str = "ranking", interim: str = "") -> Markdown:
    """What the ranking supports, by dataset: which arms are shown above random, and the first.

    What tests with few seeds assume is said once, for the factor with the most arms among those
    with enough seeds for a test. ``interim`` says that runs are still to come.
    """
    lines, notes = [], []
    tested = results.groupby(["factor", "dataset"]).filter(statistics.enough_seeds)
    most = tested.groupby("factor", sort=False)["arm"].nunique().idxmax() if len(tested) else ""
    for dataset in tidy.datasets_of(results, factor):
        rows = ranked_rows(results, factor, dataset)
        if not statistics.enough_seeds(rows):
            continue
        areas = statistics.areas(rows)
        span = f"{rows['labels'].min():,} to {rows['labels'].max():,} labels"
        lines.append(
            f"- **{dataset_title(dataset)}**, {span}, {paired_seeds(len(areas))}: by area "
            f"({arm_comparison.tests(areas, dataset)}), {arm_comparison.sentence(areas, dataset)}."
            f"{arm_comparison.power(areas, dataset)} {_first(areas)}"
        )
        if factor == most:
            notes.append(arm_comparison.normality(areas, dataset))
    text = "\n".join(lines) or f"A test needs {FEWEST_SEEDS} seeds with every arm."
    return prose.paragraphs(text, *notes, interim)


def secondary(results: pd.DataFrame, factor: str = "ranking") -> Markdown:
    """What decides nothing, by dataset: arms against their controls, and a spread pooled over arms.

    Empty if there is neither.
    """
    lines = []
    for dataset in tidy.datasets_of(results, factor):
        rows = ranked_rows(results, factor, dataset)
        if statistics.enough_seeds(rows):
            areas = statistics.areas(rows)
            told = " ".join(filter(None, (_controls(areas), arm_comparison.pooled(areas))))
            lines += [f"- **{dataset_title(dataset)}**: {told}"] if told else []
    return prose.paragraphs("In addition to these tests:" if lines else "", "\n".join(lines))


def _first(areas: pd.DataFrame) -> str:
    """The arm with the largest mean area, and the poster's that it is shown to lie above."""
    first, second = areas.columns[:2]
    text = (
        f"{prose.capital(arm_title(first))} has the largest mean, "
        f"{points(estimate(areas[first] - areas[second]))} above {arm_title(second)}, not corrected"
    )
    poster = [arm for arm in areas.columns[1:] if arm in POSTER_ARMS[1:]]
    if not poster:
        return f"{text}."
    p = statistics.holm_p_values(areas[[first, *poster]], first)
    beaten = [arm_title(arm) for arm in poster if p[arm] < 1 - LEVEL]
    shown = f"is shown to beat {join(beaten)}" if beaten else "isn't shown to beat any"
    return (
        f"{text}; of the poster's arms, it {shown} (corrected for {count(len(poster), 'test')}, "
        "but not for having picked the largest mean)."
    )


def _controls(areas: pd.DataFrame) -> str:
    """How arms differ from their controls, the plainer arms that each is compared with."""
    differences = [
        f"{arm_title(arm)} minus {arm_title(row.control)} {points(estimate(difference), '')}"
        for arm, row in ARMS.items()
        if row.control and {arm, row.control} <= set(areas.columns)
        for difference in [areas[arm] - areas[row.control]]
    ]
    if not differences:
        return ""
    return (
        f"arms compared with their controls, not corrected and deciding nothing: "
        f"{join(differences)}."
    )
