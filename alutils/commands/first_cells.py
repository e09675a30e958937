"""First cells that were edited: every profile takes from them what its files don't hold."""

import subprocess

from alutils.paths import git
from alutils.protocol.study import RUNTIME
from alutils.studies import profiles
from alutils.studies.parameter_files import defaults, read_file, values_in


def tell(profile: str, notebook: str = "") -> None:
    """Say in a line which first cells make another study of a profile than the last commit did.

    Of the profile's notebooks, or of one alone; nothing of a profile that has none.
    """
    if profile not in profiles.profiles():
        return
    for name in [notebook] if notebook else profiles.notebooks(profile):
        if keys := edited(profile, name):
            print(
                f"notebooks/{name}.ipynb: its first cell differs from the last commit in "
                f"{', '.join(keys)}, so {profile!r} is another study than it was; "
                f"`git checkout HEAD notebooks/{name}.ipynb` undoes all edits there",
                flush=True,
            )


def edited(profile: str, notebook: str) -> list[str]:
    """Parameters that a profile takes from a first cell, where they are not as committed.

    Empty where the last commit can't be had, or has no such notebook.
    """
    try:
        committed = values_in(git("show", f"HEAD:./notebooks/{notebook}.ipynb"))
    except (OSError, ValueError, KeyError, SyntaxError, subprocess.CalledProcessError):
        return []
    now, file = defaults(notebook), profiles.params_file(profile, notebook)
    held = {*read_file(file, file.name), *RUNTIME}
    keys = [key for key in dict.fromkeys([*committed, *now]) if key not in held]
    return [key for key in keys if repr(committed.get(key)) != repr(now.get(key))]
