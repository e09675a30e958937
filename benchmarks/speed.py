"""Figures, tables and sentences of the benchmark's report, from ``results.json``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from alutils.reporting import figures, prose
from alutils.reporting.markdown import markdown_table
from alutils.reporting.style import house_style

TITLES = {"ours": "this study", "plain": "plain loop", "baal": "baal", "skorch": "skorch"}
WORKS = {"train": "training", "score": "scoring the pool", "mc": "MC dropout, 20 passes"}
PANELS = {
    "scoring": "seconds to score",
    "selecting": "seconds to select",
    "memory": "GB beyond images and results",
}


@dataclass(frozen=True)
class Measured:
    """Rows (median, low, high, unit) by key, reasons for missing ones, facts of the machine."""

    rows: pd.DataFrame
    missing: dict[str, str]
    facts: dict[str, Any]

    def span(self, key: str) -> str:
        """Median and range of a row."""
        row = self.rows.loc[key]
        if row["low"] == row["high"]:
            return f"{row['median']:,.2f} (measured once)"
        return f"{row['median']:,.2f} ({row['low']:,.2f} to {row['high']:,.2f})"

    def contenders(self, work: str) -> list[str]:
        """Names of the contenders that did a kind of work."""
        return [name for name in TITLES if f"{work}_{name}" in self.rows.index]


def read(file: str) -> Measured:
    """The results of ``make bench``."""
    whole = json.loads(Path(file).read_text(encoding="utf-8"))
    missing, facts = whole.pop("missing"), whole.pop("provenance")
    return Measured(pd.DataFrame.from_dict(whole, orient="index"), missing, facts)


def answer(measured: Measured) -> Markdown:
    """The ratios in one list."""
    lines = [
        f"- {title}: {measured.span(f'{work}_vs_{name}')} times {TITLES[name]}"
        for work, title in WORKS.items()
        for name in measured.contenders(work)[1:]
    ]
    lines += [
        f"- four strategies end to end: {measured.span('end_to_end_vs_plain')} times plain loop",
        f"- training reaches {measured.span('train_share_of_limit')} of the best matrix product",
        f"- a worker holds {measured.span('worker_memory_gb')} GB at its peak",
        *[f"- {name} could not be measured: {why}" for name, why in measured.missing.items()],
    ]
    lead = "This study's speed on the whole machine, median (lowest to highest):\n\n"
    return Markdown(lead + "\n".join(lines))


@house_style()
def rates(measured: Measured) -> Figure:
    """Images per second of every contender, by kind of work."""
    figure, (panels,) = figures.grid(1, len(WORKS), (9, 3.4))
    for axes, (work, title) in zip(panels, WORKS.items(), strict=True):
        names = measured.contenders(work)
        part = measured.rows.loc[[f"{work}_{name}" for name in names]]
        axes.barh(
            [TITLES[name] for name in names],
            part["median"],
            xerr=[part["median"] - part["low"], part["high"] - part["median"]],
            color=["#0173b2" if name == "ours" else "#949494" for name in names],
        )
        axes.invert_yaxis()
        axes.set(title=title, xlabel="images per second")
        if work == "mc":
            figures.logarithmic(axes)
            axes.set_xlim(left=10)
        sns.despine(ax=axes, left=True)
    return figure


def rates_text(measured: Measured) -> tuple[str, str]:
    """Caption and alternative text of the figure of rates."""
    caption = (
        "Images per second on the whole machine, CIFAR-10; bars: median, whiskers: range. "
        "The MC-dropout axis is logarithmic."
    )
    parts = [
        f"{title}: "
        + ", ".join(
            f"{TITLES[name]} {measured.rows.loc[f'{work}_{name}', 'median']:,.0f}"
            for name in measured.contenders(work)
        )
        for work, title in WORKS.items()
    ]
    return caption, "Bar charts of images per second. " + "; ".join(parts) + "."


def _pools(measured: Measured, what: str) -> pd.DataFrame:
    """A quantity by strategy and number of candidates."""
    rows = measured.rows[measured.rows.index.str.match(rf"pool_\w+_{what}_\d+$")]
    keys = rows.index.str.extract(r"pool_(?P<strategy>\w+)_\w+_(?P<candidates>\d+)$")
    return keys.astype({"candidates": int}).assign(value=rows["median"].to_numpy())


@house_style()
def growth(measured: Measured) -> Figure:
    """Time and memory of scoring and selecting by pool size."""
    figure, (panels,) = figures.grid(1, len(PANELS), (9, 3.4))
    for axes, (what, label) in zip(panels, PANELS.items(), strict=True):
        by_strategy = _pools(measured, what).groupby("strategy")
        for (strategy, part), marker in zip(by_strategy, "osD", strict=False):
            axes.plot(part["candidates"], part["value"], marker=marker, label=strategy)
        axes.set(xlabel="candidates", ylabel=label)
        figures.logarithmic(axes)
        if what != "memory":
            figures.logarithmic(axes, "y")
        sns.despine(ax=axes)
    axes.legend(frameon=False)
    return figure


def growth_text(measured: Measured) -> tuple[str, str]:
    """Caption and alternative text of the figure of growth."""
    caption = (
        "Cost of one round's scoring and selecting by pool size, on one thread. K-means keeps the "
        "features of all candidates; the others go through large pools in chunks."
    )
    parts = []
    for what, label in PANELS.items():
        for strategy, part in _pools(measured, what).groupby("strategy"):
            few, many = part.iloc[0], part.iloc[-1]
            parts.append(
                f"{label}, {strategy}: {few['value']:.2f} at {few['candidates']:,} candidates, "
                f"{many['value']:.2f} at {many['candidates']:,}"
            )
    return caption, "Three panels by number of candidates. " + "; ".join(parts) + "."


def selection(measured: Measured) -> HTML:
    """Seconds and memory of choosing alone, by strategy."""
    rows = _choosing(measured)
    if rows.empty:
        return HTML("<p>Not measured in this run.</p>")
    names = rows["what"].map({"seconds": "seconds", "memory": "GB beyond the features"})
    wide = rows.assign(what=names).pivot(
        index=["candidates", "strategy", "picks"], columns="what", values="median"
    )
    return _shown(wide[["seconds", "GB beyond the features"]].rename_axis(columns=None))


def seconds_to_choose(measured: Measured) -> dict[str, str]:
    """Seconds that a strategy takes to choose, from the fewest to the most candidates, as text."""
    rows = _choosing(measured)
    wide = rows[rows["what"] == "seconds"].pivot(
        index="strategy", columns="candidates", values="median"
    )
    return {
        strategy: " / ".join("" if pd.isna(s) else f"{s:,.2g}" for s in row).rstrip(" /")
        for strategy, row in zip(wide.index, wide.to_numpy(), strict=True)
    }


def _choosing(measured: Measured) -> pd.DataFrame:
    """What choosing alone took: strategy, picks, what, candidates, median."""
    pattern = r"select_(?P<strategy>[\w-]+)_(?P<picks>\d+)_(?P<what>\w+)_(?P<candidates>\d+)$"
    keys = measured.rows.index.to_series().str.extract(pattern).dropna()
    return keys.astype({"candidates": int, "picks": int}).join(measured.rows["median"])


def scaling(measured: Measured) -> HTML:
    """Our training rate by worker processes and by label count."""
    rows = measured.rows[measured.rows.index.str.match(r"train_\d+_(workers|labels)$")]
    names = rows.index.str.removeprefix("train_").str.replace("_", " ")
    return _shown(rows.drop(columns="unit").set_index(names.rename("training, images/s")))


def table(measured: Measured) -> HTML:
    """Every row."""
    return _shown(measured.rows.rename_axis("key"))


def provenance(measured: Measured) -> HTML:
    """The machine and versions that it was measured on."""
    values = {key: str(value) for key, value in measured.facts.items()}
    return _shown(pd.DataFrame({"value": values}).rename_axis("what"))


def _shown(frame: pd.DataFrame) -> HTML:
    rounded = frame.map(lambda value: f"{value:,.2f}" if isinstance(value, float) else value)
    return prose.table(rounded.reset_index())


def markdown(measured: Measured) -> str:
    """The ratios as the table of docs/speed.md."""
    rows = [
        (f"{title}, against {TITLES[name]}", f"{work}_vs_{name}")
        for work, title in WORKS.items()
        for name in measured.contenders(work)[1:]
    ]
    rows += [
        (
            "four strategies end to end on MNIST, against plain loop (summed from its rates)",
            "end_to_end_vs_plain",
        ),
        ("training, as a share of the best matrix product", "train_share_of_limit"),
        ("that product, bfloat16, GFLOP/s", "limit_bf16"),
        ("memory of a worker at its peak, GB", "worker_memory_gb"),
        ("scoring 1 million images against 100 thousand: time", "pool_cost_1m_vs_100k"),
        ("and memory beyond images and results", "pool_memory_1m_vs_100k"),
    ]
    lines = markdown_table(["ratio, median (range)", ""], [(t, measured.span(k)) for t, k in rows])
    facts = measured.facts
    machine = f"{facts['cores']} cores ({facts['processor']}; {facts['cpu_capability']})"
    since = ", ".join(facts["changed_since_commit"])
    changed = f" with uncommitted changes in {since}" if since else ""
    note = f"Measured on {machine}, {facts['date']}, by commit {facts['commit']}{changed}."
    return f"{lines}\n\n{note}"


if __name__ == "__main__":
    print(markdown(read("outputs/bench/results.json")))
