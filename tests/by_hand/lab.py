"""A real JupyterLab in a folder of its own, with a browser before it."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import Page, sync_playwright

from alutils.paths import NOTEBOOKS
from tests.browser import CHROMIUM, OPTIONS

IDLE = "Python 3 (ipykernel) | Idle"
ERROR = "[data-mime-type='application/vnd.jupyter.error']"


def put_notebook(name: str, values: dict[str, Any], folder: Path) -> int:
    """Write a notebook with other parameters; returns how many code cells it has."""
    notebook = load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb"))
    notebook = parameterize_notebook(notebook, values)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return sum(cell.cell_type == "code" for cell in notebook.cells)


@contextmanager
def lab(folder: Path, name: str, width: int = 1440, dark: bool = False) -> Iterator[Page]:
    """A page with a notebook of the folder open, all of it drawn; outputs go into the folder."""
    token, port = secrets.token_hex(8), _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
         f"--port={port}", f"--ServerApp.root_dir={folder}",
         f"--IdentityProvider.token={token}"],
        cwd=folder, env=os.environ | _environment(folder, dark),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            page = browser.new_page(viewport={"width": width, "height": 1100})
            _open(page, f"http://127.0.0.1:{port}/lab/tree/{name}.ipynb?token={token}&reset")
            page.get_by_text(IDLE).wait_for(timeout=120_000)
            yield page
            browser.close()
    finally:
        server.terminate()
        server.wait()


def run_all(page: Page) -> None:
    """Choose *Run All Cells*."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def _open(page: Page, address: str) -> None:
    for _ in range(60):
        time.sleep(1)
        try:
            page.goto(address)
            return
        except Exception as error:  # the server is still starting
            waiting = error
    raise SystemExit(f"JupyterLab did not start: {waiting}")


def _environment(folder: Path, dark: bool) -> dict[str, str]:
    """Outputs of its own, all of a notebook drawn, not only what is in sight; a theme."""
    settings = folder / "settings" / "@jupyterlab"
    chosen = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/themes": {"theme": f"JupyterLab {'Dark' if dark else 'Light'}"},
        "apputils-extension/notification": {"fetchNews": "false"},
    }
    for name, values in chosen.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    folders = {"ALUTILS_OUTPUTS": "outputs", "JUPYTERLAB_SETTINGS_DIR": "settings"}
    return {key: str(folder / name) for key, name in folders.items()}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
