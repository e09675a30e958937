"""The studies of a profile, with a notebook or without."""

from alutils.protocol.parameters import ParameterError, Parameters, known
from alutils.studies import profiles
from alutils.studies.choices import head, precision, recipe
from alutils.studies.claims.ablation import AblationStudy
from alutils.studies.training_size import ceiling
from alutils.studies.transfer import plan as transfer


def named_studies(profile: str) -> list[tuple[str, Parameters]]:
    """The studies of a profile's notebooks, by these; or those that have none, by the profile."""
    listed = (recipe, precision, head, ceiling, transfer)
    besides = [AblationStudy(), *(study for module in listed for study in module.studies())]
    if of_profile := [study for study in besides if study.profile == profile]:
        return [(profile, study) for study in of_profile]
    every = [*profiles.profiles(), *dict.fromkeys(study.profile for study in besides)]
    known("PROFILE", profile, every, ParameterError)
    return [(name, profiles.load_study(profile, name)) for name in profiles.notebooks(profile)]


def studies_of(profile: str) -> list[Parameters]:
    """The studies of ``named_studies``."""
    return [study for _, study in named_studies(profile)]
