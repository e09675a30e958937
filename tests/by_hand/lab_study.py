"""A notebook opened and run in a real JupyterLab, driven by a browser: run by hand.

``python -m tests.by_hand.lab_study [NOTEBOOK] [SCREENSHOT.png]``. The notebook gets the values of
``smoke`` and lies in a folder of its own, so that it depends on no working directory. Needs
Chromium.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import Page, sync_playwright

from alutils.paths import NOTEBOOKS
from alutils.studies import profiles
from tests.processes import ARMS_NOTEBOOK
from tests.reporting.test_browser import CHROMIUM, OPTIONS


def small(name: str, folder: Path) -> int:
    """Write the notebook with the values of ``smoke``; returns how many code cells it has."""
    notebook = load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb"))
    values = yaml.safe_load(profiles.params_file("smoke", name).read_text(encoding="utf-8"))
    notebook = parameterize_notebook(notebook, values)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return sum(cell.cell_type == "code" for cell in notebook.cells)


def environment(folder: Path) -> dict[str, str]:
    """Outputs of its own, and all of a notebook drawn, not only what is in sight."""
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    chosen = json.dumps({"windowingMode": "none"})
    (settings / "tracker.jupyterlab-settings").write_text(chosen)
    folders = {"ALUTILS_OUTPUTS": "outputs", "JUPYTERLAB_SETTINGS_DIR": "settings"}
    return {key: str(folder / name) for key, name in folders.items()}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_all(page: Page, cells: int) -> list[str]:
    """Choose *Run All Cells* and wait for the last one; returns what was seen of the progress."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    seen: list[str] = []
    for _ in range(600):
        told = page.locator(".jp-OutputArea-output pre", has_text=" left").all_text_contents()
        seen += [text for text in told if text not in seen]
        counts = page.locator(".jp-CodeCell .jp-InputArea-prompt").all_text_contents()
        if page.locator("[data-mime-type='application/vnd.jupyter.error']").count():
            raise SystemExit("a cell raised an error")
        if f"[{cells}]:" in counts:
            return seen
        time.sleep(0.5)
    raise SystemExit("the last cell was not reached within 5 minutes")


def main(name: str, screenshot: str) -> None:
    """Run the notebook and print what was seen."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        cells, token, port = small(name, Path(place)), secrets.token_hex(8), free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
             f"--port={port}", f"--ServerApp.root_dir={place}",
             f"--IdentityProvider.token={token}"],
            cwd=place, env=os.environ | environment(Path(place)),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            page = browser.new_page(viewport={"width": 1440, "height": 1100})
            address = f"http://127.0.0.1:{port}/lab/tree/{name}.ipynb?token={token}&reset"
            for _ in range(60):
                time.sleep(1)
                try:
                    page.goto(address)
                    break
                except Exception as error:  # the server is still starting
                    waiting = error
            else:
                raise SystemExit(f"JupyterLab did not start: {waiting}")
            seen = run_all(page, cells)
            figure = page.locator(".jp-RenderedImage img").first
            figure.scroll_into_view_if_needed()
            figure.wait_for(timeout=10_000)
            page.screenshot(path=screenshot)
            errors = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count()
            browser.close()
        finally:
            server.terminate()
            server.wait()
    print(f"{name}: {cells} cells ran, {errors} of them wrote to the standard error")
    print(f"the progress was renewed {len(seen)} times; the figure is there: {screenshot}")
    if errors or len(seen) < 2:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*(sys.argv[1:] + [ARMS_NOTEBOOK, "lab.png"][len(sys.argv) - 1 :]))
