"""Choice of the recipes, on the held-out split alone: ``python -m alutils recipe``.

The poster trains 100 epochs at a constant rate. The candidates for the reduced recipe are one-cycle
schedules that cost a tenth or a fifth of that. The rule, fixed beforehand: the cheapest candidate
whose mean held-out accuracy lies within ``TOLERANCE`` of the best candidate's, on both datasets;
between equal costs the more accurate one over both.

The ladder of other recipes has a rung with SGD. Its rate is the one of ``SGD_RATES`` with the
highest mean held-out accuracy on CIFAR-10; a rate at which some training ended in non-finite
numbers is out. The rung after it is trained with the optimiser whose mean is higher.

Nothing is judged on the test set, and the seeds are not those of kept runs. The short list of
candidates came from exploratory runs whose test accuracy was seen.
"""

from contextlib import suppress
from typing import Any

import pandas as pd

from alutils.protocol.datasets import dataset_title
from alutils.reporting.arm_comparison import EQUIVALENCE_MARGIN
from alutils.reporting.markdown import markdown_table
from alutils.running import run
from alutils.running.engine import RunFailed
from alutils.studies.beyond.plan import CROPS, LADDER
from alutils.studies.choices.documents import write
from alutils.studies.training_size.plan import TrainingSizeStudy

CANDIDATES = [(10, 1e-3), (10, 2e-3), (20, 2e-3)]
TOLERANCE = EQUIVALENCE_MARGIN
"""Percentage points that a cheaper recipe may lose."""
SGD_RATES = (0.005, 0.01, 0.02, 0.05)
"""The lowest was added because 0.01, the lowest tried before, was the best."""
OPTIMISERS = {"adam": "Adam, one-cycle", "sgd": "SGD, cosine"}
HELD_OUT = {
    "profile": "recipe",
    "seeds": (100, 101, 102),
    "test": False,
    "reported": "heldout-last",
}
"""Parameters that all of these studies share."""


def candidate_study(epochs: int, peak: float) -> TrainingSizeStudy:
    """The study that judges one candidate on both datasets, three sizes and three seeds."""
    return TrainingSizeStudy(
        label_counts=(540, 1490, 3990),
        epochs=epochs,
        learning_rate=peak,
        schedule="one-cycle",
        heldout_every=epochs,
        **HELD_OUT,
    )


def candidate_studies() -> list[TrainingSizeStudy]:
    """The studies of all candidates for the reduced recipe."""
    return [candidate_study(epochs, peak) for epochs, peak in CANDIDATES]


def compare() -> pd.DataFrame:
    """Held-out accuracy (%) of every candidate: a row per dataset, epochs, peak, labels, seed."""
    parts = []
    for study in candidate_studies():
        parts.append(run.run(study).assign(peak=study.learning_rate))
    return pd.concat(parts)[["dataset", "epochs", "peak", "labels", "seed", "accuracy"]]


def rung_study(**changes: Any) -> TrainingSizeStudy:
    """The study that judges longer training with augmentation, and with ``changes`` to it."""
    recipe = {"epochs": 30, "learning_rate": 2e-3, "schedule": "one-cycle"}
    recipe |= CROPS | changes
    return TrainingSizeStudy(
        datasets=("cifar10",), label_counts=(990, 2490), heldout_every=30, **recipe, **HELD_OUT
    )


def rung_studies() -> list[TrainingSizeStudy]:
    """The studies of the ladder's rung with SGD: Adam before it, and SGD at every rate."""
    return [rung_study()] + [
        rung_study(**LADDER["SGD"] | {"learning_rate": rate}) for rate in SGD_RATES
    ]


def studies() -> list[TrainingSizeStudy]:
    """All studies by which a recipe was chosen."""
    return candidate_studies() + rung_studies()


def compare_rungs() -> pd.DataFrame:
    """Held-out accuracy (%) by optimiser, rate, labels and seed: Adam, and SGD at every rate."""
    parts = []
    for study in rung_studies():
        with suppress(RunFailed):  # no training at this rate finished: it is out
            parts.append(run.run(study).assign(optimiser=study.optimiser, rate=study.learning_rate))
    return pd.concat(parts)[["optimiser", "rate", "labels", "seed", "accuracy"]]


def choose_rate(rungs: pd.DataFrame) -> float:
    """The rate of SGD with the highest mean accuracy, of those with every size and seed."""
    sgd = rungs[rungs["optimiser"] == "sgd"]
    by_run = sgd.pivot(index=["labels", "seed"], columns="rate", values="accuracy")
    return by_run.dropna(axis=1).mean().idxmax()


def choose_optimiser(rungs: pd.DataFrame) -> str:
    """Adam, or SGD if its mean at the chosen rate is higher."""
    means = rungs.groupby(["optimiser", "rate"])["accuracy"].mean()
    return "sgd" if means["sgd", choose_rate(rungs)] > means["adam"].max() else "adam"


def choose(results: pd.DataFrame) -> tuple[int, float]:
    """The (epochs, peak) that the rule above picks."""
    means = _means(results)
    return _best_of_cheapest(means[(means.max() - means).le(pd.Series(TOLERANCE)).all(axis=1)])


def quickest(results: pd.DataFrame) -> tuple[int, float]:
    """The best of the cheapest candidates, within tolerance or not: the one for short runs."""
    return _best_of_cheapest(_means(results))


def _means(results: pd.DataFrame) -> pd.DataFrame:
    return results.pivot_table(index=["epochs", "peak"], columns="dataset", values="accuracy")


def _best_of_cheapest(means: pd.DataFrame) -> tuple[int, float]:
    epochs = means.index.get_level_values("epochs")
    return means[epochs == epochs.min()].mean(axis=1).idxmax()


def document(results: pd.DataFrame, rungs: pd.DataFrame) -> str:
    """The comparisons and the choices as Markdown."""
    by_data = results.sort_values(["dataset", "labels"])
    sizes = by_data["labels"].map(", {:,}".format)
    by_data["column"] = by_data["dataset"].map(dataset_title) + sizes
    epochs, peak = choose(results)
    rate = choose_rate(rungs)
    edge = " an end of the range tried," if rate in (SGD_RATES[0], SGD_RATES[-1]) else ""
    after = OPTIMISERS[choose_optimiser(rungs)].partition(",")[0]
    limits = " and ".join(f"{v} points ({dataset_title(k)})" for k, v in TOLERANCE.items())
    by_labels = rungs.sort_values("labels")
    by_labels["column"] = by_labels["labels"].map("{:,} labels".format)
    by_labels["optimiser"] = by_labels["optimiser"].map(OPTIMISERS)
    return (
        "# The recipes\n\n"
        "All numbers are accuracies (%) on the held-out 10 %, last epoch, mean ± standard "
        f"deviation over the seeds {_seeds(results)}; batch size 64. Nothing was evaluated on the "
        "test set here, but the candidates had been decided on after a look at short runs, "
        "including their test accuracy.\n\n"
        "## The reduced recipe\n\n"
        "Adam with a one-cycle schedule; columns: dataset and label count.\n\n"
        f"{_grid(by_data, ['epochs', 'peak'], ['epochs', 'peak rate'])}\n\n"
        f"Rule, fixed before the runs: the cheapest candidate within {limits} of the best on "
        "each dataset; at equal cost, the more accurate one over both.\n\n"
        f"**Chosen: {epochs} epochs, peak rate {peak:g}.**\n\n"
        f"{_shorter(results)}"
        "## SGD on the ladder of other recipes\n\n"
        "30 epochs with crops and flips on CIFAR-10: with Adam as before, and with SGD at several "
        "learning rates and weight decay 0.0005.\n\n"
        f"{_grid(by_labels, ['optimiser', 'rate'], ['optimiser', 'rate'])}\n\n"
        "Rule, fixed before the runs: the rate with the highest mean accuracy over both sizes. The "
        f"lowest, {SGD_RATES[0]:g}, was added when the lowest rate tried so far was the best. The "
        "next rung, the stem, uses the optimiser with the higher mean; that was decided once the "
        "first of these numbers were known.\n\n"
        f"**Chosen: rate {rate:g} for SGD,{edge} and {after} for the stem.**\n\n"
        "Made by `.venv/bin/python -m alutils recipe` from the records in `outputs/recipe/runs/`.\n"
    )


def _grid(rows: pd.DataFrame, index: list[str], names: list[str]) -> str:
    """Mean and standard deviation over seeds: one row per candidate, columns as they appear."""
    spread = rows.groupby([*index, "column"])["accuracy"].agg(["mean", "std"])
    texts = spread.apply(lambda row: f"{row['mean']:.2f} ± {row['std']:.2f}", axis=1)
    wide = texts.unstack("column")[list(dict.fromkeys(rows["column"]))]
    rows = ([str(first), f"{second:g}", *cells] for (first, second), cells in wide.iterrows())
    return markdown_table([*names, *wide.columns], rows)


def _seeds(results: pd.DataFrame) -> str:
    return ", ".join(str(seed) for seed in sorted(results["seed"].unique()))


def _shorter(results: pd.DataFrame) -> str:
    """What the quickest candidate loses to the chosen one, if they differ."""
    chosen, short = choose(results), quickest(results)
    if short == chosen:
        return ""
    loss = _means(results).loc[chosen] - _means(results).loc[short]
    losses = " and ".join(f"{loss[name]:.2f} points ({dataset_title(name)})" for name in loss.index)
    return (
        f"The `quick` profile, which must end within minutes, uses the best candidate with "
        f"{short[0]} epochs (peak rate {short[1]:g}) instead: on average {losses} below the chosen "
        "one, for every arm alike.\n\n"
    )


def main() -> None:
    """Run what is missing, and write the document."""
    write("recipe", document(compare(), compare_rungs()))
