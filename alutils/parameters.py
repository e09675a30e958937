"""Parameters of a notebook: read from plain values, validated as a whole, refused in one line."""

import ast
import difflib
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alutils.protocol import Cell

PLAIN = (bool, int, float, str, list, tuple)
"""What a parameter may be in a notebook."""


class StudyError(RuntimeError):
    """A study can't be done or did not end well; the message says why and what is kept."""


class ParameterError(ValueError):
    """A parameter is unknown or not allowed; the message names it, its value and the remedy."""


class Parameters(BaseModel):
    """What every notebook's parameters have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "quick"

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "parameters") -> Self:
        """Validate plain values (as YAML or a notebook gives them); raise one clear error."""
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**values)
        except ValidationError as error:
            raise ParameterError(f"{source}: {_explain(cls, error)}") from None

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """Parameters of a notebook's own globals, which name every one of them.

        Refuses what was injected and no one reads, and what the first cell lacks.
        """
        values = {key: namespace[key] for key in cls.model_fields if key in namespace}
        values |= {key: namespace.get(key) for key in _injected(namespace)}
        plan = cls.parse(values, "notebook parameters")
        if missing := [key for key in cls.model_fields if key not in values]:
            plain = [name for name, value in namespace.items() if isinstance(value, PLAIN)]
            near = difflib.get_close_matches(missing[0], set(plain) - values.keys(), n=1)
            hint = f"is it {near[0]!r} = {namespace[near[0]]!r}?" if near else "give it a value"
            raise ParameterError(f"notebook parameters: {missing[0]!r} is missing: {hint}")
        return plan

    def cells(self) -> list[Cell]:
        """The cells that the notebook is about."""
        raise NotImplementedError


def known(key: str, name: str, allowed: Any, error: type[ValueError] = ValueError) -> None:
    """Refuse a name that is not among the allowed ones, and say the nearest."""
    if name not in allowed:
        near = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise error(f"{key} = {name!r} is unknown: {hint}allowed are {', '.join(allowed)}")


def no_duplicates(key: str, values: tuple) -> None:
    """Refuse values that are not all different."""
    if len(set(values)) < len(values):
        raise ValueError(f"{key} = {list(values)} holds duplicates: name each once")


def increasing(key: str, values: tuple) -> None:
    """Refuse values that do not go up throughout."""
    if list(values) != sorted(set(values)):
        raise ValueError(f"{key} = {list(values)} must increase")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    """One line for the first problem: key, value, what is allowed, the nearest name."""
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(model.model_fields)}"
        )
        return f"unknown parameter {key!r} = {first['input']!r}: {hint}"
    told = dict.fromkeys(_told(one) for one in error.errors() if one["loc"][0] == first["loc"][0])
    return f"{key} = {first['input']!r} is not allowed: {', or '.join(told)}"


def _told(error: Any) -> str:
    """What is wrong with a value, and how it would be right."""
    if error["type"] == "tuple_type":
        return "it should be a list, as in [0, 1]"
    told = error["msg"].lower()
    if error["type"] == "float_type" and isinstance(error["input"], str):
        told += ", not text: YAML takes 5.0e-4, with a point, for a number"
    return told


def _injected(namespace: dict[str, Any]) -> list[str]:
    """Names assigned in cells that papermill injected, read from IPython's input history."""
    sources = [text for text in namespace.get("In", []) if text.startswith("# Parameters\n")]
    nodes = [node for text in sources for node in ast.parse(text).body]
    return [node.targets[0].id for node in nodes if isinstance(node, ast.Assign)]
