"""Figures as notebook outputs: an image that every viewer and exporter shows, and its caption.

On a web page the two become one HTML element (``on_page``), made from the output's metadata.
"""

import json
import re
from collections.abc import Iterable
from html import escape
from itertools import groupby
from typing import Any

from IPython.display import HTML, display

KEY = "alutils"
"""Metadata key of an output that holds the facts for its page element."""
SPECIAL = re.compile(r"([\\`*_{}\[\]<>$#|])")
"""Characters that Markdown would read as markup."""


class Picture(HTML):
    """An image (PNG in base64, ``width`` pixels of a page) with its caption and alternative text.

    ``data`` is an HTML element of all three.
    """

    def __init__(self, png: str, width: int, caption: str, alt: str):
        self.png, self.width, self.caption, self.alt = png, width, caption, alt
        super().__init__(_figure(png, width, caption, alt))

    def _ipython_display_(self) -> None:
        self.display()

    def display(self, **facts: Any) -> None:
        """Display image and caption; ``facts`` are a chart or a step for ``on_page``."""
        of_image = {"width": self.width, "alt": self.alt}
        metadata = {"image/png": of_image, KEY: {"caption": self.caption} | facts}
        display({"image/png": self.png}, raw=True, metadata=metadata)
        caption = {"text/markdown": SPECIAL.sub(r"\\\1", self.caption)}
        display(caption, raw=True, metadata={KEY: {}})


class Chart:
    """A static figure and its Vega-Lite specification, which a web page draws instead."""

    def __init__(self, static: Picture, spec: dict[str, Any]):
        self.static, self.spec = static, spec

    def _ipython_display_(self) -> None:
        self.static.display(chart=self.spec)


class Several(HTML):
    """Parts of a report, displayed one after another."""

    def __init__(self, *parts: HTML):
        self.parts = parts
        super().__init__("\n".join(part.data for part in parts))

    def _ipython_display_(self) -> None:
        display(*self.parts)


class Steps(HTML):
    """Labelled pictures; a page shows one at a time. ``name`` is unique on the page."""

    def __init__(self, name: str, pictures: dict[str, Picture], legend: str):
        self.name, self.pictures, self.legend = name, pictures, legend
        super().__init__(_steps(name, {k: picture.data for k, picture in pictures.items()}, legend))

    def _ipython_display_(self) -> None:
        for label, picture in self.pictures.items():
            picture.display(step={"name": self.name, "label": label, "legend": self.legend})


def html(output: dict[str, Any]) -> str:
    """The HTML element of an output that is a picture, with its chart; empty for other outputs."""
    if not (facts := _facts(output)):
        return ""
    image, of_image = output["data"]["image/png"], output["metadata"]["image/png"]
    width, alt = of_image["width"], of_image["alt"]
    static = _figure("".join(image).replace("\n", ""), width, facts["caption"], alt)
    if not has_chart(output):
        return static
    return (
        f'<div><div class="chart" role="img" aria-label="{escape(alt)}" '
        f'data-spec="{escape(json.dumps(facts["chart"]))}"></div>'
        f'<div class="static">{static}</div></div>'
    )


def has_chart(output: dict[str, Any]) -> bool:
    """Whether a page draws a chart beside the picture."""
    return "chart" in (_facts(output) or {})


def on_page(outputs: Iterable[Any]) -> list[Any]:
    """A cell's outputs as a page shows them.

    Pictures become HTML, and consecutive steps become one element. Outputs with only a caption are
    dropped, as the picture's element includes it.
    """
    shown, merged = [output for output in outputs if _facts(output) != {}], []
    for output in shown:
        if element := html(output):
            output["data"] = {"text/html": element}
    for step, group in groupby(shown, _step):
        row = list(group)
        if step:
            parts = {_facts(part)["step"]["label"]: part["data"]["text/html"] for part in row}
            row[0]["data"] = {"text/html": _steps(step[0], parts, step[1])}
            del row[1:]
        merged += row
    return merged


def _facts(output: dict[str, Any]) -> dict[str, Any] | None:
    """The facts for a picture's page element; empty for its caption, None for other outputs."""
    return output.get("metadata", {}).get(KEY)


def _step(output: dict[str, Any]) -> tuple[str, str] | None:
    """Name and legend of the ``Steps`` that a picture belongs to; None for other pictures."""
    step = (_facts(output) or {}).get("step")
    return (step["name"], step["legend"]) if step else None


def _figure(png: str, width: int, caption: str, alt: str) -> str:
    return (
        f'<figure><img src="data:image/png;base64,{png}" alt="{escape(alt)}" '
        f'style="width: {width}px; max-width: 100%; height: auto">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _steps(name: str, parts: dict[str, str], legend: str) -> str:
    """Parts of a page, shown one at a time and chosen by label; in print all are shown.

    Made of radio buttons and a style sheet, without a script.
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
    bodies = [f'<div class="step">{part}</div>' for part in parts.values()]
    return (
        f'{style}<fieldset class="steps"><legend>{legend}</legend>{" ".join(buttons)}'
        f"{''.join(bodies)}</fieldset>"
    )
