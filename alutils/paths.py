"""Where things are: the repository, its outputs, and the user's data cache."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"


def outputs() -> Path:
    """Folder of all reports and records; ``ALUTILS_OUTPUTS`` overrides the repository's."""
    return Path(os.environ.get("ALUTILS_OUTPUTS") or ROOT / "outputs").absolute()


def data_cache() -> Path:
    """Folder of the prepared datasets; ``ALUTILS_DATA`` overrides the user cache."""
    if override := os.environ.get("ALUTILS_DATA"):
        return Path(override).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "alutils"
