"""Reading parameters: a notebook's parameters cell, and a file under ``params/``."""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from alutils import paths
from alutils.protocol.parameters import ParameterError


def defaults(notebook: str) -> dict[str, Any]:
    """Names and values of a notebook's parameters cell, read without running it."""
    file = paths.NOTEBOOKS / f"{notebook}.ipynb"
    source = f"notebooks/{file.name}"
    try:
        return dict(_parameters_cell(file, file.stat().st_mtime_ns))
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        raise ParameterError(f"{source}: its parameters cell can't be read: {error}") from None


@cache
def _parameters_cell(file: Path, _: int) -> dict[str, Any]:
    """The values of a notebook's parameters cell, read again if its file has changed."""
    return values_in(file.read_text(encoding="utf-8"))


def values_in(notebook: str) -> dict[str, Any]:
    """The values of the parameters cell in a notebook's text.

    Raises ``ValueError``, ``KeyError`` or ``SyntaxError``.
    """
    cells = json.loads(notebook)["cells"]
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
    """The value of a literal expression; ``ValueError`` for any other."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"{key} = {ast.unparse(value)} is not a plain value") from None


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys, as the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"{key.value!r} stands twice, again in line {line}: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_file(file: Path, source: str) -> dict[str, Any]:
    """The keys and values of a parameter file."""
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{source} can't be read as YAML: {reason}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ParameterError(f"{source}: expected 'key: value' lines, got {str(values)[:100]}")
    return values
