"""Which study a notebook is, and its parameters in a profile."""

from importlib import import_module
from pathlib import Path
from typing import Any

from alutils import paths
from alutils.protocol.cell import Protocol
from alutils.protocol.parameters import ParameterError, Parameters, check_choice
from alutils.studies.parameter_files import defaults, read_file

FIGURES = ("01-training-size", "02-cifar10-active-learning", "03-mnist-active-learning")
"""The notebooks of the poster's Figures 2 to 4."""
STUDIES = {
    "01-training-size": "training_size.plan.TrainingSizeStudy",
    "02-cifar10-active-learning": "active_learning.plan.ActiveLearningStudy",
    "03-mnist-active-learning": "active_learning.plan.ActiveLearningStudy",
    "04-claims": "claims.plan.ClaimsStudy",
    "05-your-own-strategy": "active_learning.plan.ActiveLearningStudy",
    "06-sensitivity": "sensitivity.plan.SensitivityStudy",
    "07-beyond-the-poster": "beyond.plan.BeyondStudy",
    "08-reductions": "reductions.plan.ReductionsStudy",
    "09-pretrained-features": "pretrained.plan.PretrainedStudy",
    "10-your-own-images": "own_images.plan.OwnImagesStudy",
    "11-label-your-own": "own_labels.plan.OwnLabelsStudy",
}
"""By notebook, the path of its study's class in ``alutils.studies``; imported when needed."""


def study_class(notebook: str) -> type[Parameters]:
    """The class of a notebook's study."""
    module, _, name = STUDIES[notebook].rpartition(".")
    return getattr(import_module(f"alutils.studies.{module}"), name)


def profiles() -> list[str]:
    """Names of all profiles."""
    return sorted(folder.name for folder in paths.PARAMS.iterdir() if folder.is_dir())


def notebooks(profile: str) -> list[str]:
    """Names of the notebooks of a profile, in order; raises if it has none."""
    check_choice("PROFILE", profile, profiles(), ParameterError)
    folder = paths.PARAMS / profile
    if other := sorted(file.name for file in folder.glob("*.yml")):
        raise ParameterError(
            f"params/{profile}/{other[0]} would not be read: rename it to end in .yaml"
        )
    if not (names := sorted(file.stem for file in folder.glob("*.yaml"))):
        raise ParameterError(
            f"PROFILE = {profile!r} has no notebook: params/{profile} needs a parameter file such "
            f"as {next(iter(STUDIES))}.yaml"
        )
    return names


def params_file(profile: str, notebook: str) -> Path:
    """Parameter file of one notebook in one profile."""
    check_choice("NOTEBOOK", notebook, notebooks(profile), ParameterError)
    return paths.PARAMS / profile / f"{notebook}.yaml"


def load_study(profile: str, notebook: str) -> Parameters:
    """A notebook's study in a profile: the notebook's parameters, overridden by the profile's file.

    Papermill gives the notebook the same parameters.
    """
    file = params_file(profile, notebook)
    source = f"params/{profile}/{file.name}"
    check_choice(f"{source}: notebook", notebook, STUDIES, ParameterError)
    values = defaults(notebook) | read_file(file, source)
    both = f"{source} and the first cell of notebooks/{notebook}.ipynb"
    study = study_class(notebook).parse(values, both)
    if study.profile != profile:
        raise ParameterError(
            f"{both}: profile = {study.profile!r} is not allowed in the folder {profile!r}, "
            "whose reports go to another place: give both the same name"
        )
    return study


def studies(profile: str) -> dict[str, Parameters]:
    """The studies of a profile by their notebooks' names, in the notebooks' order."""
    return {name: load_study(profile, name) for name in notebooks(profile)}


def protocol_of(profile: str, notebook: str) -> dict[str, Any]:
    """How a notebook's study trains and evaluates, for use by a study without acquisitions.

    Without what is recorded besides the test accuracy, and the number of candidates.
    """
    return without_acquisitions(load_study(profile, notebook))


def without_acquisitions(study: Any) -> dict[str, Any]:
    """As ``protocol_of``, for a study that is already loaded."""
    unused = {"heldout_every": 0, "diagnostics": False, "stop_set": 0, "candidates": 0}
    return {key: getattr(study, key) for key in Protocol.model_fields} | unused
