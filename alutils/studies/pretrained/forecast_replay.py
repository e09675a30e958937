"""How many more labels, and when to stop: forecasts and stopping rules replayed on the runs."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose, replay
from alutils.reporting.prose import count, join
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL
from alutils.studies.pretrained.plan import PARTS

AHEAD = {"in the next round": 1, "2 or 3 rounds ahead": 3, "4 or more rounds ahead": np.inf}
"""Groups of forecasts, up to how many rounds after the last known one the target is reached."""
CLOSE = 0.05
"""By how much coverage may fall short of the interval's level without being reported."""
WIDE = (1 + LEVEL) / 2
"""Coverage from which intervals are called too wide: at most half of the misses allowed."""
SEED = 0
"""Seed of the resamples; the same table gives the same answers."""


def replayable_rows(results: pd.DataFrame, arms: tuple[str, ...]) -> pd.DataFrame:
    """The rows of both parts that are replayed: of some arms, with classes not made rare."""
    rows = results[results["factor"].isin(PARTS) & (results["level"] == 1.0)]
    return rows[rows["arm"].isin(arms)]


def forecasts(results: pd.DataFrame, images: Callable[[str], int]) -> pd.DataFrame:
    """Every forecast that would have been given, with ``part`` and how far ahead it looked.

    ``images`` gives the number of images that a dataset's accuracy is measured on (a study's
    ``measured_on``). A part is a ``factor`` of the results; in a study without parts it is empty.
    """
    replayed = _by_part(
        results, lambda rows: replay.replay_forecasts(rows, np.random.default_rng(SEED), images)
    )
    ahead = replayed["ahead"].astype(float)
    return replayed.assign(reach=pd.cut(ahead, [0, *AHEAD.values()], labels=list(AHEAD)))


def stops(results: pd.DataFrame, images: Callable[[str], int]) -> pd.DataFrame:
    """Where each rule would have stopped each run, with ``part`` as in ``forecasts``."""
    return _by_part(results, lambda rows: replay.replay_stopping(rows, images))


def _by_part(
    results: pd.DataFrame, replayed: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """What is replayed of each part of the ranking, with ``part``."""
    parts = [
        replayed(rows).assign(part=part) for part, rows in results.groupby("factor", sort=False)
    ]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled) if filled else replayed(results.iloc[:0]).assign(part="")


def coverage_table(replayed: pd.DataFrame) -> HTML | Markdown:
    """Share of forecasts given, and of their intervals that hold the truth, by how far ahead."""
    if replayed.empty:
        return Markdown("No run is long enough for a forecast.")
    groups = replay.coverage(replayed, ["part", "dataset", "reach"])
    rows = [
        {
            **_labels(part),
            "dataset": dataset_title(dataset),
            "target reached": reach,
            "asked": f"{row.asked:,.0f}",
            "given (%)": _share(row.told),
            "interval holds the truth (%)": _share(row.covered),
            "truth above it (%)": _share(row.above),
            "truth below it (%)": _share(row.below),
            "median error (share of the truth)": _number(row.error),
            "median width (share of the truth)": _number(row.width),
        }
        for (part, dataset, reach), row in groups.iterrows()
    ]
    return prose.table(pd.DataFrame(rows))


def coverage_sentence(replayed: pd.DataFrame, interim: str = "") -> Markdown:
    """Whether the intervals have their nominal coverage, by dataset and part."""
    if replayed.empty:
        return prose.paragraphs("No run is long enough for a forecast.", interim)
    given, asked = replayed[replayed["kind"] == ""], count(len(replayed), "requested forecast")
    if given.empty:
        return prose.paragraphs(f"Of {asked}, none could be given as a number.", interim)
    held: dict[tuple[str, str], float] = {}
    phrases = []
    for (part, dataset), row in replay.coverage(replayed, ["part", "dataset"]).iterrows():
        if row.told:
            held[part, dataset] = row.covered
            phrases.append(
                f"{100 * row.covered:.0f} % {_where(part, dataset)} (median width "
                f"{row.width:.1f} times the truth; {100 * row.told:.0f} % of those requested were "
                "given)"
            )
    seeds, runs = replayed["seed"].nunique(), replayed["record"].nunique()
    verdict = _verdict(held) if seeds >= FEWEST_SEEDS else f"A verdict needs {FEWEST_SEEDS} seeds."
    return prose.paragraphs(
        f"Of {asked}, {len(given):,} {'was' if len(given) == 1 else 'were'} given as a number, on "
        f"{count(runs, 'run')} of {count(seeds, 'seed')}. Their {100 * LEVEL:.0f} % intervals "
        f"contain the truth this often: {join(phrases)}. {verdict} Forecasts of one run are not "
        "independent of each other, nor are runs of one seed.",
        interim,
    )


def _verdict(held: dict[tuple[str, str], float]) -> str:
    """Where intervals fall short, and where they are too wide, from coverage by part, dataset."""
    short = [where for where, share in held.items() if share < LEVEL - CLOSE]
    wide = [where for where, share in held.items() if share >= WIDE]
    verdict = f"Coverage is nowhere more than {100 * CLOSE:.0f} points short."
    if short:
        verdict = f"Coverage falls short {_places(short, list(held))}."
    if wide:
        needs = f"wider than {100 * LEVEL:.0f} % requires"
        verdict += f" Intervals are {needs} {_places(wide, list(held))}."
    return verdict


def _places(some: list[tuple[str, str]], every: list[tuple[str, str]]) -> str:
    """Some parts and datasets in words; a part alone if it has several datasets, all among them."""
    words = []
    for part in dict.fromkeys(part for part, _ in some):
        here, whole = ([name for p, name in places if p == part] for places in (some, every))
        alone = bool(part) and here == whole and len(here) > 1
        words += [f"with {part} labels"] if alone else [_where(part, name) for name in here]
    return join(words)


def _where(part: str, dataset: str) -> str:
    """A part of the ranking on a dataset, in words."""
    return f"on {dataset_title(dataset)}{part and f' with {part} labels'}"


def stopping_table(replayed: pd.DataFrame) -> HTML | Markdown:
    """Where each rule would have stopped, and what that costs in labels or in accuracy.

    Only rules that stop some run are shown. The cost of a rule that stops none of a dataset's runs
    is left empty: it would only reflect where these end.
    """
    if replayed.empty:
        return Markdown("There is no run to be stopped.")
    stopping = replayed.loc[replayed["stopped"].notna(), "rule"].unique()
    if not len(stopping):
        return Markdown("No rule stops a run.")
    replayed = replayed[replayed["rule"].isin(stopping)]
    costs = replay.stopping_costs(replayed, ["part", "dataset"])
    rows = [
        {
            **_labels(part),
            "dataset": dataset_title(dataset),
            "rule": rule,
            "runs": f"{row.curves:,.0f}",
            "stopped (%)": _share(row.stops),
            "too early (%)": _share(row.early),
            "labels wasted": f"{row.wasted:,.0f}" if row.stops else "",
            "points lost": f"{row.lost:.2f}" if row.stops else "",
        }
        for (part, dataset, rule), row in costs.iterrows()
    ]
    return prose.table(pd.DataFrame(rows))


def stopping_sentence(replayed: pd.DataFrame, interim: str = "") -> Markdown:
    """Which rules stop which share of the runs, and which stop none, and how near these came."""
    if replayed.empty:
        return prose.paragraphs("There is no run to be stopped.", interim)
    shares = replayed["stopped"].notna().groupby(replayed["rule"], sort=False).mean()
    runs = count(replayed["record"].nunique(), "run")
    parts = [f"{rule} stops {100 * share:.0f} %" for rule, share in shares.items() if share]
    if never := [rule for rule, share in shares.items() if not share]:
        stop = "stops" if len(never) == 1 else "stop"
        parts.append(f"{join([_nearest(replayed, rule) for rule in never])} {stop} none")
    return prose.paragraphs(
        f"Of {runs}, {'; '.join(parts)}. The cost of a rule says little if it seldom stops a run: "
        "a run that it doesn't stop counts as stopped at its end.",
        interim,
    )


def _nearest(replayed: pd.DataFrame, name: str) -> str:
    """A rule with the value that came nearest to its threshold, if there is one."""
    rule, values = replay.RULES[name], replayed.loc[replayed["rule"] == name, "nearest"].dropna()
    return f"{name} ({rule.in_words.format(rule.nearest(values))})" if len(values) else name


def _labels(part: str) -> dict[str, str]:
    """The column of a table that names the part, if there are parts."""
    return {"labels": part} if part else {}


def _share(value: float) -> str:
    """A share in percent; empty if no forecast was given."""
    return "" if np.isnan(value) else f"{100 * value:.0f}"


def _number(value: float) -> str:
    """Two decimals; empty if no forecast was given."""
    return "" if np.isnan(value) else f"{value:.2f}"
