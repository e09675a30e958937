"""Interactive charts for web pages, alongside the static figures needed for print."""

from typing import Any

import altair as alt
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

from alutils.protocol.arms import BASELINE, arm_title
from alutils.reporting import figures, statistics
from alutils.reporting.style import MOST_LINES

LABELS = alt.Tooltip("labels:Q", format=",")
ACCURACY = alt.Tooltip("accuracy:Q", title="accuracy (%)", format=".2f")
CHOSEN = alt.selection_point("arm", fields=["arm"], bind="legend")
FADING = alt.when(CHOSEN).then(alt.value(1)).otherwise(alt.value(0.15))
"""Opacity of an arm's marks: full, or faint while another arm is chosen in the legend."""


def learning_curves(
    results: pd.DataFrame, ceiling: pd.DataFrame = figures.NO_CEILING
) -> dict[str, Any]:
    """Figure 3 or 4 as a Vega-Lite specification: what the static figure shows, and its numbers.

    Hovering a mark shows arm, labels, accuracy (%) and interval; clicking an arm in the legend
    fades the others.
    """
    single = results["arm"] == BASELINE
    ours, baseline = results[~single], results[single]
    theirs = figures.published_arms(results)
    arms = list(dict.fromkeys(ours["arm"]))
    styles = [figures.arm_style(arm, arms) for arm in arms]
    colour = _by_arm(alt.Color, arms, [to_hex(colour) for colour, _ in styles])
    shape = _by_arm(alt.Shape, arms, [_outline(marker) for _, marker in styles])
    means = _means(ours)
    spread = ours[ours["arm"].isin(figures.with_spread(arms))]
    layers = [_band(_means(spread)), _curves(means), _marks(means, shape)]
    if ours["seed"].nunique() <= MOST_LINES:
        layers.insert(1, _lines(spread))
    if len(theirs):
        layers.append(_hollow(theirs, shape))
    if len(baseline):
        layers.append(_level(baseline))
    if len(ceiling):
        layers.append(_ceiling(ceiling))
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    chart = alt.layer(*layers, width="container", height=360, padding=12, autosize=fit)
    with alt.theme.enable("none"), alt.data_transformers.disable_max_rows():
        return chart.encode(*_axes(results, theirs, ceiling), colour).to_dict()


def _axes(results: pd.DataFrame, *others: pd.DataFrame) -> tuple[alt.X, alt.Y]:
    """The axes, labels and accuracy (%); wide intervals are clipped, as in the static figure."""
    accuracies = [value for shown in (results, *others) for value in shown["accuracy"]]
    ends = [round(end, 2) for end in figures.limits(accuracies)]
    x = alt.X("labels:Q", title="labelled images").axis(tickCount=7)
    y = alt.Y("accuracy:Q", title=f"{figures.reported(results)} (%)")
    return x.scale(zero=False, nice=False, padding=8), y.scale(zero=False, nice=False, domain=ends)


def _means(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of the mean curves, with the interval as tooltip text."""
    curve = statistics.curve(results).rename(columns={"mean": "accuracy"})
    ends = curve[["low", "high"]].map("{:.2f}".format).agg(" to ".join, axis=1)
    interval = ends.where(curve["seeds"] > 1, "none (one seed)")
    return _rows(curve.assign(interval=interval), "low", "high", "interval")


def _rows(points: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows of points, with their arms' titles and further ``columns``."""
    rows = points[["arm", "labels", "accuracy", *columns]].round(3)
    return rows.assign(arm=points["arm"].map(arm_title))


def _by_arm(channel: type[alt.Color | alt.Shape], arms: list[str], values: list[str]) -> Any:
    """A channel (``alt.Color`` or ``alt.Shape``) with one value per arm, and a shared legend."""
    legend = alt.Legend(symbolOpacity=1, symbolSize=80, orient="bottom", columns=3)
    scale = alt.Scale(domain=[arm_title(arm) for arm in arms], range=values)
    return channel("arm:N", title=None, scale=scale, legend=legend)


def _band(means: pd.DataFrame) -> alt.Chart:
    """The layer of interval bands, hidden from screen readers: the marks state each interval."""
    band = alt.Chart(means).mark_area(opacity=0.13, clip=True, aria=False)
    return band.encode(y="low:Q", y2="high:Q").transform_filter(CHOSEN)


def _lines(results: pd.DataFrame) -> alt.Chart:
    """The layer of every seed's line."""
    lines = alt.Chart(_rows(results, "seed")).mark_line(strokeWidth=0.7, opacity=0.35)
    return lines.encode(detail="seed:N").transform_filter(CHOSEN)


def _curves(means: pd.DataFrame) -> alt.Chart:
    """The layer of the lines through the means."""
    return alt.Chart(means).mark_line().encode(opacity=FADING)


def _marks(means: pd.DataFrame, shape: alt.Shape) -> alt.Chart:
    """The layer of the means, in the arms' shapes; hovering one shows its numbers."""
    marks = alt.Chart(means, name="marks").mark_point(size=70, filled=True).add_params(CHOSEN)
    interval = alt.Tooltip("interval:N", title="95 % interval")
    return marks.encode(shape, opacity=FADING, tooltip=["arm:N", LABELS, ACCURACY, interval])


def _hollow(theirs: pd.DataFrame, shape: alt.Shape) -> alt.Chart:
    """The layer of the authors' points, in the arms' shapes."""
    rows = _rows(theirs.assign(source="published"), "source")
    points = alt.Chart(rows).mark_point(size=45, filled=False, strokeWidth=1.2)
    return points.encode(shape, opacity=FADING, tooltip=["arm:N", LABELS, ACCURACY, "source:N"])


def _level(baseline: pd.DataFrame) -> alt.Chart:
    """The layer of the single baseline run: a horizontal line."""
    mean = baseline.groupby(["arm", "labels"], as_index=False)["accuracy"].mean()
    return _across(_rows(mean), [5, 4], "#555555", "arm:N")


def _ceiling(ceiling: pd.DataFrame) -> alt.Chart:
    """The layer of a training on every label: a horizontal line."""
    rows = ceiling[["labels", "accuracy"]].round(3).assign(what="one training on all labels")
    return _across(rows, [2, 3], figures.CEILING_COLOUR, alt.Tooltip("what:N", title="dotted line"))


def _across(
    rows: pd.DataFrame, dashes: list[int], colour: str, what: str | alt.Tooltip
) -> alt.Chart:
    """A layer of horizontal lines; tooltips show ``what`` they are, labels and accuracy."""
    rule = alt.Chart(rows).mark_rule(strokeDash=dashes)
    across = {"x": alt.value(0), "x2": alt.value("width"), "color": alt.value(colour)}
    return rule.encode(**across, tooltip=[what, LABELS, ACCURACY])


def _outline(marker: str) -> str:
    """A matplotlib marker as Vega expects it: a path in a square from -1 to 1, y downwards."""
    if marker == "o":
        return "circle"
    style = MarkerStyle(marker)
    (outline,) = style.get_path().transformed(style.get_transform().scale(2)).to_polygons()
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in (outline * (1, -1)).round(3) + 0.0) + "Z"
