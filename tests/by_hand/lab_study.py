"""A notebook opened and run in a real JupyterLab, driven by a browser: run by hand.

``python -m tests.by_hand.lab_study [NOTEBOOK] [SCREENSHOT.png]``. The notebook gets the values of
``smoke`` and lies in a folder of its own, so that it depends on no working directory. Needs
Chromium.
"""

import sys
import tempfile
import time
from pathlib import Path

import yaml
from playwright.sync_api import Page

from alutils.studies import profiles
from tests.by_hand.lab import ERROR, lab, put_notebook, run_all
from tests.processes import ARMS_NOTEBOOK


def run(page: Page, cells: int) -> list[str]:
    """Run all cells, and wait for the last one; returns what was seen of the progress."""
    run_all(page)
    seen: list[str] = []
    for _ in range(600):
        told = page.locator(".jp-OutputArea-output pre", has_text=" left").all_text_contents()
        seen += [text for text in told if text not in seen]
        counts = page.locator(".jp-CodeCell .jp-InputArea-prompt").all_text_contents()
        if page.locator(ERROR).count():
            raise SystemExit("a cell raised an error")
        if f"[{cells}]:" in counts:
            return seen
        time.sleep(0.5)
    raise SystemExit("the last cell was not reached within 5 minutes")


def main(name: str, screenshot: str) -> None:
    """Run the notebook and print what was seen."""
    values = yaml.safe_load(profiles.params_file("smoke", name).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        cells = put_notebook(name, values, Path(place))
        with lab(Path(place), name) as page:
            seen = run(page, cells)
            figure = page.locator(".jp-RenderedImage img").first
            figure.scroll_into_view_if_needed()
            figure.wait_for(timeout=10_000)
            page.screenshot(path=screenshot)
            errors = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count()
    print(f"{name}: {cells} cells ran, {errors} of them wrote to the standard error")
    print(f"the progress was renewed {len(seen)} times; the figure is there: {screenshot}")
    if errors or len(seen) < 2:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*(sys.argv[1:] + [ARMS_NOTEBOOK, "lab.png"][len(sys.argv) - 1 :]))
