"""Which study a notebook is, and its parameters in a profile."""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from alutils import paths
from alutils.comparisons import BeyondStudy, ReductionsStudy
from alutils.parameters import ParameterError, Parameters, known
from alutils.plans import ActiveLearningStudy, Study, TrainingSizeStudy
from alutils.protocol import Cell
from alutils.settings import SensitivityStudy

FIGURES = ("01-training-size", "02-cifar10-active-learning", "03-mnist-active-learning")
"""The notebooks of the poster's Figures 2 to 4."""


class ClaimsStudy(Parameters):
    """The audit of the poster's claims: reads what a profile's notebooks of its figures ran."""

    def cells(self) -> list[Cell]:
        """The cells of the poster's figures, each once; raises where two would be taken for one."""
        found: dict[tuple, Cell] = {}
        for cell in (cell for study in self._studies() for cell in study.cells()):
            key = (cell.figure, cell.dataset, cell.arm, cell.seed)
            if found.setdefault(key, cell) != cell:
                raise ParameterError(
                    f"the notebooks of {self.profile!r} train {cell.arm} on {cell.dataset} for "
                    f"figure {cell.figure} in two ways, so that no claim can be judged on it: give "
                    "them the same parameters, or each its own dataset"
                )
        return list(found.values())

    @property
    def reported(self) -> str:
        """The accuracy that the profile's notebooks report; raises where they differ in that."""
        found = {study.reported for study in self._studies()}
        if len(found) > 1:
            raise ParameterError(
                f"reported = {' and '.join(sorted(found))} in the notebooks of {self.profile!r}: "
                "claims are judged on one kind of accuracy, so set the same in all"
            )
        return found.pop() if found else "test"

    def _studies(self) -> list[Study]:
        there = notebooks(self.profile)
        return [load_study(self.profile, name) for name in FIGURES if name in there]


STUDIES: dict[str, type[Parameters]] = {
    "01-training-size": TrainingSizeStudy,
    "02-cifar10-active-learning": ActiveLearningStudy,
    "03-mnist-active-learning": ActiveLearningStudy,
    "04-claims": ClaimsStudy,
    "05-your-own-strategy": ActiveLearningStudy,
    "06-sensitivity": SensitivityStudy,
    "07-beyond-the-poster": BeyondStudy,
    "08-reductions": ReductionsStudy,
}


def profiles() -> list[str]:
    """Names of the profiles there are."""
    return sorted(folder.name for folder in paths.PARAMS.iterdir() if folder.is_dir())


def notebooks(profile: str) -> list[str]:
    """Names of the notebooks of a profile, in their order; raises where it has none."""
    known("PROFILE", profile, profiles(), ParameterError)
    folder = paths.PARAMS / profile
    if other := sorted(file.name for file in folder.glob("*.yml")):
        raise ParameterError(
            f"params/{profile}/{other[0]} would not be read: rename it to end in .yaml"
        )
    if not (found := sorted(file.stem for file in folder.glob("*.yaml"))):
        raise ParameterError(
            f"PROFILE = {profile!r} has no notebook: params/{profile} needs a parameter file such "
            f"as {next(iter(STUDIES))}.yaml"
        )
    return found


def params_file(profile: str, notebook: str) -> Path:
    """Parameter file of one notebook in one profile."""
    known("NOTEBOOK", notebook, notebooks(profile), ParameterError)
    return paths.PARAMS / profile / f"{notebook}.yaml"


def load_study(profile: str, notebook: str) -> Parameters:
    """A notebook's study in a profile: its own parameters, and over them those of the file.

    This is what papermill makes of the same file.
    """
    file = params_file(profile, notebook)
    source = f"params/{profile}/{file.name}"
    known(f"{source}: notebook", notebook, STUDIES, ParameterError)
    plan = STUDIES[notebook].parse(defaults(notebook) | _read(file, source), source)
    if plan.profile != profile:
        raise ParameterError(
            f"{source}: profile = {plan.profile!r} is not allowed in the folder {profile!r}, whose "
            "reports go to another place: give both the same name"
        )
    return plan


def defaults(notebook: str) -> dict[str, Any]:
    """What a notebook's parameters cell says, read without running it: one plain value a name."""
    file = paths.NOTEBOOKS / f"{notebook}.ipynb"
    source = f"notebooks/{file.name}"
    try:
        return dict(_parameters_cell(file, file.stat().st_mtime_ns))
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        raise ParameterError(f"{source}: its parameters cell can't be read: {error}") from None


@cache
def _parameters_cell(file: Path, _: int) -> dict[str, Any]:
    """The values of a notebook's parameters cell, read once for every time that it changed."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{len(tagged)} cells have the tag parameters, give it to one")
    values: dict[str, Any] = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=key)], value=value) if key not in values:
                values[key] = _literal(key, value)
            case _:
                raise ValueError(
                    f"{ast.unparse(node)!r} is not allowed there: give each name one plain value"
                )
    return values


def _literal(key: str, value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"{key} = {ast.unparse(value)} is not a plain value") from None


class _Loader(yaml.SafeLoader):
    """YAML of which no key stands twice, so that none is overridden unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"{key.value!r} stands twice, again in line {line}: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: Path, source: str) -> dict[str, Any]:
    """The keys and values of a parameter file."""
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{source} can't be read as YAML: {reason}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ParameterError(f"{source}: expected 'key: value' lines, got {str(values)[:100]}")
    return values
