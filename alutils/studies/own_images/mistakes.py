"""Accuracy of every class at the end, and which classes are confused with which."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.reporting import prose
from alutils.reporting.prose import percent
from alutils.reporting.statistics import estimate
from alutils.studies.active_learning.diagnosed_rounds import DiagnosedRound, by_arm, needs

WORST = 3
"""Maximum number of pairs of classes listed per arm."""


@needs("closing")
def table(diagnosed: list[DiagnosedRound], classes: Sequence[str]) -> HTML | Markdown:
    """The mistakes that every arm makes most often at the last round, all seeds together."""
    rows = [
        {
            "arm": arm_title(arm),
            "images of": classes[true],
            "taken for": classes[predicted],
            "how many": f"{number:,} of {of:,}",
        }
        for arm, rounds in by_arm(diagnosed)
        for true, predicted, number, of in worst(rounds)
    ]
    if not rows:
        return Markdown("No image is misclassified at the last round.")
    return prose.table(pd.DataFrame(rows))


@needs("closing")
def by_class(diagnosed: list[DiagnosedRound], classes: Sequence[str]) -> HTML:
    """Accuracy at the last round over images and over classes, and the class with the lowest."""
    rows = []
    for arm, rounds in by_arm(diagnosed):
        counts_S_C_C = np.array([each.entries["closing"]["confusion"] for each in rounds])
        right_S_C = 100 * counts_S_C_C.diagonal(axis1=1, axis2=2) / counts_S_C_C.sum(axis=2)
        images_S = 100 * counts_S_C_C.trace(axis1=1, axis2=2) / counts_S_C_C.sum(axis=(1, 2))
        hardest = int(right_S_C.mean(axis=0).argmin())
        rows.append(
            {
                "arm": arm_title(arm),
                "accuracy (%)": percent(estimate(images_S)),
                "mean over the classes (%)": percent(estimate(right_S_C.mean(axis=1))),
                "lowest of a class (%)": percent(estimate(right_S_C[:, hardest])),
                "which class": classes[hardest],
            }
        )
    return prose.table(pd.DataFrame(rows))


def worst(rounds: Sequence[DiagnosedRound]) -> list[tuple[int, int, int, int]]:
    """The most frequent confusions: true class, predicted class, number, images of the true class.

    Over all rounds together. Of equal numbers, the larger share of its true class comes first, then
    the first true class.
    """
    counts_C_C = np.sum([each.entries["closing"]["confusion"] for each in rounds], axis=0)
    of_C = counts_C_C.sum(axis=1)
    errors_C_C = np.where(np.eye(len(of_C), dtype=bool), 0, counts_C_C)
    pairs = zip(*errors_C_C.nonzero(), strict=True)
    every = [
        (int(true), int(predicted), int(errors_C_C[true, predicted]), int(of_C[true]))
        for true, predicted in pairs
    ]
    return sorted(every, key=lambda pair: (-pair[2], pair[3], pair[0]))[:WORST]
