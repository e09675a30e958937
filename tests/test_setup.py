import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import alutils
from alutils.paths import ROOT
from alutils.running.placement import PROFILER_OFF, Placement
from alutils.running.workers import Workers


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


def test_line_ends_are_the_same_whatever_the_user_told_git(tmp_path, own_git):
    """Cluster workers are compared by the code's bytes, and scripts stop at a carriage return."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(ROOT / ".gitattributes", source)
    files = {"code.py": b"x = 1\ny = 2\n", "job.sbatch": b"set -o pipefail\n", "a.png": b"\n\r\n"}
    for name, content in files.items():
        (source / name).write_bytes(content)
    me = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    crlf = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=source, check=True)
    clone = ["git", *crlf, "clone", "-q", *crlf, str(source), str(tmp_path / "clone")]
    subprocess.run(clone, check=True)
    assert {name: (tmp_path / "clone" / name).read_bytes() for name in files} == files


@pytest.mark.parametrize(
    ("user", "given", "told"),
    [(0, [], "--allow-root"), (1000, [], ""), (0, ["LAB_ARGS=--no-browser"], "--no-browser")],
)
def test_make_lab_starts_for_root_too_and_takes_options(tmp_path, user, given, told):
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "--dry-run", "lab", *given]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | path, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1]
    assert last.endswith(f"-m jupyter lab notebooks {told}")
    assert "JUPYTER_PATH=" in last and f"{ROOT}/.venv/share/jupyter:" in last


def dry_run(*words: str) -> str:
    """The last command that make would run."""
    command = ["make", "--no-print-directory", "--dry-run", *words]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        ("study PROFILE=desktop TRAIN=no NOTEBOOK=x WORKERS=2",
         'study "desktop" --notebook "x" --workers "2" --scheduler "" --train "no"'),
        ("PROFILE=desktop SCHEDULER=tcp://a:1",
         'study "desktop" --notebook "" --workers "" --scheduler "tcp://a:1" --train ""'),
        ("estimate STEP_MS=3", 'estimate "quick" --step-ms "3"'),
        ("verify PROFILE=recipe", 'verify "recipe"'),
    ],
)  # fmt: skip
def test_make_hands_on_what_was_typed(typed, run):
    assert dry_run(*typed.split()) == f".venv/bin/python -m alutils {run}"


def test_make_clean_leaves_what_was_computed():
    removed = dry_run("clean").split()
    assert removed[:3] == ["rm", "-rf", ".venv"] and "outputs" not in " ".join(removed)
    assert not any(name in ("*", ".", "/") or ".cache" in name for name in removed[2:])


def test_the_job_for_slurm_starts_workers_as_a_run_asks_for_them():
    job = ROOT / "docs" / "cluster.sbatch"
    subprocess.run(["bash", "-n", job], check=True)
    text = job.read_text()
    asked = Workers._command(SimpleNamespace(placement=Placement('"$address"')), gpu=True)
    options = asked.strip("`").partition('"$address" ')[2]
    assert options and f'dask worker "$address" {options} ' in text
    assert f"\nexport {PROFILER_OFF} " in text


def test_the_citation_is_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert alutils.__version__ == version
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_kept_reports_are_whole_and_name_no_folder_of_a_machine():
    git = ["git", "-C", ROOT, "ls-files", "outputs/*/*.ipynb"]
    kept = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    assert kept
    for name in kept:
        text = (ROOT / name).read_text(encoding="utf-8")
        code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code if cell["source"]), name
        assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"], (
            name
        )
        assert not re.search(r"(?<![\w./:+-])/(home|root|tmp|Users|work|private|var)/", text), name
