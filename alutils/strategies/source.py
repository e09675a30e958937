"""The hash of a user's strategy: the same in every process, and different if the code changes.

It covers the strategy's source and everything outside that the source names. Functions of the
notebook, and of modules that are not installed, are followed into their own source, and constants
count by their value; what is installed counts by its module and name. A strategy that uses
something whose change would go unnoticed in this way is refused with a ``ValueError`` that names
the remedy.
"""

import ast
import builtins
import hashlib
import importlib.util
import inspect
import linecache
import os
import symtable
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, EllipsisType, FunctionType, ModuleType, NoneType

import numpy as np
import torch
from torch import Tensor

PLAIN = {
    NoneType, EllipsisType, bool, int, float, complex, str, bytes, range, torch.dtype,
    torch.device,
}  # fmt: skip
"""Types of constants whose ``repr`` is all there is to them."""
RUNNING_TEXT = {"eval", "exec", "compile", "globals", "__import__"}
"""Built-in functions that may use code which the source doesn't name."""
LOADING = {"importlib", "runpy", "builtins"}
"""Modules that have such functions."""
STANDARD_LIBRARY = Path(os.__file__).parent
PACKAGES = {"site-packages", "dist-packages"}
"""Folders that installed packages lie in."""


class StrategySource:
    """The text of a strategy and of all that it uses; ``digest`` is the text's hash.

    ``modules`` names the modules that are not installed and were followed: workers elsewhere can't
    import them.
    """

    def __init__(self, strategy: FunctionType):
        self.modules: set[str] = set()
        self._numbers: dict[FunctionType, int] = {}
        self._texts: list[str] = []
        self._texts.append(self._words(strategy.__name__, strategy))
        self.digest = _hash("\n".join(self._texts).encode())[:12]

    def _function(self, function: FunctionType) -> str:
        """A function's number; on first use, its text and everything that it names are recorded."""
        if function not in self._numbers:
            self._numbers[function] = number = len(self._numbers)
            self.modules.add(_module(function))
            text, known = _text(function), _around(function)
            _check_builtins(text, known)
            used = _defaults(function) | dict(
                self._looked_up(names, known) for names in _named(text) if names[0] in known
            )
            lines = [f"{name} = {self._words(name, used[name])}" for name in sorted(used)]
            self._texts.append("\n".join([f"function {number}:", text, *lines]))
        return f"function {self._numbers[function]}"

    def _looked_up(self, names: list[str], known: dict[str, object]) -> tuple[str, object]:
        """Name and value of a dotted name, followed only through modules that are not installed."""
        value, length = known[names[0]], 1
        while isinstance(value, ModuleType) and not installed(value.__name__):
            self.modules.add(value.__name__)
            if length == len(names) or not hasattr(value, names[length]):
                break
            value, length = getattr(value, names[length]), length + 1
        return ".".join(names[:length]), value

    def _words(self, name: str, value: object) -> str:
        """A value as text that is the same in every process and differs if the value does."""
        if type(value) in PLAIN:
            return repr(value)
        if type(value) in (list, tuple, set, frozenset):
            parts = [self._words(name, part) for part in value]
            ordered = parts if isinstance(value, list | tuple) else sorted(parts)
            return f"{type(value).__name__}({', '.join(ordered)})"
        if type(value) is dict:
            return f"dict({self._words(name, list(value.items()))})"
        if isinstance(value, np.generic) or type(value) is np.ndarray:
            if not value.dtype.hasobject:
                kind = type(value).__name__
                return f"{kind}({value.dtype}, {value.shape}, {_hash(value.tobytes())})"
        elif isinstance(value, Tensor) and value.layout == torch.strided:
            flat = value.detach().cpu().reshape(-1).view(torch.uint8)
            return f"tensor({value.dtype}, {tuple(value.shape)}, {_hash(flat.numpy().tobytes())})"
        elif function := _unwrapped(name, value):
            return self._function(function)
        elif imported := _imported(value):
            if _loads(value):
                raise _unseen(name)
            return imported
        raise ValueError(f"{name} is a {type(value).__name__}, and {_remedy(value)}")


def installed(name: str) -> bool:
    """Whether workers elsewhere can import a module, as part of Python, this study or a package.

    They can't import a notebook's module or the user's own files.
    """
    top = name.partition(".")[0]
    if top in ("alutils", "__main__"):
        return top == "alutils"
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a notebook's module, and one made by hand, have no spec
        return False
    if spec is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    paths = [Path(path) for path in spec.submodule_search_locations or [spec.origin or ""]]
    return all(
        PACKAGES & set(path.parts) or path.is_relative_to(STANDARD_LIBRARY) for path in paths
    )


def _module(function: FunctionType) -> str:
    return function.__globals__.get("__name__", "__main__")


def _defaults(function: FunctionType) -> dict[str, object]:
    """Values that belong to a function: its parameters' defaults, and attributes set on it."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    given = {
        f"default of {parameter.name}": parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty
    }
    return given | {name: value for name, value in vars(function).items() if name[:2] != "__"}


def _around(function: FunctionType) -> dict[str, object]:
    """Everything outside a function that it can refer to, by name."""
    cells = function.__closure__ or ()
    closed = zip(function.__code__.co_freevars, cells, strict=True)
    return function.__globals__ | {name: cell.cell_contents for name, cell in closed}


def _text(function: FunctionType) -> str:
    """A function's source; raises ``ValueError`` if its file has changed since it was loaded."""
    code, name = function.__code__, function.__name__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise ValueError(
            f"the source of {name!r} can't be read: define it in a plain cell, without %%time and "
            "the like, or in a file"
        )
    if "__file__" in function.__globals__ and not _is_of(code, "".join(lines)):
        raise ValueError(
            f"{Path(code.co_filename).name} was changed since {name!r} was imported from it: "
            "restart the kernel"
        )
    return textwrap.dedent(inspect.getsource(code))


def _is_of(code: CodeType, source: str) -> bool:
    """Whether a file's source, compiled, holds this code at the same lines."""
    try:
        compiled = compile(source, "", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return _as_compiled(code) in _codes(compiled)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object, and all that are nested in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _as_compiled(code: CodeType) -> CodeType:
    """A fresh copy of code, without what Python's interpreter caches in it as it runs."""
    parts = (_as_compiled(part) if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_consts=tuple(parts))


def _named(text: str) -> list[list[str]]:
    """The dotted names by which a function and its decorators refer to things outside it."""
    tree = _parsed(text)
    _check_imports(tree)
    outer = {names[0] for decorator in _decorators(tree) for names in _dotted(decorator)}
    outer |= set().union(*map(_globals, symtable.symtable(text, "", "exec").get_children()))
    return [names for names in _dotted(tree) if names[0] in outer]


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:
        raise ValueError(
            "can't find where the function begins and ends in "
            f"{text.strip().splitlines()[0]!r}: write it with def, on lines of its own"
        ) from None


def _decorators(tree: ast.Module) -> list[ast.expr]:
    return getattr(tree.body[0], "decorator_list", [])


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Names from outside that a function, or one nested in it, uses."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names.union(*map(_globals, table.get_children()))


def _dotted(tree: ast.AST) -> Iterator[list[str]]:
    """Names with all the attributes that follow them."""
    within = set()
    for node in ast.walk(tree):
        attributes, base = [], node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
            within.add(base)
        if isinstance(base, ast.Name) and node not in within:
            yield [base.id, *attributes]


def _check_builtins(text: str, known: dict[str, object]) -> None:
    """Refuse built-in functions that may use code which the source doesn't name."""
    for names in _named(text):
        if names[0] in RUNNING_TEXT - known.keys():
            raise _unseen(names[0])


def _loads(value: object) -> bool:
    """Whether a standard-library module, function or class may use code that no source names."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    if str(home).partition(".")[0] in LOADING - {"builtins"} or value is builtins:
        return True
    return any(value is getattr(builtins, name) for name in RUNNING_TEXT)


def _unseen(name: str) -> ValueError:
    return ValueError(
        f"{name} may use code that the source doesn't name, so a change would go unnoticed: import "
        "what it uses before the function, and name that within the function"
    )


def _check_imports(tree: ast.AST) -> None:
    """Refuse imports within a function that would fail on workers elsewhere, or that hide code."""
    if ["sys", "modules"] in [names[:2] for names in _dotted(tree)]:
        raise _unseen("sys.modules")
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        for name in names:
            if name.partition(".")[0] in LOADING:
                raise _unseen(name)
            if name[:1] == "." or not installed(name):
                raise ValueError(
                    f"{name} is imported within a function, and workers elsewhere don't have it: "
                    "import it above"
                )


def _unwrapped(name: str, value: object) -> FunctionType | None:
    """The user's function without installed decorators, which its source names; else None."""
    layers = 0
    while not (isinstance(value, FunctionType) and not installed(_module(value))):
        if not hasattr(value, "__wrapped__"):
            return None
        value, layers = value.__wrapped__, layers + 1
    if layers > len(_decorators(_parsed(_text(value)))):
        raise ValueError(
            f"{name} is decorated elsewhere than where it is defined, so a change of its decorator "
            "would go unnoticed: put the decorator above its def"
        )
    return value


def _imported(value: object) -> str:
    """Kind, module and name of a module, class or function that is installed; empty for others."""
    if isinstance(value, ModuleType):
        return f"module {value.__name__}" if installed(value.__name__) else ""
    if isinstance(value, np.ufunc):  # one made from a Python function takes only objects
        return "" if value.types == ["O->O"] else f"{value} of {value.types}"
    owner = getattr(value, "__self__", None)
    bound = not isinstance(owner, type | ModuleType | None)
    if bound or not (isinstance(value, type) or inspect.isroutine(value)):
        return ""
    owners = (value, owner, getattr(value, "__objclass__", None))
    homes = [owner.__module__ for owner in owners if getattr(owner, "__module__", None)]
    if "<" in value.__qualname__ or not all(map(installed, homes)):  # made within a function
        return ""
    return f"{type(value).__name__} {homes[0]}.{value.__qualname__}"


def _remedy(value: object) -> str:
    """Why a value is refused, and what to do."""
    if isinstance(value, ModuleType):
        return "what is used of it can't be determined: name that, as in MODULE.NAME"
    could_not = "changes to it would go unnoticed"
    if isinstance(value, type):
        return f"{could_not}: use functions, or import it from an installed package"
    return (
        f"{could_not}: use numbers, text, arrays, or lists, tuples, sets and dicts of these, make "
        "it within the function, or import its module and name it there, as in MODULE.NAME"
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
