"""Charts that answer to a pointer, beside the static figures that print needs."""

from typing import Any

import pandas as pd
from IPython.display import HTML
from matplotlib.colors import to_hex

from alutils import figures, statistics
from alutils.page import VEGA_LITE
from alutils.protocol import BASELINE, arm_title

SHAPES = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down"}


class Chart:
    """A static figure, and a Vega-Lite specification of the same."""

    def __init__(self, static: HTML, spec: dict[str, Any]):
        self.static, self.spec = static, spec

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {"text/html": self.static.data, VEGA_LITE: self.spec}


def learning_curves(results: pd.DataFrame) -> dict[str, Any]:
    """Mean accuracy (%) and interval against labels; a pointer on a mark gets its numbers."""
    curve = statistics.curve(results[results["arm"] != BASELINE])
    arms = list(dict.fromkeys(curve["arm"]))
    styles = [figures.arm_style(arm, arms) for arm in arms]
    rows = [
        {
            "arm": arm_title(row.arm),
            "labels": int(row.labels),
            "accuracy": round(row.mean, 3),
            "low": round(row.low, 3),
            "high": round(row.high, 3),
            "interval": f"{row.low:.2f} to {row.high:.2f}" if row.seeds > 1 else "one seed",
        }
        for row in curve.itertuples()
    ]
    x = {"field": "labels", "type": "quantitative", "title": "labelled images"}
    axis = {"type": "quantitative", "scale": {"zero": False}}
    y = {"field": "accuracy", "title": f"{figures.reported(results)} (%)", **axis}
    titles = [arm_title(arm) for arm in arms]
    colour = {
        "field": "arm",
        "type": "nominal",
        "title": None,
        "scale": {"domain": titles, "range": [to_hex(colour) for colour, _ in styles]},
    }
    shapes = [SHAPES.get(marker, "cross") for _, marker in styles]
    shape = {**colour, "scale": {"domain": titles, "range": shapes}}
    there = {"condition": {"param": "arm", "value": 1}, "value": 0.15}
    told = [
        {"field": "arm", "title": "arm"},
        {"field": "labels", "title": "labels", "format": ",", "type": "quantitative"},
        {"field": "accuracy", "title": "accuracy (%)", "format": ".2f", "type": "quantitative"},
        {"field": "interval", "title": "95 % interval"},
    ]
    band = {
        "mark": {"type": "area", "opacity": 0.13, "clip": True},
        "encoding": {"y": {"field": "low", **axis}, "y2": {"field": "high"}},
        "transform": [{"filter": {"param": "arm"}}],
    }
    chosen = {"type": "point", "fields": ["arm"]}
    marks = {
        "mark": {"type": "point", "size": 70, "filled": True},
        "params": [{"name": "arm", "select": chosen, "bind": "legend"}],
        "encoding": {"y": y, "shape": shape, "tooltip": told, "opacity": there},
    }
    line = {"mark": "line", "encoding": {"y": y, "opacity": there}}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": rows},
        "width": "container",
        "height": 340,
        "encoding": {"x": {**x, "scale": {"zero": False}}, "color": colour},
        "layer": [band, line, marks],
    }


def steps(name: str, parts: dict[str, HTML], legend: str) -> HTML:
    """Parts of a page of which one is shown at a time, chosen by its label; in print all are.

    Radio buttons and a style sheet: no script is needed. ``name`` is unique in the page.
    """
    shown = " ".join(
        f".steps > input:nth-of-type({i}):checked ~ .step:nth-of-type({i}) {{ display: block; }}"
        for i in range(1, len(parts) + 1)
    )
    style = (
        f"<style>@media screen {{ .steps > .step {{ display: none; }} {shown} }}\n"
        ".steps { border: 0; margin: 0; padding: 0; min-width: 0; }\n"
        "@media print { .steps > input, .steps > label { display: none; } }</style>"
    )
    buttons = [
        f'<input type="radio" name="{name}" id="{name}-{i}"{" checked" if i == 0 else ""}>'
        f'<label for="{name}-{i}">{label}</label>'
        for i, label in enumerate(parts)
    ]
    bodies = [f'<div class="step">{part.data}</div>' for part in parts.values()]
    return HTML(
        f'{style}<fieldset class="steps"><legend>{legend}</legend>{" ".join(buttons)}'
        f"{''.join(bodies)}</fieldset>"
    )
