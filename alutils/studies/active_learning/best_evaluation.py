"""The best evaluation of a training on held-out images, compared with its last epoch.

It decides no verdict. It shows how near ours come to the authors' curves by their own rule, and how
many trainings end in a dip (``docs/plan.md``).
"""

import numpy as np
import pandas as pd
from IPython.display import Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.reporting import figures
from alutils.reporting.prose import count, join, points
from alutils.reporting.statistics import estimate

DIP = 1
"""A training ends in a dip if it ends more points than this below its best held-out evaluation."""
NEAREST = 0.01
"""Share by which the label counts of a published and of one of our points may differ."""


def dips(trainings: pd.DataFrame) -> int:
    """How many of the trainings (rows) end in a dip."""
    lost = 100 * (trainings["heldout_best"] - trainings["heldout_last"])
    return int((lost > DIP).sum())


def _judged(results: pd.DataFrame) -> bool:
    """Whether held-out images were evaluated during training."""
    return "heldout_best" in results and results["heldout_best"].notna().any()


def _dips_in_words(trainings: pd.DataFrame) -> str:
    """How many of the trainings (rows) end in a dip, in words."""
    low, number = dips(trainings), len(trainings)
    share = f" ({100 * low / number:.0f} %)" if number > 1 else ""
    return (
        f"{low:,} of {count(number, 'training')}{share} end more than {count(DIP, 'point')} below "
        "their best evaluation on held-out images"
    )


def on_sizes(results: pd.DataFrame) -> Markdown:
    """As ``sentences``, but for Figure 2 and by dataset; empty without held-out evaluations.

    The comparison with the published curve is over the sizes that both have.
    """
    lines = []
    for dataset, ours in results.groupby("dataset", sort=False) if _judged(results) else ():
        theirs = figures.published_sizes(ours).set_index("labels")["accuracy"]
        apart = 100 * ours["heldout_best"] - ours["labels"].map(theirs)
        line = f"- **{dataset_title(dataset)}**: {_dips_in_words(ours)}"
        if apart.notna().any():
            mean = estimate(apart.groupby(ours["seed"]).mean())
            sizes = count(ours.loc[apart.notna(), "labels"].nunique(), "size")
            line += f"; best minus published evaluation, mean over {sizes}: {points(mean)}"
        lines.append(f"{line}.")
    return Markdown("\n".join(lines))


def sentences(results: pd.DataFrame) -> Markdown:
    """How many trainings end in a dip, and how far every arm lies from its published curve."""
    if not _judged(results):
        return Markdown(
            "No training was evaluated on held-out images along the way, as the authors' were: set "
            "`heldout_every`."
        )
    first = results["labels"].eq(results["labels"].min())
    trainings = results[~(first & results.duplicated(["seed", "labels"]))]  # arms share the first
    text = f"{_dips_in_words(trainings)}."
    if by_arm := beside_published(results):
        phrases = [f"{arm_title(arm)} {points(estimate(apart))}" for arm, apart in by_arm.items()]
        text += (
            " That best, which is the authors' own rule, minus their published curve, mean over "
            f"the label counts that both have on {dataset_title(results['dataset'].iloc[0])}: "
            f"{join(phrases)}. Theirs is a single run of unknown spread."
        )
    return Markdown(text)


def beside_published(results: pd.DataFrame) -> dict[str, pd.Series]:
    """An arm's best held-out evaluation minus the published curve, by seed, in points.

    The mean over our label counts that are near a published one, for one dataset; random, for which
    they published a single point, is left out.
    """
    theirs = figures.published_arms(results)
    apart = {}
    for arm, curve in theirs[theirs["arm"] != "random"].groupby("arm", sort=False):
        ours = results[results["arm"] == arm]
        nearest = np.abs(ours["labels"].to_numpy()[:, None] / curve["labels"].to_numpy()[None] - 1)
        published = curve["accuracy"].to_numpy()[nearest.argmin(1)]
        difference = (100 * ours["heldout_best"] - published)[nearest.min(1) <= NEAREST]
        if len(difference):
            apart[str(arm)] = difference.groupby(ours["seed"]).mean()
    return apart
