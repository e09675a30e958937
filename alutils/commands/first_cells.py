"""Edited first cells: a profile takes from them all parameters that its files don't set."""

import subprocess

from alutils.paths import git
from alutils.protocol.study import RUNTIME
from alutils.studies import profiles
from alutils.studies.parameter_files import defaults, read_file, values_in


def warn_if_edited(profile: str, notebook: str = "") -> None:
    """Print which first cells make a profile another study than at the last commit, one per line.

    Those of all its notebooks, or of one; nothing for a profile without notebooks.
    """
    if profile not in profiles.profiles():
        return
    for name in [notebook] if notebook else profiles.notebooks(profile):
        if keys := edited(profile, name):
            print(
                f"notebooks/{name}.ipynb: its first cell differs from the last commit in "
                f"{', '.join(keys)}, so {profile!r} is now another study; "
                f"`git checkout HEAD notebooks/{name}.ipynb` undoes all edits there",
                flush=True,
            )


def edited(profile: str, notebook: str) -> list[str]:
    """Parameters that a profile takes from a first cell and that differ from the last commit.

    Empty if that commit can't be read or has no such notebook.
    """
    try:
        committed = values_in(git("show", f"HEAD:./notebooks/{notebook}.ipynb"))
    except (OSError, ValueError, KeyError, SyntaxError, subprocess.CalledProcessError):
        return []
    now, file = defaults(notebook), profiles.params_file(profile, notebook)
    held = {*read_file(file, file.name), *RUNTIME}
    keys = [key for key in dict.fromkeys([*committed, *now]) if key not in held]
    return [key for key in keys if repr(committed.get(key)) != repr(now.get(key))]
