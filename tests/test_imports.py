"""Imports point one way: the contracts are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from alutils.paths import PACKAGE, ROOT


def test_imports_point_one_way():
    linter = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_module_lies_in_a_room():
    flat = {file.stem for file in PACKAGE.glob("*.py")}
    assert flat == {"__init__", "__main__", "paths", "threads", "waiting"}
