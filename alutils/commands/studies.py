"""The studies of a profile, with or without a notebook."""

from importlib import import_module
from typing import NamedTuple

from alutils.protocol.parameters import ParameterError, Parameters, check_choice
from alutils.studies import profiles


class Command(NamedTuple):
    """A command of studies without a notebook: their module in ``alutils.studies``, and its help.

    The module has ``studies()`` and ``main()``.
    """

    module: str
    purpose: str


RUNS = {
    "ablation": Command("claims.ablation", "run the authors' evaluation, switch by switch"),
    "recipe": Command("choices.recipe", "choose the recipes again, on held-out data"),
    "precision": Command("choices.precision", "compare bf16 with fp32, on held-out data"),
    "head": Command("choices.head", "choose the linear head's recipe again, on held-out data"),
    "ceiling": Command("training_size.ceiling_runs", "train on every label of the pool"),
    "transfer": Command("transfer.plan", "train on labels that another recipe's arms chose"),
}
"""By command, which is also the profile of their records."""


def run_module(name: str) -> object:
    """The module of a command of ``RUNS``."""
    return import_module(f"alutils.studies.{RUNS[name].module}")


def named_studies(profile: str) -> list[tuple[str, Parameters]]:
    """The studies of a profile, each named after its notebook, or after the profile without one."""
    if profile in RUNS:
        return [(profile, study) for study in run_module(profile).studies()]
    check_choice("PROFILE", profile, [*profiles.profiles(), *RUNS], ParameterError)
    return list(profiles.studies(profile).items())


def studies_of(profile: str) -> list[Parameters]:
    """The studies of ``named_studies``."""
    return [study for _, study in named_studies(profile)]


def what_makes(profile: str) -> str:
    """The command that makes a profile's records."""
    if profile in RUNS:
        return f".venv/bin/python -m alutils {profile}"
    return f"make study PROFILE={profile}"
