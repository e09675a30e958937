"""Choice of the linear head's recipe, on held-out images alone: ``python -m alutils head``.

What is trained on an encoder's features is one linear layer (``learning.head``). Every candidate
has a one-cycle rate and Adam, with decoupled weight decay or none; it is tried on random labels at
the label counts of both parts of the ranking (``pretrained.plan``), with their batch sizes.
The rule, fixed beforehand, for each part: the cheapest candidate (in epochs) whose mean held-out
accuracy over datasets and label counts lies within ``TOLERANCE`` of the best one's; between equal
costs the more accurate one.

Nothing is judged on the test set, and the seeds are not those of kept runs. The candidates
were chosen after a look at held-out accuracies on CIFAR-10 with the same seeds.
"""

from itertools import product

import pandas as pd

from alutils.protocol.datasets import dataset_title
from alutils.reporting.markdown import markdown_table
from alutils.running import run
from alutils.studies.choices.documents import write
from alutils.studies.training_size.plan import TrainingSizeStudy

PROFILE = "head"
ENCODER = "efficientnet-lite0"
DATASETS = ("cifar10", "mnist", "fashion-mnist")
EPOCHS, RATES, DECAYS = (10, 20), (3e-3, 1e-2, 3e-2), (0.0, 1.0)
CANDIDATES = list(product(EPOCHS, RATES, DECAYS))
RANGES = {"few": (10, (10, 20, 50, 100, 200)), "many": (50, (200, 500, 1000, 2000))}
"""Batch size and label counts, by part of the ranking."""
TOLERANCE = 0.3
"""Percentage points that a cheaper recipe may lose."""


def candidate_study(part: str, epochs: int, peak: float, decay: float) -> TrainingSizeStudy:
    """The study that judges one candidate in one part, on all datasets, with three seeds."""
    batch_size, label_counts = RANGES[part]
    return TrainingSizeStudy(
        profile=PROFILE,
        datasets=DATASETS,
        seeds=(100, 101, 102),
        encoder=ENCODER,
        label_counts=label_counts,
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=peak,
        weight_decay=decay,
        schedule="one-cycle",
        heldout_every=epochs,
        test=False,
        reported="heldout-last",
    )


def studies() -> list[TrainingSizeStudy]:
    """The studies of all candidates in both parts."""
    return [candidate_study(part, *candidate) for part in RANGES for candidate in CANDIDATES]


def compare() -> pd.DataFrame:
    """Held-out accuracy (%): one row per part, candidate, dataset, label count and seed."""
    rows = []
    for part, (epochs, peak, decay) in product(RANGES, CANDIDATES):
        results = run.run(candidate_study(part, epochs, peak, decay))
        rows.append(results.assign(part=part, peak=peak, decay=decay))
    columns = ["part", "epochs", "peak", "decay", "dataset", "labels", "seed", "accuracy"]
    return pd.concat(rows)[columns]


def choose(results: pd.DataFrame) -> tuple[int, float, float]:
    """The (epochs, peak, decay) that the rule picks, from the rows of one part."""
    means = results.groupby(["epochs", "peak", "decay"])["accuracy"].mean()
    near = means[means >= means.max() - TOLERANCE]
    epochs = near.index.get_level_values("epochs")
    return near[epochs == epochs.min()].idxmax()


def document(results: pd.DataFrame) -> str:
    """The comparison and the choices as Markdown."""
    seeds = ", ".join(str(seed) for seed in sorted(results["seed"].unique()))
    parts = [_part(part, rows) for part, rows in results.groupby("part", sort=False)]
    return (
        "# The recipe of the linear head\n\n"
        "One linear layer on the frozen features of EfficientNet-Lite0, with dropout 0.5 before "
        "it, trained with Adam, a one-cycle schedule and decoupled weight decay (AdamW). All "
        "numbers are accuracies (%) on the held-out 10 %, last epoch, on random labels, mean over "
        f"the seeds {seeds}. Nothing was evaluated on the test set; the candidates were decided on "
        "after a look at held-out accuracies on CIFAR-10 with the same seeds.\n\n"
        "Rule, fixed before the runs, for each part: the cheapest candidate within "
        f"{TOLERANCE:g} points of the best, by the mean over datasets and label counts; at equal "
        "cost, the more accurate one.\n\n"
        "Features are standardised column by column over the training set. For images unlike "
        "those that the encoder was trained on, such as MNIST's, many columns are almost always "
        "zero and have a small spread; after division by it, the few images in which they are not "
        "zero lie far from all others. How many there are, and what that does to CoreSet, is in "
        "[strategies.md](strategies.md#coreset-on-frozen-features).\n\n"
        f"{''.join(parts)}"
        "Made by `.venv/bin/python -m alutils head` from the records in `outputs/head/runs/`.\n"
    )


def _part(part: str, results: pd.DataFrame) -> str:
    """One part's table, with one row per candidate, and its choice."""
    batch_size, counts = RANGES[part]
    index = ["epochs", "peak", "decay"]
    table = results.pivot_table(index=index, columns="dataset", values="accuracy", sort=False)
    table["mean"] = table.mean(axis=1)
    titles = [*(dataset_title(name) for name in table.columns[:-1]), "mean"]
    candidates = [
        [*(f"{value:g}" for value in candidate), *(f"{value:.2f}" for value in row)]
        for candidate, row in table.iterrows()
    ]
    epochs, peak, decay = choose(results)
    rows = markdown_table(["epochs", "peak rate", "weight decay", *titles], candidates)
    tried = {"epochs": (epochs, EPOCHS), "rate": (peak, RATES), "decay": (decay, DECAYS)}
    ends = [name for name, (value, of) in tried.items() if value in (of[0], of[-1])]
    edge = f" At an end of the range tried: {', '.join(ends)}." if ends else ""
    return (
        f"## {counts[0]} to {counts[-1]:,} labels\n\n"
        f"Mean over {', '.join(f'{n:,}' for n in counts)} labels; {batch_size} images per step.\n\n"
        f"{rows}\n\n"
        f"**Chosen: {epochs} epochs, peak rate {peak:g}, weight decay {decay:g}.**{edge}\n\n"
    )


def main() -> None:
    """Run what is missing, and write the document."""
    write("head", document(compare()))
