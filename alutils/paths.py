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
    """The folder that an environment variable names, if it does; ``~`` is the home.

    Whichever is asked for first, all are made absolute in the environment itself: kernels and
    workers, which have other working folders, then mean the same by them.
    """
    for name in FOLDERS:
        if told := os.environ.get(name):
            os.environ[name] = os.path.abspath(os.path.expanduser(told))
    return Path(told) if (told := os.environ.get(variable)) else None
