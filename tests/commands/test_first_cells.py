"""First cells that were edited since the last commit."""

import json
import subprocess
from collections.abc import Callable

import pytest

from alutils import paths
from alutils.commands import estimate, first_cells, notebooks, verify
from alutils.commands.verify import NotVerified
from alutils.studies.parameter_files import defaults
from tests.processes import ARMS_NOTEBOOK

FILE = f"notebooks/{ARMS_NOTEBOOK}.ipynb"
LINE = (
    f"{FILE}: its first cell differs from the last commit in rounds, epochs, so 'mine' is now "
    f"another study; `git checkout HEAD {FILE}` undoes all edits there\n"
)


@pytest.fixture
def edit(tmp_path, outputs, own_git, monkeypatch) -> Callable[..., None]:
    """Function that gives the notebook of a profile in a folder of its own other values."""
    values = defaults(ARMS_NOTEBOOK) | {"dataset": "digits", "first_labels": 128, "rounds": 2}
    values |= {"acquisition_fraction": 0.05, "candidates": 0}
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "params/mine").mkdir()
    held = tmp_path / f"params/mine/{ARMS_NOTEBOOK}.yaml"
    held.write_text('profile: "mine"\nseeds: [5]\n')

    def write(**changes: object) -> None:
        source = [f"{key} = {value!r}\n" for key, value in (values | changes).items()]
        cell = {"metadata": {"tags": ["parameters"]}, "source": source}
        (tmp_path / FILE).write_text(json.dumps({"cells": [cell]}))

    write()
    return write


def commit() -> None:
    """Commit all that is in the folder."""
    git = ["git", "-C", str(paths.ROOT), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)


def test_what_a_profile_takes_from_an_edited_first_cell_is_told_by_every_command(
    edit, monkeypatch, capsys
):
    commit()
    edit(seeds=[1, 2], workers=3, epochs=2, rounds=3)  # the seeds are the profile's own
    estimate.estimate("mine", "3")
    assert capsys.readouterr().out.startswith(LINE)
    with pytest.raises(NotVerified):
        verify.verify("mine")
    assert capsys.readouterr().out == LINE
    monkeypatch.setattr(notebooks, "is_current", lambda *_: True)
    for notebook in ("", ARMS_NOTEBOOK):
        notebooks.make_reports("mine", notebook)
        assert capsys.readouterr().out.startswith(f"{LINE}{ARMS_NOTEBOOK}: unchanged\n")
    subprocess.run(["git", "-C", str(paths.ROOT), "checkout", "-q", "HEAD", FILE], check=True)
    first_cells.warn_if_edited("mine")
    assert capsys.readouterr().out == ""


def test_without_a_commit_or_without_git_nothing_is_told(edit, monkeypatch, capsys):
    edit(epochs=2)
    first_cells.warn_if_edited("mine")
    commit()
    edit(epochs=3)
    monkeypatch.setenv("PATH", "")
    first_cells.warn_if_edited("mine")
    assert capsys.readouterr().out == ""


def test_runs_without_a_notebook_have_no_first_cell(edit, capsys):
    first_cells.warn_if_edited("ablation")
    assert capsys.readouterr().out == ""
