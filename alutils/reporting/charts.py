"""Interactive charts for web pages, beside the static figures that print needs."""

from typing import Any

import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

from alutils.protocol.arms import BASELINE, arm_title
from alutils.reporting import figures, statistics
from alutils.reporting.picture import Picture


class Chart:
    """A static figure, and the Vega-Lite specification of the same, which a page draws instead."""

    def __init__(self, static: Picture, spec: dict[str, Any]):
        self.static, self.spec = static, spec

    def _ipython_display_(self) -> None:
        self.static.display(chart=self.spec)


def learning_curves(results: pd.DataFrame) -> dict[str, Any]:
    """Figure 3 or 4 as a Vega-Lite specification: what the static figure shows, and its numbers.

    Hovering a mark shows arm, labels, accuracy (%) and interval; clicking an arm in the legend
    fades the others.
    """
    arms = [arm for arm in dict.fromkeys(results["arm"]) if arm != BASELINE]
    theirs = figures.published_arms(results)
    shown = figures.limits([*results["accuracy"], *theirs["accuracy"]])
    scale = {"domain": [round(end, 2) for end in shown], "zero": False, "nice": False}
    title = f"{figures.reported(results)} (%)"
    y = {"field": "accuracy", "type": "quantitative", "title": title, "scale": scale}
    x = {
        "field": "labels",
        "type": "quantitative",
        "title": "labelled images",
        "scale": {"zero": False, "nice": False, "padding": 8},
        "axis": {"tickCount": 7},
    }
    layers = [
        _band(results, scale),
        _lines(results, y),
        {"mark": "line", "data": _means(results), "encoding": {"y": y, "opacity": CHOSEN}},
        _marks(results, y, arms),
    ]
    if len(theirs):
        layers.append(_hollow(theirs, y, arms))
    if (results["arm"] == BASELINE).any():
        layers.append(_level(results, y))
    return {
        "width": "container",
        "height": 360,
        "padding": 12,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "encoding": {"x": x, "color": _colour(arms)},
        "layer": layers,
    }


CHOSEN = {"condition": {"param": "arm", "value": 1}, "value": 0.15}
"""Opacity of an arm's marks: full, or faint while another arm is chosen in the legend."""


def _means(results: pd.DataFrame) -> dict[str, Any]:
    """Data rows of the mean curves, with the interval as the text that hovering shows."""
    curve = statistics.curve(results[results["arm"] != BASELINE])
    rows = [
        {
            "arm": arm_title(row.arm),
            "labels": int(row.labels),
            "accuracy": round(row.mean, 3),
            "low": round(row.low, 3),
            "high": round(row.high, 3),
            "interval": f"{row.low:.2f} to {row.high:.2f}",
        }
        for row in curve.itertuples()
    ]
    if results["seed"].nunique() < 2:
        rows = [row | {"low": None, "high": None, "interval": "one seed, none"} for row in rows]
    return {"values": rows}


def _rows(points: pd.DataFrame, *columns: str) -> dict[str, Any]:
    """Data rows of points, with their arms' titles and further ``columns``."""
    rows = points[["arm", "labels", "accuracy", *columns]].assign(arm=points["arm"].map(arm_title))
    return {"values": rows.round(3).to_dict("records")}


def _colour(arms: list[str]) -> dict[str, Any]:
    colours = [to_hex(figures.arm_style(arm, arms)[0]) for arm in arms]
    scale = {"domain": [arm_title(arm) for arm in arms], "range": colours}
    return {"field": "arm", "type": "nominal", "title": None, "scale": scale, "legend": LEGEND}


LEGEND = {"symbolOpacity": 1, "symbolSize": 80, "orient": "bottom", "columns": 3}


def _band(results: pd.DataFrame, scale: dict[str, Any]) -> dict[str, Any]:
    """The layer of the intervals about the means."""
    low = {"field": "low", "type": "quantitative", "scale": scale}
    return {
        "mark": {"type": "area", "opacity": 0.13, "clip": True},
        "data": _means(results),
        "encoding": {"y": low, "y2": {"field": "high"}},
        "transform": [{"filter": {"param": "arm"}}],
    }


def _lines(results: pd.DataFrame, y: dict[str, Any]) -> dict[str, Any]:
    """The layer of every seed's line."""
    return {
        "mark": {"type": "line", "strokeWidth": 0.7, "opacity": 0.35},
        "data": _rows(results[results["arm"] != BASELINE], "seed"),
        "encoding": {"y": y, "detail": {"field": "seed"}},
        "transform": [{"filter": {"param": "arm"}}],
    }


def _marks(results: pd.DataFrame, y: dict[str, Any], arms: list[str]) -> dict[str, Any]:
    """The layer of the means, in the arms' shapes; hovering one shows its numbers."""
    chosen = {"type": "point", "fields": ["arm"]}
    return {
        "mark": {"type": "point", "size": 70, "filled": True},
        "data": _means(results),
        "params": [{"name": "arm", "select": chosen, "bind": "legend"}],
        "encoding": {
            "y": y,
            "shape": _shape(arms),
            "opacity": CHOSEN,
            "tooltip": [*_tooltip("labels", "accuracy"), {"field": "interval", "title": INTERVAL}],
        },
    }


INTERVAL = "95 % interval"


def _tooltip(*fields: str) -> list[dict[str, Any]]:
    """What hovering a mark shows: its arm and these numbers."""
    formats = {"labels": ("labels", ","), "accuracy": ("accuracy (%)", ".2f")}
    numbers = [
        {"field": f, "type": "quantitative", "title": formats[f][0], "format": formats[f][1]}
        for f in fields
    ]
    return [{"field": "arm", "title": "arm"}, *numbers]


def _outline(marker: str) -> str:
    """A marker of matplotlib as Vega wants it: a path in a square from -1 to 1, y downwards."""
    if marker == "o":
        return "circle"
    style = MarkerStyle(marker)
    (outline,) = style.get_path().transformed(style.get_transform().scale(2)).to_polygons()
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in (outline * (1, -1)).round(3) + 0.0) + "Z"


def _shape(arms: list[str]) -> dict[str, Any]:
    shapes = [_outline(figures.arm_style(arm, arms)[1]) for arm in arms]
    return _colour(arms) | {"scale": {"domain": [arm_title(arm) for arm in arms], "range": shapes}}


def _hollow(theirs: pd.DataFrame, y: dict[str, Any], arms: list[str]) -> dict[str, Any]:
    """The layer of the authors' points, in the arms' shapes."""
    return {
        "mark": {"type": "point", "size": 45, "filled": False, "strokeWidth": 1.2},
        "data": _rows(theirs.assign(source="published"), "source"),
        "encoding": {
            "y": y,
            "shape": _shape(arms),
            "opacity": CHOSEN,
            "tooltip": [*_tooltip("labels", "accuracy"), {"field": "source", "title": "source"}],
        },
    }


def _level(results: pd.DataFrame, y: dict[str, Any]) -> dict[str, Any]:
    """The layer of the single baseline run: a level line."""
    baseline = results[results["arm"] == BASELINE]
    mean = baseline.groupby(["arm", "labels"], as_index=False)["accuracy"].mean()
    dashed = {"type": "rule", "strokeDash": [5, 4], "color": "#555555"}
    tooltip = {"tooltip": _tooltip("labels", "accuracy"), "color": {"value": "#555555"}}
    return {"mark": dashed, "data": _rows(mean), "encoding": {"x": None, "y": y, **tooltip}}
