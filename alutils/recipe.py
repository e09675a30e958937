"""Choice of the reduced recipe, on the held-out split alone: ``python -m alutils.recipe``.

The poster trains 100 epochs at a constant rate. The candidates are one-cycle schedules that cost
a tenth or a fifth of that. The rule, fixed beforehand: the cheapest candidate whose mean held-out
accuracy lies within ``TOLERANCE`` of the best candidate's, on both datasets; between equal costs
the more accurate one over both. The test set is never loaded, and the seeds are not those of kept
runs.
"""

import pandas as pd

from alutils import study
from alutils.claims import MARGIN
from alutils.paths import ROOT
from alutils.plans import TrainingSizeStudy
from alutils.protocol import DATASETS

CANDIDATES = [(10, 1e-3), (10, 2e-3), (20, 2e-3)]
TOLERANCE = MARGIN
"""Percentage points that a cheaper recipe may lose."""


def candidate(epochs: int, peak: float) -> TrainingSizeStudy:
    """The study that judges one candidate on both datasets, three sizes and three seeds."""
    return TrainingSizeStudy(
        profile="recipe",
        seeds=(100, 101, 102),
        label_counts=(540, 1490, 3990),
        epochs=epochs,
        learning_rate=peak,
        schedule="one-cycle",
        heldout_every=epochs,
        test=False,
        reported="heldout-last",
    )


def compare() -> pd.DataFrame:
    """Held-out accuracy (%) of every candidate: a row per dataset, epochs, peak, labels, seed."""
    parts = []
    for epochs, peak in CANDIDATES:
        parts.append(study.run(candidate(epochs, peak)).assign(peak=peak))
    return pd.concat(parts)[["dataset", "epochs", "peak", "labels", "seed", "accuracy"]]


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


def document(results: pd.DataFrame) -> str:
    """The comparison and the choice as Markdown."""
    grid = results.pivot_table(
        index=["epochs", "peak"], columns=["dataset", "labels"], values="accuracy"
    )
    spread = results.pivot_table(
        index=["epochs", "peak"], columns=["dataset", "labels"], values="accuracy", aggfunc="std"
    )
    titles = [f"{DATASETS[dataset].title}, {labels:,}" for dataset, labels in grid.columns]
    lines = [
        "| epochs | peak rate | " + " | ".join(titles) + " |",
        "|---" * (len(titles) + 2) + "|",
    ]
    for (epochs, peak), row in grid.iterrows():
        cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(row, spread.loc[epochs, peak], strict=True)]
        lines.append(f"| {epochs} | {peak:g} | " + " | ".join(cells) + " |")
    epochs, peak = choose(results)
    seeds = ", ".join(str(seed) for seed in sorted(results["seed"].unique()))
    limits = " and ".join(f"{v} points ({DATASETS[k].title})" for k, v in TOLERANCE.items())
    return (
        "# The reduced recipe\n\n"
        "Accuracy (%) on the held-out 10 %, last epoch, mean ± standard deviation over the seeds "
        f"{seeds}; one-cycle rate, batch 64, Adam; columns: dataset and label count. "
        "The test set was not loaded.\n\n" + "\n".join(lines) + "\n\n"
        f"Rule, fixed before the runs: the cheapest candidate within {limits} of the best on "
        "each dataset; between equal costs the more accurate one over both.\n\n"
        f"**Chosen: {epochs} epochs, peak rate {peak:g}.**\n\n"
        f"{_shorter(results)}"
        "Made by `python -m alutils.recipe` from the records in `outputs/recipe/runs/`.\n"
    )


def _shorter(results: pd.DataFrame) -> str:
    """What the quickest candidate loses to the chosen one, where that is another."""
    chosen, short = choose(results), quickest(results)
    if short == chosen:
        return ""
    loss = _means(results).loc[chosen] - _means(results).loc[short]
    told = " and ".join(f"{loss[name]:.2f} points ({DATASETS[name].title})" for name in loss.index)
    return (
        f"The `quick` profile, which must end within minutes, takes the best candidate of "
        f"{short[0]} epochs (peak rate {short[1]:g}) instead: on average {told} below the chosen "
        "one, the same for every arm.\n\n"
    )


if __name__ == "__main__":
    text = document(compare())
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "recipe.md").write_text(text, encoding="utf-8")
    print(text)
