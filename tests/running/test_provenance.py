"""What a record's provenance says of the code's commit."""

import os
import subprocess
from pathlib import Path

import pytest

from alutils import paths
from alutils.running import provenance

pytestmark = pytest.mark.usefixtures("own_git")
UNKNOWN = {"commit": "unknown", "changed_since_commit": []}


def repository(folder: Path) -> str:
    """Make a repository of one commit that holds ``alutils/code.py``; returns its short hash."""
    (folder / "alutils").mkdir(parents=True)
    (folder / "alutils" / "code.py").write_text(f"# of {folder.name}\n")
    me = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", folder.name]):
        subprocess.run(["git", *words], cwd=folder, env=plain, check=True)
    head = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.check_output(head, cwd=folder, env=plain, text=True).strip()


@pytest.fixture
def ours(tmp_path, monkeypatch) -> str:
    """The commit of a repository in the project's place."""
    monkeypatch.setattr(paths, "ROOT", tmp_path / "ours")
    return repository(tmp_path / "ours")


def test_provenance_has_the_commit_and_what_was_changed_since(ours):
    assert provenance.commit() == {"commit": ours, "changed_since_commit": []}
    (paths.ROOT / "alutils" / "more.py").write_text("")
    assert provenance.commit() == {"commit": ours, "changed_since_commit": ["alutils"]}


def test_variables_of_git_do_not_lead_to_another_repository(ours, tmp_path, monkeypatch):
    other_commit = repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert ours != other_commit and provenance.commit()["commit"] == ours


def test_what_is_unpacked_inside_another_repository_has_no_commit(tmp_path, monkeypatch):
    repository(tmp_path)
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(paths, "ROOT", tmp_path / "unpacked")
    assert provenance.commit() == UNKNOWN


@pytest.mark.parametrize(
    "is_repository", [True, False], ids=["without a commit", "without a repository"]
)
def test_without_a_commit_the_commit_is_unknown(tmp_path, monkeypatch, is_repository):
    if is_repository:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert provenance.commit() == UNKNOWN
