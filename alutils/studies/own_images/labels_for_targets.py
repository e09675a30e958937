"""How many labels a target accuracy needs: read off the curves, or forecast beyond their end."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from alutils.protocol.arms import arm_title
from alutils.reporting import prose, statistics
from alutils.reporting.forecast import KINDS, NoForecast, forecast

SEED = 0
"""Seed of the resamples; the same table gives the same answers."""


def table(results: pd.DataFrame, targets: Sequence[float], images: int) -> HTML:
    """Labels that every arm needs for each target, on its mean curve over seeds.

    ``images`` is the number of images that accuracy is measured on.
    """
    curves = statistics.strategies(results).groupby("arm", sort=False)
    means = {arm: curve.groupby("labels")["accuracy"].mean() for arm, curve in curves}
    rows = [
        {"accuracy wanted (%)": f"{target:g}"}
        | {arm_title(arm): needed(mean, target, images) for arm, mean in means.items()}
        for target in targets
    ]
    return prose.table(pd.DataFrame(rows))


def needed(mean: pd.Series, target: float, images: int) -> str:
    """Labels for a target on a curve of mean accuracies (%) by label count, in words."""
    labels, accuracy = mean.index.to_numpy(), mean.to_numpy(dtype=float)
    reached = statistics.labels_to_reach(labels, accuracy, target)
    if reached == labels[0]:
        return f"{labels[0]:,} or fewer"
    if not np.isnan(reached):
        return f"{np.ceil(reached):,.0f}"
    answer = forecast(labels, accuracy, target, np.random.default_rng(SEED), size=images)
    if isinstance(answer, NoForecast):
        return f"no forecast: {KINDS[answer.kind]}"
    return f"{answer.more:,} more than {labels[-1]:,} ({answer.low:,} to {answer.high:,})"
