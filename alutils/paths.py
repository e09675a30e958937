"""Where things are: the repository, its outputs, and the user's data cache."""

import os
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


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names, or None; ``~`` is the user's home.

    All variables of ``FOLDERS`` are made absolute in the environment itself, so that kernels and
    workers, which have other working folders, read the same.
    """
    for name in FOLDERS:
        if folder := os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(folder))
    return Path(folder) if (folder := os.environ.get(variable)) else None
