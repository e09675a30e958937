"""Figures as outputs that every viewer and exporter shows, and as elements of a page."""

import json
import re
from typing import Any

import nbformat
import pytest
from IPython.display import HTML
from nbconvert import LatexExporter, SlidesExporter
from nbconvert.filters import DataTypeFilter

from alutils.reporting import captions, page, picture
from alutils.reporting.picture import Chart, Picture, Several, Steps
from tests.reporting.test_statistics import results
from tests.reporting.test_tables import ABOVE

ONE = Picture("AAAA", 480, "Two arms_and *more*", 'A "curve"')
TWO = Picture("BBBB", 480, "At 200 labels", "Another")


@pytest.fixture
def outputs(monkeypatch):
    """Function from what a cell ends with to the outputs that its kernel would give it."""
    displayed: list[Any] = []

    def display(*shown: Any, raw: bool = False, metadata: dict | None = None) -> None:
        for element in shown:
            if raw:
                displayed.append(nbformat.v4.new_output("display_data", element, metadata=metadata))
            elif hasattr(element, "_ipython_display_"):
                element._ipython_display_()
            else:
                displayed.append(
                    nbformat.v4.new_output("display_data", {"text/html": element.data})
                )

    def outputs_of(element: Any) -> list[Any]:
        displayed.clear()
        display(element)
        return list(displayed)

    monkeypatch.setattr(picture, "display", display)
    return outputs_of


def notebook(outputs: list[Any], tag: str = "headline") -> Any:
    """A notebook of a title, and a cell with these outputs."""
    cell = nbformat.v4.new_code_cell("", outputs=outputs, metadata={"tags": [tag]})
    cells = [nbformat.v4.new_markdown_cell(text) for text in ("# Title", "Words.", "More.")]
    return nbformat.v4.new_notebook(cells=[*cells, cell])


@pytest.mark.parametrize(
    ("shown", "pictures"),
    [
        (ONE, 1),
        (Chart(ONE, {"mark": "point"}), 1),
        (Several(HTML("<p>a</p>"), ONE, HTML("<p>b</p>")), 1),
        (Steps("gallery", {"100": ONE, "200": TWO}, "at"), 2),
    ],
    ids=["figure", "chart", "several", "steps"],
)
def test_every_exporter_shows_the_image_and_its_caption_and_a_report_keeps_it_once(
    outputs, shown, pictures
):
    displayed = outputs(shown)
    nbformat.validate(notebook(displayed))
    for exporter in (LatexExporter(), SlidesExporter()):
        choose = DataTypeFilter(config=exporter.config)
        choose.display_data_priority = exporter.default_config.NbConvertBase.display_data_priority
        drawn = [output.data for output in displayed if "text/html" not in output.data]
        chosen = [mime_type for data in drawn for mime_type in choose(data)]
        assert chosen == ["image/png", "text/markdown"] * pictures
    assert json.dumps(displayed).count("AAAA") == 1


def test_a_caption_is_no_markdown(outputs):
    _, caption = outputs(ONE)
    assert caption.data["text/markdown"] == r"Two arms\_and \*more\*"


@pytest.mark.parametrize("shown", [ONE, Several(HTML("<p>a</p>"), ONE, HTML("<p>b</p>"))])
def test_a_page_has_what_the_parts_have_as_html(outputs, shown):
    on_page = picture.on_page(outputs(shown))
    assert "\n".join(output.data["text/html"] for output in on_page) == shown.data
    whole = page.to_html(notebook(outputs(shown), "figure"))
    assert whole.count("AAAA") == 1 and whole.count("Two arms_and *more*") == 1
    (image,) = re.findall(r"<img [^>]*>", whole)
    assert """alt='A "curve"'""" in image and "width: 480px" in image


def test_the_steps_of_a_row_are_one_output_on_a_page(outputs):
    steps = Steps("gallery", {"100": ONE, "200": TWO}, "Picks at")
    before, (on_page,), after = outputs(ONE), picture.on_page(outputs(steps)), outputs(TWO)
    assert on_page.data["text/html"] == steps.data
    assert len(picture.on_page([*before, *outputs(steps), *after])) == 3


def test_a_page_draws_a_chart_beside_its_static_figure(outputs):
    curves = captions.learning_curves(results(ABOVE))
    whole = page.to_html(notebook(outputs(curves), "figure"))
    (chart,) = re.findall(r'<div [^>]*class="chart"[^>]*role="img">', whole)
    assert "Learning curves of 4 arms" in chart and whole.count(curves.static.png) == 1
    assert len(whole) > 500_000 + len(page.to_html(notebook(outputs(curves.static), "figure")))


def test_the_headline_is_the_first_picture_of_its_cell(outputs):
    element, png = page.headline(notebook([*outputs(Chart(TWO, {})), *outputs(ONE)]))
    assert png == "BBBB" and element.startswith("<img ") and 'alt="Another"' in element
