"""How many more labels, and when to stop: forecasts and stopping rules replayed on the runs."""

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, replay
from alutils.reporting.prose import count, join
from alutils.reporting.statistics import LEVEL
from alutils.studies.pretrained.plan import PARTS

AHEAD = {"the next round": (1, 1), "2 or 3 rounds ahead": (2, 3), "further": (4, 10**9)}
"""Groups of forecasts by how many rounds after the last known one the target is reached."""
CLOSE = 0.05
"""By how much coverage may fall short of the interval's level and still be called as stated."""
SEED = 0
"""Of the resamples; the same table gives the same answers."""


def judged(results: pd.DataFrame, arms: tuple[str, ...]) -> pd.DataFrame:
    """The rows of both parts that are replayed: some arms, classes as they are."""
    rows = results[results["factor"].isin(PARTS) & (results["level"] == 1.0)]
    return rows[rows["arm"].isin(arms)]


def forecasts(results: pd.DataFrame) -> pd.DataFrame:
    """Every forecast that would have been given, with ``part`` and how far ahead it looked."""
    parts = [
        replay.replay_forecasts(rows, np.random.default_rng(SEED)).assign(part=part)
        for part, rows in results.groupby("factor", sort=False)
    ]
    replayed = pd.concat(parts) if parts else pd.DataFrame(columns=[*replay.FORECASTS, "part"])
    names = [
        next(name for name, (low, high) in AHEAD.items() if low <= ahead <= high)
        for ahead in replayed["ahead"]
    ]
    return replayed.assign(reach=pd.Categorical(names, list(AHEAD), ordered=True))


def coverage_table(replayed: pd.DataFrame) -> HTML | Markdown:
    """Share of forecasts given, and of their intervals that hold the truth, by how far ahead."""
    if replayed.empty:
        return Markdown("No run is long enough for a forecast yet.")
    groups = replay.coverage(replayed, ["part", "dataset", "reach"]).dropna(subset="asked")
    rows = [
        {
            "labels": part,
            "dataset": dataset_title(dataset),
            "target reached": reach,
            "asked": f"{row.asked:,.0f}",
            "given (%)": f"{100 * row.told:.0f}",
            "interval holds the truth (%)": _share(row.covered),
            "truth above it (%)": _share(row.above),
            "truth below it (%)": _share(row.below),
            "median error (share of the truth)": _number(row.error),
            "median width (share of the truth)": _number(row.width),
        }
        for (part, dataset, reach), row in groups.iterrows()
        if row.asked
    ]
    return prose.table(pd.DataFrame(rows))


def coverage_sentence(replayed: pd.DataFrame) -> Markdown:
    """Whether the intervals hold what they say, dataset by dataset."""
    given = replayed[replayed["kind"] == ""]
    if given.empty:
        return Markdown("No forecast could be judged yet.")
    phrases, short = [], []
    for (part, dataset), rows in given.groupby(["part", "dataset"], sort=False):
        covered = rows["covered"].astype(float).mean()
        name = f"{dataset_title(dataset)} with {part} labels"
        phrases.append(f"{100 * covered:.0f} % on {name}")
        short += [name] if covered < LEVEL - CLOSE else []
    advice = (
        f"On {join(short)} they are too narrow, and a forecast there is a guess."
        if short
        else "They hold about what they say."
    )
    return Markdown(
        f"Of {count(len(replayed), 'forecast')} asked for, {len(given):,} were given as a number. "
        f"Their {100 * LEVEL:.0f} % intervals hold the truth in {join(phrases)}. {advice} "
        "Forecasts of one run are not independent of each other, nor are runs of one seed."
    )


def stopping_table(results: pd.DataFrame) -> HTML | Markdown:
    """Where each rule would have stopped, and what that costs in labels or in accuracy."""
    parts = [
        replay.stopping_costs(replay.replay_stopping(rows)).assign(part=part).reset_index()
        for part, rows in results.groupby("factor", sort=False)
    ]
    if not parts or not (costs := pd.concat(parts)).size:
        return Markdown("No run is there to be stopped yet.")
    rows = [
        {
            "labels": row.part,
            "dataset": dataset_title(row.dataset),
            "rule": row.rule,
            "runs": f"{row.curves:,}",
            "stopped (%)": _share(row.stops),
            "too early (%)": _share(row.early),
            "labels wasted": f"{row.wasted:,.0f}",
            "points lost": f"{row.lost:.2f}",
        }
        for row in costs.itertuples()
    ]
    return prose.table(pd.DataFrame(rows))


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.0f}"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
