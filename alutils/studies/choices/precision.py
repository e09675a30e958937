"""Whether bf16 trains as well as fp32, on held-out data: ``python -m alutils precision``.

Two one-sided tests per dataset: paired by seed, the difference is averaged over the sizes, and its
90 % t interval must lie within ``EQUIVALENCE_MARGIN``. The margins and sizes were fixed before the
runs. Nothing is judged on the test set, and the seeds are not those of kept runs.
"""

import pandas as pd

from alutils.protocol.datasets import dataset_title
from alutils.reporting.arm_comparison import EQUIVALENCE_MARGIN
from alutils.reporting.markdown import markdown_table
from alutils.reporting.statistics import Estimate, estimate
from alutils.running import run
from alutils.studies.choices.documents import write
from alutils.studies.training_size.plan import TrainingSizeStudy

EQUIVALENCE_LEVEL = 0.90
"""Level of the interval that stands for two one-sided tests at 5 %."""


def study_at(precision: str) -> TrainingSizeStudy:
    """The reduced recipe at one precision, on both datasets, three sizes and five seeds."""
    return TrainingSizeStudy(
        profile="precision",
        seeds=(100, 101, 102, 103, 104),
        label_counts=(540, 1540, 5490),
        epochs=20,
        learning_rate=2e-3,
        schedule="one-cycle",
        precision=precision,
        heldout_every=20,
        test=False,
        reported="heldout-last",
    )


def studies() -> list[TrainingSizeStudy]:
    """The studies that are compared."""
    return [study_at(name) for name in ("fp32", "bf16")]


def compare() -> pd.DataFrame:
    """Held-out accuracy (%) by dataset, labels and seed (rows) and precision (columns)."""
    parts = [run.run(study).assign(precision=study.precision) for study in studies()]
    return pd.concat(parts).pivot_table(
        index=["dataset", "labels", "seed"], columns="precision", values="accuracy"
    )


def differences(accuracy: pd.DataFrame) -> dict[tuple[str, int | None], Estimate]:
    """bf16 minus fp32 in points, by dataset and size; under size None, pooled over the sizes."""
    gain = accuracy["bf16"] - accuracy["fp32"]
    by_size: dict[tuple[str, int | None], Estimate] = {}
    for dataset, of_dataset in gain.groupby("dataset", sort=False):
        for labels, of_size in of_dataset.groupby("labels"):
            by_size[dataset, labels] = estimate(of_size, EQUIVALENCE_LEVEL)
        by_size[dataset, None] = estimate(of_dataset.groupby("seed").mean(), EQUIVALENCE_LEVEL)
    return by_size


def equivalent(difference: Estimate, dataset: str) -> bool:
    """Whether the whole interval lies within the dataset's margin."""
    return (
        -EQUIVALENCE_MARGIN[dataset] < difference.low
        and difference.high < EQUIVALENCE_MARGIN[dataset]
    )


def verdict(difference: Estimate, dataset: str) -> str:
    """What the interval shows, in a sentence."""
    title, margin = dataset_title(dataset), EQUIVALENCE_MARGIN[dataset]
    if equivalent(difference, dataset):
        return f"{title}: equivalent within {margin} points."
    if difference.low > -margin:
        return (
            f"{title}: not shown to be equivalent within {margin} points; bf16 is not worse by "
            f"that much, and the interval reaches {difference.high:+.2f} in its favour."
        )
    return f"{title}: not shown to be equivalent within {margin} points."


def document(accuracy: pd.DataFrame) -> str:
    """The comparison and its verdicts as Markdown."""
    means = accuracy.groupby(["dataset", "labels"], sort=False).mean()
    rows, verdicts = [], []
    for (dataset, labels), difference in differences(accuracy).items():
        title = dataset_title(dataset)
        interval = f"{difference.low:+.2f} to {difference.high:+.2f}"
        text = f"{difference.mean:+.2f} ({interval})"
        if labels is None:
            rows.append([title, "pooled", "", "", text])
            verdicts.append(verdict(difference, dataset))
        else:
            fp32, bf16 = means.loc[(dataset, labels), ["fp32", "bf16"]]
            rows.append([title, f"{labels:,}", f"{fp32:.2f}", f"{bf16:.2f}", text])
    seeds = ", ".join(str(seed) for seed in sorted(accuracy.index.unique("seed")))
    return (
        "# bf16 against fp32\n\n"
        "Accuracy (%) on the held-out 10 %, last epoch, one-cycle schedule over 20 epochs, mean "
        f"over the seeds {seeds}; the difference is bf16 minus fp32, paired by seed, with its "
        f"{EQUIVALENCE_LEVEL:.0%} t interval. Pooled: the mean over the sizes, by seed. Nothing "
        "was evaluated on the test set.\n\n"
        + markdown_table(["dataset", "labels", "fp32", "bf16", "difference (points)"], rows)
        + "\n\n"
        + " ".join(verdicts)
        + "\n\nMade by `.venv/bin/python -m alutils precision` from the records in "
        "`outputs/precision/runs/`.\n"
    )


def main() -> None:
    """Run what is missing, and write the document."""
    write("precision", document(compare()))
