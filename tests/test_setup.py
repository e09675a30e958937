import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from alutils.paths import ROOT


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    rows = [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^=\s]+", row) for row in rows)
    return dict(row.lower().replace("_", "-").split("==") for row in rows)


def test_the_lock_pins_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[><=]", name)[0].lower() for name in wanted} <= set(pinned())


def test_wheels_for_linux_alone_are_marked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    linux = [line for line in lines if line.startswith(("nvidia-", "triton", "cuda-"))]
    assert linux and all('platform_system == "Linux"' in line for line in linux)


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    assert {name.split("=")[0] for name in packages} == {"python", "pip", "nodejs"}
    assert pip["pip"] == ["-r requirements.lock", "-e ."]


def test_the_code_is_clean():
    for check in (["check"], ["format", "--check"]):
        command = [str(Path(sys.executable).with_name("ruff")), *check, "."]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
