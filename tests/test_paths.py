import subprocess
import sys

import pytest

from alutils import paths

TELL = "from alutils import paths; print(paths.outputs(), paths.data_cache(), sep=chr(10))"
ASKED = [paths.outputs, paths.data_cache]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working folder that is not the repository, and none of the variables set."""
    for name in paths.FOLDERS:
        monkeypatch.setenv(name, "")  # so that what is made of them is undone
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told_by_a_child() -> list[str]:
    """What a process thinks whose working folder is the repository, as a notebook's is."""
    return subprocess.check_output([sys.executable, "-c", TELL], cwd=paths.ROOT, text=True).split()


@pytest.mark.parametrize("first", ASKED)
def test_relative_folders_are_the_same_in_every_process(elsewhere, monkeypatch, first):
    monkeypatch.setenv("ALUTILS_OUTPUTS", "out")
    monkeypatch.setenv("ALUTILS_DATA", "data")
    first()
    assert told_by_a_child() == [str(elsewhere / "out"), str(elsewhere / "data")]
    (elsewhere / "other").mkdir()
    monkeypatch.chdir("other")
    assert paths.outputs() == elsewhere / "out"


def test_a_relative_user_cache_is_one_too(elsewhere, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    paths.outputs()
    assert told_by_a_child()[1] == str(elsewhere / "cache" / "alutils")


def test_a_quoted_tilde_is_the_home(elsewhere, monkeypatch):
    for name in paths.FOLDERS:
        monkeypatch.setenv(name, f"~/{name}")
    assert paths.outputs() == elsewhere / "home" / "ALUTILS_OUTPUTS"
    assert paths.data_cache() == elsewhere / "home" / "ALUTILS_DATA"
    monkeypatch.setenv("ALUTILS_DATA", "")
    assert paths.data_cache() == elsewhere / "home" / "XDG_CACHE_HOME" / "alutils"


def test_without_variables_they_are_in_the_repository_and_the_users_cache(elsewhere):
    assert paths.outputs() == paths.ROOT / "outputs"
    assert paths.data_cache() == elsewhere / "home" / ".cache" / "alutils"
