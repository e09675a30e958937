"""Parameters of a notebook: read from plain values, validated as a whole, refused in one line."""

import ast
import difflib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alutils.protocol.cell import Cell

PLAIN = (bool, int, float, str, list, tuple)
"""Types that a parameter may have in a notebook."""
INJECTED = "# Parameters\n"
"""Start of the cell that papermill injects after a notebook's parameters cell."""


class StudyError(RuntimeError):
    """A study can't be run or did not finish; the message says why, and what is kept."""


class ParameterError(ValueError):
    """A parameter is unknown or not allowed; the message names it, its value and the remedy."""


class Parameters(BaseModel):
    """What every notebook's parameters have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "quick"

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "parameters") -> Self:
        """Validate plain values from YAML or a notebook; raises ``ParameterError`` for bad ones."""
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**values)
        except ValidationError as error:
            raise ParameterError(f"{source}: {_explain(cls, error)}") from None

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """Parameters from a notebook's globals, which must name every one of them.

        In a live kernel, a global may come from an earlier version of the parameters cell. So only
        those names count that this cell set when it last ran, and papermill's injected cell after
        it; they are read from IPython's input history (``In``). Injected names that are not
        parameters, missing parameters, and leftover ones are refused.
        """
        first, injected, left = _cells(namespace, cls.model_fields)
        named = (first if first is not None else namespace.keys()) | injected
        given = named & namespace.keys()
        values = {key: namespace[key] for key in cls.model_fields if key in given}
        values |= {key: namespace.get(key) for key in injected}
        parameters = cls.parse(values, "notebook parameters")
        if missing := [key for key in cls.model_fields if key not in values]:
            plain = {name for name in named if isinstance(namespace.get(name), PLAIN)}
            near = _nearest(missing[0], plain - values.keys())
            hint = f"is it {near!r} = {namespace[near]!r}?" if near else "give it a value"
            raise ParameterError(f"notebook parameters: {missing[0]!r} is missing: {hint}")
        if left := [key for key in cls.model_fields if key in left]:
            raise ParameterError(
                f"notebook parameters: {left[0]!r} = {namespace.get(left[0])!r} is left over from "
                "a cell that has since changed: run the first cell again, then those after it"
            )
        return parameters

    def cells(self) -> list[Cell]:
        """The cells that the notebook is about."""
        raise NotImplementedError

    def files(self) -> list[Path]:
        """Files that the notebook reads besides the records of its cells."""
        return []

    def related(self) -> list["Parameters"]:
        """Other studies whose parameters the notebook reads."""
        return []

    def own_features(self) -> list[tuple[str, str]]:
        """Dataset and encoder of features on which the notebook itself trains, without cells."""
        return []


def cells_of(studies: Iterable[Parameters]) -> list[Cell]:
    """The cells of some studies, each once."""
    return list({cell.name: cell for study in studies for cell in study.cells()}.values())


def check_choice(
    key: str, name: str, allowed: Any, error: type[ValueError] = ValueError, or_else: str = ""
) -> None:
    """Refuse a name that is not allowed, and suggest the nearest one."""
    if name not in allowed:
        near = _nearest(str(name), allowed, cutoff=0.4)
        hint = f"did you mean {near!r}? " if near else ""
        names = ", ".join(allowed) + (f", or {or_else}" if or_else else "")
        raise error(f"{key} = {name!r} is unknown: {hint}allowed are {names}")


def check_unique(key: str, values: tuple) -> None:
    """Refuse duplicate values."""
    if len(set(values)) < len(values):
        raise ValueError(f"{key} = {list(values)} holds duplicates: list each value once")


def check_increasing(key: str, values: tuple) -> None:
    """Refuse values that are not strictly increasing."""
    if list(values) != sorted(set(values)):
        raise ValueError(f"{key} = {list(values)} must increase")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    """One line for the first problem: key, value, what is allowed, the nearest name."""
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = _nearest(key, model.model_fields)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(model.model_fields)}"
        return f"unknown parameter {key!r} = {first['input']!r}: {hint}"
    problems = [problem for problem in error.errors() if problem["loc"][0] == first["loc"][0]]
    # A list whose every element is refused is called too short as well.
    problems = [each for each in problems if each["type"] != "too_short"] or problems
    reasons = dict.fromkeys(_reason(model, problem) for problem in problems)
    return f"{key} = {first['input']!r} is not allowed: {', or '.join(reasons)}"


def _nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The name among others that is most similar, ignoring case; empty if none is similar."""
    by_lower = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else ""


def _reason(model: type[BaseModel], error: Any) -> str:
    """What is wrong with a value, and how to correct it."""
    key = error["loc"][0]
    if error["type"] == "tuple_type":
        example = json.dumps(list(model.model_fields[key].default[:2]) or ["a", "b"])
        reason = f"it should be a list, as in {example}"
        if isinstance(error["input"], str):
            reason += f"; papermill's -p passes text, so use -y '{key}: {example}'"
        return reason
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "string_pattern_mismatch":
        return "it should be lower-case letters, digits and hyphens, and not begin with a hyphen"
    if error["type"] == "string_type" and type(error["input"]) in (int, float):
        reason = "it should be text, in quotes"
        if len(error["loc"]) == 1:
            reason += f"; papermill's -p turned it into a number: use -r {key}"
        return reason
    reason = error["msg"].lower()
    if error["type"] == "float_type" and isinstance(error["input"], str):
        reason += ", not text: YAML reads 5.0e-4, with a decimal point, as a number"
    return reason


def _cells(
    namespace: dict[str, Any], fields: Collection[str]
) -> tuple[set[str] | None, set[str], set[str]]:
    """Names set by a notebook's parameters cell, by its injected cell, and by neither any more.

    Read from IPython's input history, where the parameters cell is the last one that sets at least
    half of the parameters, misspelt or not (None if there is no such cell). Papermill's injected
    cell follows it; if that was changed and run again, names that only its earlier versions set are
    left over.
    """
    history = [(text.startswith(INJECTED), text) for text in namespace.get("In", [])]
    first, injected = None, []
    for is_injected, text in reversed(history):
        names = _assigned(text)
        if is_injected:
            injected.append(names)
        elif 2 * sum(_among(key, names) for key in fields) >= len(fields):
            first = names
            break
    last = injected[0] if injected else set()
    return first, last, set().union(*injected[1:]) - last


def _among(key: str, names: Iterable[str]) -> bool:
    """Whether a name is there, perhaps misspelt."""
    return key in names or bool(difflib.get_close_matches(key, names, n=1, cutoff=0.8))


def _assigned(text: str) -> set[str]:
    """Names that a cell's top-level statements assign; none if it is not valid Python."""
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError):
        return set()
    targets = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in nodes if isinstance(node, ast.AnnAssign) and node.value]
    names = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}
