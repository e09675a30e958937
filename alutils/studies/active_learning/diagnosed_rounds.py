"""The rounds of a run that have diagnostics, and how figures pick from them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE
from alutils.protocol.study import Study
from alutils.records.store import Store, finished_records, rounds


@dataclass(frozen=True)
class DiagnosedRound:
    """A round that has diagnostics; ``entries`` is what its record holds about it."""

    arm: str
    seed: int
    number: int
    labels: int
    entries: dict[str, Any]


def read(study: Study, results: pd.DataFrame) -> list[DiagnosedRound]:
    """The rounds with diagnostics of the cells in a results table, in the order of the cells.

    A single baseline is left out, as it has no more than one round.
    """
    shown = set(results["record"])
    return [
        DiagnosedRound(arm, cell.seed, number, entries["labels"], entries)
        for cell, record in finished_records(Store(study.profile), study.cells())
        for entries, (arm, number) in rounds(cell, record)
        if cell.diagnostics and cell.name in shown and arm != BASELINE
    ]


def needs(key: str) -> Callable:
    """Decorate a figure: it gets only the rounds with ``key``, or says that there are none."""

    def decorate(draw: Callable[..., HTML]) -> Callable[..., HTML | Markdown]:
        @wraps(draw)
        def draw_or_say(diagnosed: list[DiagnosedRound], *args: Any) -> HTML | Markdown:
            kept = [each for each in diagnosed if key in each.entries]
            if not kept:
                return Markdown("This run recorded no diagnostics (`diagnostics` turns them on).")
            return draw(kept, *args)

        return draw_or_say

    return decorate


def arms_of(diagnosed: list[DiagnosedRound]) -> list[str]:
    """The arms, in order of appearance."""
    return list(dict.fromkeys(each.arm for each in diagnosed))


def by_arm(
    diagnosed: list[DiagnosedRound], seed: int | None = None
) -> list[tuple[str, list[DiagnosedRound]]]:
    """Arms with their rounds, by seed and number; only those of ``seed`` if it is given."""
    kept = [each for each in diagnosed if seed in (None, each.seed)]
    kept = sorted(kept, key=lambda each: (each.seed, each.number))
    return [(arm, [each for each in kept if each.arm == arm]) for arm in arms_of(diagnosed)]


def spread_out(diagnosed: list[DiagnosedRound], count: int = 3) -> list[DiagnosedRound]:
    """``count`` evenly spaced rounds, including first and last; all if there are fewer."""
    positions = np.linspace(0, len(diagnosed) - 1, min(count, len(diagnosed))).round().astype(int)
    return [diagnosed[position] for position in positions]


def abbreviated(classes: Sequence[str]) -> list[str]:
    """The first three letters of each class name, or of what follows a prefix common to all.

    Numbers from 0 if neither is unique for every class.
    """
    common = len(os.path.commonprefix(list(classes)))
    for start in (0, common):
        short = [name[start : start + 3] for name in classes]
        if all(short) and len(set(short)) == len(classes):
            return short
    return [str(number) for number in range(len(classes))]
