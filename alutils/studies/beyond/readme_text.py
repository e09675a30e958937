"""What README and guides say about 07: how arms rank from scratch, and its best recipe."""

import pandas as pd

from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import arm_comparison, statistics
from alutils.reporting.prose import paired_seeds
from alutils.reporting.record_facts import interim
from alutils.reporting.statistics import FEWEST_SEEDS
from alutils.studies.beyond.ladder import curves_of
from alutils.studies.beyond.plan import BeyondStudy
from alutils.studies.beyond.ranking import ranked_rows


def text(study: BeyondStudy) -> str:
    """Which arms are shown to lie where, in Markdown, from the finished cells."""
    results = tidy.complete_seeds(tidy.read_settings(study), study.settings())
    lines = [line for factor in ("ranking", "start") for line in _lines(results, factor)]
    return "\n".join(
        [
            f"Trained from scratch ({study.epochs} epochs, {study.schedule} schedule), from 07 of "
            f"the profile `{study.profile}`: judged by area, with paired t tests and two one-sided "
            "tests of equivalence at 5 %, Holm-corrected for the arms on a line. [Its report]("
            f"../outputs/{study.profile}/07-beyond-the-poster.ipynb) says which differences these "
            "tests could have shown, that with few seeds they assume approximately normal "
            f"differences, and what other recipes are worth.{interim(study)}",
            "",
            *(lines or [f"A test needs {FEWEST_SEEDS} seeds with every arm."]),
        ]
    )


def _lines(results: pd.DataFrame, factor: str) -> list[str]:
    """A list item for each dataset with enough seeds for a test."""
    lines = []
    for dataset in tidy.datasets_of(results, factor):
        rows = ranked_rows(results, factor, dataset)
        areas = statistics.areas(rows)
        if len(areas) >= FEWEST_SEEDS:
            start = "" if factor == "ranking" else ", a start with few labels"
            lines.append(
                f"- **{dataset_title(dataset)}{start}**, {rows['labels'].min():,} to "
                f"{rows['labels'].max():,} labels, {paired_seeds(len(areas))}: "
                f"{arm_comparison.sentence(areas, dataset)}."
            )
    return lines


def best_recipe(results: pd.DataFrame, dataset: str) -> str:
    """The largest mean accuracy of a recipe at the last label count that all have, with that count.

    On random labels. Empty if no recipe was tried on the dataset.
    """
    if results.empty:
        return ""
    curves = curves_of(results[results["dataset"] == dataset]).values()
    if not curves or not (shared := set.intersection(*(set(curve.columns) for curve in curves))):
        return ""
    labels = max(shared)
    return f"{max(curve[labels].mean() for curve in curves):.2f} % with {labels:,}"
