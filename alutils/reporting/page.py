"""Executed notebooks as self-contained web pages, and their index."""

import copy
import datetime
import re
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any

from alutils.reporting import picture

TEMPLATES = Path(__file__).parent / "templates"
FIRST = ("answer", "headline")
"""Tags of the cells that a page shows under its title, wherever they stand in the notebook."""


def to_html(notebook: Any, index: bool = True) -> str:
    """The notebook as one page: the answer and its figure first, code folded away.

    With ``index`` it links to the index page beside it. Charts are drawn by Vega, whose script is
    embedded if the page has any chart.
    """
    from nbconvert import HTMLExporter

    shown = copy.deepcopy(notebook)
    shown.cells = _arranged(shown.cells)
    outputs = [output for cell in shown.cells for output in cell.get("outputs", [])]
    charts = any(map(picture.has_chart, outputs))
    for cell in shown.cells:
        if "outputs" in cell:
            cell["outputs"] = picture.on_page(cell["outputs"])
    exporter = HTMLExporter(
        template_name="report", extra_template_basedirs=[str(TEMPLATES)], anchor_link_text=""
    )
    style, script = (_template(name) for name in ("style.css", "report.js"))
    vega = _vega() if charts else ""
    resources = {"vega": vega, "style": style, "script": script, "index": index}
    page = exporter.from_notebook_node(shown, resources)[0]
    page = re.sub(r'<a class="anchor-link".*?</a>', "", page)  # these links have no text
    headings = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', page)
    links = "".join(
        f'<li><a href="#{anchor}">{re.sub("<.*?>", "", title)}</a></li>'
        for anchor, title in headings
    )
    return page.replace("<!-- contents -->", links)


def headline(notebook: dict[str, Any]) -> tuple[str, str]:
    """The image element of a report's headline figure, and its PNG in base64; empty without one."""
    shown = next(filter(None, map(picture.html, _outputs(notebook, "headline"))), "")
    element = shown or output(notebook, "headline", "text/html")
    image = re.search(r'<img src="data:image/png;base64,([^"]+)".*?>', element, re.DOTALL)
    return (image.group(0), image.group(1)) if image else ("", "")


def output(notebook: dict[str, Any], tag: str, kind: str) -> str:
    """The first output of the cell with a tag, in a MIME type; empty if there is none."""
    shown = (output["data"] for output in _outputs(notebook, tag) if "data" in output)
    return "".join(next(shown, {}).get(kind, ""))


def _outputs(notebook: dict[str, Any], tag: str) -> list[Any]:
    """The outputs of the cell with a tag."""
    cells = (cell for cell in notebook["cells"] if tag in _tags(cell))
    return next(cells, {"outputs": []})["outputs"]


def index(profile: str, reports: dict[str, dict[str, Any]], failed: list[str], facts: str) -> str:
    """The study on one page: claims with their verdicts, and every report with its answer.

    ``reports`` maps names to executed notebooks; ``facts`` says what they were computed on.
    """
    tables = [output(report, "verdicts", "text/html") for report in reports.values()]
    verdicts = "".join(
        f"<section><h2>The poster's claims</h2>{table}</section>" for table in tables if table
    )
    entries = [_entry(name, report) for name, report in reports.items()]
    lost = [
        f'<p class="failed"><a href="{name}.failed.html">{name}: last run failed</a></p>'
        for name in failed
    ]
    values = {
        "profile": escape(profile),
        "date": datetime.date.today().isoformat(),
        "facts": escape(facts),
        "style": _template("style.css"),
        "script": _template("report.js"),
        "verdicts": verdicts,
        "reports": "\n".join([*entries, *lost]),
    }
    text = _template("index.html")
    for key, value in values.items():
        text = text.replace("{{ " + key + " }}", value)
    return text


def facts_of(index: str) -> str:
    """The ``facts`` that an index page was made with; empty if not found."""
    lead, _, end = _template("index.html").partition("{{ facts }}")
    before, after = lead.rpartition("{{ date }}")[2], end.split("\n")[0]
    found = re.search(rf"\d{{4}}-\d\d-\d\d{re.escape(before)}(.*?){re.escape(after)}", index)
    return unescape(found.group(1)) if found else ""


def _entry(name: str, notebook: dict[str, Any]) -> str:
    """One report on the index page: title, answer, and its headline figure."""
    from nbconvert.filters.markdown import markdown2html

    title = escape(notebook["metadata"].get("title", name))
    texts = [output(notebook, tag, "text/markdown") for tag in ("answer", "savings")]
    answer = "\n".join(markdown2html(text) for text in texts if text)
    image = headline(notebook)[0]
    return (
        f'<section class="entry"><h2><a href="{name}.html">{title}</a></h2>\n'
        f'<div class="thumbnail"><a href="{name}.html">{image}</a></div>\n'
        f"<div>{answer}</div></section>"
    )


def _arranged(cells: list[Any]) -> list[Any]:
    """A notebook's cells in a page's order: title, answer and headline figure first.

    Cells meant for JupyterLab are dropped, and so are the notebook's default parameters if the
    run's are injected after them. The cell that the table of contents goes before is marked.
    """
    injected = any("injected-parameters" in _tags(cell) for cell in cells)
    dropped = {"lab", "parameters"} if injected else {"lab"}
    kept = [cell for cell in cells if dropped.isdisjoint(_tags(cell))]
    top = [cell for tag in FIRST for cell in kept if tag in _tags(cell)]
    if not all(cell["outputs"] for cell in top):
        top = []  # the notebook failed before these ran
    rest = [cell for cell in kept if cell not in top]
    following = [*rest[1:], None]
    rest = [cell for cell, after in zip(rest, following, strict=True) if not _empty(cell, after)]
    rest[1]["metadata"]["contents"] = True
    return rest[:1] + top + rest[1:]


def _empty(cell: Any, after: Any) -> bool:
    """Whether a cell is only a heading, and the next cell starts with another heading."""
    lone = cell["cell_type"] == "markdown" and re.fullmatch(r"## .+", cell["source"].strip())
    return bool(lone) and after is not None and after["source"].startswith("## ")


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _tags(cell: Any) -> list[str]:
    return cell["metadata"].get("tags", [])


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    import vl_convert

    return vl_convert.javascript_bundle(vl_version="6.4")
