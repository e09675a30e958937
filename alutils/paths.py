"""Where things are: the repository, its outputs, and the user's data cache."""

import os
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
FOLDERS = ("ALUTILS_OUTPUTS", "ALUTILS_DATA", "XDG_CACHE_HOME")
"""Environment variables that name folders."""


def outputs() -> Path:
    """Folder of all reports and records; ``ALUTILS_OUTPUTS`` overrides the repository's."""
    return _named("ALUTILS_OUTPUTS") or ROOT / "outputs"


def data_cache() -> Path:
    """Folder of the prepared datasets; ``ALUTILS_DATA`` overrides the user cache."""
    if override := _named("ALUTILS_DATA"):
        return override
    return (_named("XDG_CACHE_HOME") or Path.home() / ".cache") / "alutils"


def git(*words: str) -> str:
    """What git says of the repository, whatever another one its variables name.

    Raises ``OSError`` without git, and ``CalledProcessError`` where it refuses.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(ROOT), *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True
    )
    return done.stdout


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names, or None; ``~`` is the user's home.

    All variables of ``FOLDERS`` are made absolute in the environment itself, so that kernels and
    workers, which have other working folders, read the same.
    """
    for name in FOLDERS:
        if folder := os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(folder))
    return Path(folder) if (folder := os.environ.get(variable)) else None
