"""Headless Chromium for tests, and what axe-core finds on a page."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Page

from alutils.learning.data import _npm

AXE = "axe-core@4.14.1"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def fetched_axe(folder: Path) -> str:
    """The script of axe-core; skipped where npm can't fetch it."""
    command = [*_npm(), "pack", AXE, "--silent", "--cache", str(folder / "cache")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode and os.environ.get("ALUTILS_REQUIRE_DATA") != "1":
        pytest.skip(f"{AXE} can't be fetched with npm")
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def barriers(page: Page, axe: str) -> list[str]:
    """Serious barriers to access; of the dark scheme, which is left on, the contrasts alone."""
    page.evaluate(axe)
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    violations += page.evaluate(
        "axe.run({runOnly: ['color-contrast'], resultTypes: ['violations']})"
    )["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {violation['nodes'][0]['html'][:200]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
