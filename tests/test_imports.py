"""Imports point one way: the contracts are in pyproject.toml."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from alutils.paths import PACKAGE, ROOT


def test_imports_point_one_way():
    linter = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "script", sorted((ROOT / "tests" / "by_hand").glob("[!_]*.py")), ids=lambda file: file.stem
)
def test_what_is_run_by_hand_still_imports(script):
    importlib.import_module(f"tests.by_hand.{script.stem}")


def test_every_module_lies_in_a_room():
    flat = {file.stem for file in PACKAGE.glob("*.py")}
    assert flat == {"__init__", "__main__", "paths", "threads", "waiting"}


def test_a_report_without_charts_does_not_import_altair():
    """Which takes a second: 04 is such a report."""
    reporting = {file.stem for file in (PACKAGE / "reporting").glob("*.py")} - {"charts"}
    code = (
        f"from alutils.reporting import {', '.join(reporting - {'__init__'})}\n"
        "from alutils.studies.claims import ablation_page, page\n"
        "import sys; print('altair' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
