"""What is in the name of a strategy of a user: all that decides what it returns, or an error."""

import importlib
import linecache
import subprocess
import sys
from functools import cache, partial, wraps
from types import ModuleType, SimpleNamespace

import cloudpickle
import numpy as np
import pytest
import torch

from alutils.paths import ROOT
from alutils.strategies import own
from alutils.strategies.source import StrategySource, installed


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write files of a user's folder and import ``own_strategies``, as a fresh kernel does."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)

    def write(**texts: str) -> ModuleType:
        for name, text in texts.items():
            file = tmp_path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        forget()
        importlib.invalidate_caches()
        return importlib.import_module("own_strategies")

    def forget() -> None:
        for name in {"own_strategies", "helpers", "deeper", "pack", "pack.helpers"}:
            sys.modules.pop(name, None)

    yield write
    forget()


def digest(function) -> str:
    return StrategySource(function).digest


USES = "\ndef lowest(view, budget, rng):\n    return score(view.probs_N_C)[:budget]\n"
DOTTED = USES.replace("score(", "score.of(")
DECORATED = "\n@score()" + USES
TWICE = USES.replace("score(", "a(b)(c)(")
HELPERS = "\ndef f(x): return x\ndef g(x): return -x\n"
CHANGES = {
    "torch": ("from torch import amax as score", "from torch import amin as score", USES),
    "numpy": ("from numpy import max as score", "from numpy import min as score", USES),
    "ufunc": ("from numpy import exp as score", "from numpy import log as score", USES),
    "scipy": (
        "from scipy.special import entr as score", "from scipy.special import expit as score", USES,
    ),
    "package": (
        "from numpy import log1p as score", "from scipy.special import log1p as score", USES,
    ),
    "loss": (
        "from torch.nn import CrossEntropyLoss as score", "from torch.nn import NLLLoss as score",
        USES,
    ),
    "method": ("from torch import Tensor\nscore = Tensor.amax",
               "from torch import Tensor\nscore = Tensor.amin", USES),
    "module": ("import math as score", "import cmath as score", DOTTED),
    "decorator": (
        "from torch import no_grad as score", "from torch import enable_grad as score", DECORATED,
    ),
    "constant": ("score = 1", "score = 2", USES),
    "table": (HELPERS + "score = {'f': f}", HELPERS + "score = {'f': g}", USES),
    "swap": (HELPERS + "a, b, c = f, g, f", HELPERS + "a, b, c = f, g, g", TWICE),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_strategy_names_is_in_its_name(change, written):
    first, second, strategy = CHANGES[change]
    digests = [
        digest(written(own_strategies=text + strategy).lowest) for text in (first, second, first)
    ]
    assert digests[0] == digests[2] != digests[1]


def test_a_name_is_the_same_in_every_process(written, tmp_path):
    text = (
        "from numpy import exp\nfrom torch import amax\nKINDS = {'b', 'a', 'c'}\n"
        "def score(x):\n    return exp(amax(x)) if KINDS else x\n" + USES
    )
    expected = digest(written(own_strategies=text).lowest)
    code = (
        "from own_strategies import lowest; from alutils.strategies.source import StrategySource;"
        "print(StrategySource(lowest).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.stdout.strip() == expected, done.stderr


WAYS = {
    "function": "from helpers import score\n" + USES,
    "module": "import helpers\n" + USES.replace("score(", "helpers.score("),
    "renamed": "import helpers as h\n" + USES.replace("score(", "h.score("),
    "package": "from pack import helpers\n" + USES.replace("score(", "helpers.score("),
    "dotted": "import pack.helpers\n" + USES.replace("score(", "pack.helpers.score("),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_helper_that_is_not_installed_is_followed_and_travels(way, written, monkeypatch):
    """In whatever way it is imported, and however far it leads."""
    monkeypatch.setattr(own, "STRATEGIES", dict(own.STRATEGIES))
    monkeypatch.setattr(own, "CUSTOM_ARMS", {})  # not those that the studies know
    texts = [
        "from deeper import POWER\ndef score(x):\n    return (x * SIGN) ** POWER\nSIGN = 1\n",
        "from deeper import POWER\ndef score(x):\n    return (x * SIGN) ** POWER\nSIGN = -1\n",
        "from deeper import POWER\ndef score(x):\n    return -(x * SIGN) ** POWER\nSIGN = 1\n",
        "from deeper import POWER\ndef score(x):\n    return (x * SIGN) ** POWER\nSIGN = 1\n#\n",
    ]
    digests = []
    for power, text in ((2, texts[0]), (3, texts[0]), (2, texts[1]), (2, texts[2]), (2, texts[3])):
        module = written(
            deeper=f"POWER = {power}\n", helpers=text, pack__helpers=text,
            own_strategies=WAYS[way],
        )  # fmt: skip
        digests.append(digest(module.lowest))
    assert len(set(digests[:4])) == 4 and digests[4] == digests[0]
    own.register("lowest", module.lowest)
    code = (
        "import pickle, sys; from types import SimpleNamespace as view; import numpy;"
        "lowest = pickle.load(sys.stdin.buffer);"
        "print(lowest(view(probs_N_C=numpy.array([3, 1])), 2, None).tolist())"
    )
    sent = own.packed(["lowest"])["lowest"]
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd="/")
    assert done.stdout.decode().strip() == "[9, 1]", done.stderr.decode()


def test_a_file_changed_since_its_import_is_refused(written, tmp_path):
    text = "import math\ndef score(x):\n    return [i for i in x if i > 0]\n" + USES
    module, file = written(own_strategies=text), tmp_path / "own_strategies.py"
    for _ in range(100):  # Python notes in code what it met there
        module.score(range(9))
    before = digest(module.lowest)
    for changed in (text.replace("> 0", "> 1"), "\n" + text, text.replace("[i for", "(")):
        file.write_text(changed)
        with pytest.raises(ValueError, match="own_strategies.py was changed since .* restart the"):
            digest(module.lowest)
    file.write_text(text + "\nOTHER = 1\n")
    assert digest(module.lowest) == before


def test_a_helper_changed_since_its_import_is_refused(written, tmp_path):
    helper = "def score(x):\n    return x\n"
    module = written(helpers=helper, own_strategies=WAYS["module"])
    (tmp_path / "helpers.py").write_text(helper.replace("return x", "return -x"))
    with pytest.raises(ValueError, match="helpers.py was changed since 'score' was imported"):
        digest(module.lowest)


def cell(text: str, name: str = "/tmp/cell/1.py", readable: bool = True) -> dict:
    """The names of a notebook in which a cell has run."""
    if readable:
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    known = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), known)
    return known


def test_a_function_of_a_notebook_is_read_where_its_source_can_be():
    text = "from torch import amax as score\n" + USES
    assert digest(cell(text)["lowest"]) != digest(cell(text.replace("amax", "amin"))["lowest"])
    with pytest.raises(ValueError, match="source of 'lowest' can't be read: define it in a plain"):
        digest(cell(text, "<timed exec>", readable=False)["lowest"])


@cache
def _cached(budget):
    return torch.arange(budget) + POWER  # noqa: F821


def _of(value):
    """A strategy with a value as its default."""

    def chosen(view, budget, rng, shift=value):
        return torch.arange(budget)

    return chosen


def test_defaults_large_tensors_and_cached_helpers_name_the_record_too(monkeypatch):
    large = torch.zeros(2000)
    values = [1, True, 1.0, 2, "1", large, large.bfloat16(), np.float32(1), np.float64(1), None]
    values += [large.index_fill(0, torch.tensor([999]), 1), large.numpy(), {"a": 1}, {"a": 2}]
    values += [[1, 2], [2, 1], (1, 2), {"a": 1, "b": 2}, {"b": 2, "a": 1}, torch.float32]
    values += [_of, _cached, np.exp, torch.amax, torch.nn.NLLLoss, np]
    assert len({digest(_of(value)) for value in values}) == len(values)
    assert digest(_of({"b", "a", "c"})) == digest(_of({"c", "b", "a"}))

    def caching(view, budget, rng):
        return _cached(budget)

    names = set()
    for power in (1, 2):
        monkeypatch.setitem(globals(), "POWER", power)
        names.add(digest(caching))
    caching.power = 3
    assert len({*names, digest(caching)}) == 3


def _reversing(strategy):
    """A decorator of its own: its wrapper decides as much as what it wraps."""

    @wraps(strategy)
    def reversed_(view, budget, rng):
        return strategy(view, budget, rng).flip(0) * SIGN  # noqa: F821

    return reversed_


def test_decorators_name_the_record_too(monkeypatch):
    @torch.no_grad()
    def plain(view, budget, rng):
        return torch.arange(budget)

    names = [digest(_of(1)), digest(plain)]
    for sign in (1, -1):
        monkeypatch.setitem(globals(), "SIGN", sign)
        names += [digest(_reversing(_of(1))), digest(_reversing(plain))]
    assert len(set(names)) == len(names)


def test_what_a_strategy_takes_within_lambdas_and_comprehensions_names_its_record(monkeypatch):
    names = set()
    for power, helper in ((1, _forwards), (2, _forwards), (2, _backwards)):
        monkeypatch.setitem(globals(), "POWER", power)
        monkeypatch.setitem(globals(), "HELPER", helper)

        def raised(view, budget, rng):
            inner = lambda part: HELPER(part) ** POWER  # noqa: E731, F821
            return [inner(part) + POWER for part in torch.arange(budget).split(1)]  # noqa: F821

        names.add(digest(raised))
    assert len(names) == 3


def _forwards(positions: torch.Tensor) -> torch.Tensor:
    return positions


def _backwards(positions: torch.Tensor) -> torch.Tensor:
    return positions.flip(0)


def test_what_only_looks_like_a_name_from_outside_is_not_taken(monkeypatch):
    """A variable of its own, an attribute or a keyword may have the name of anything."""

    def chosen(view, budget, rng):
        results = view.results
        return torch.argsort(results, stable=True)

    before = digest(chosen)
    for name in ("results", "stable"):
        monkeypatch.setitem(globals(), name, object())
    assert digest(chosen) == before


class _Scorer:
    """What a strategy may not use: changes to it would go unnoticed."""


def _scored(view, budget, rng):
    return _Scorer().of(view, budget)


def _loading(view, budget, rng):
    from tests import processes

    return processes


def _naming_a_module(view, budget, rng):
    return getattr(strategies_of_a_user, "score")(view)  # noqa: B009, F821


REFUSED = {
    "object": (_of(object()), "default of shift is a object, and changes to it would go unnoticed"),
    "network": (_of([torch.nn.Linear(1, 1)]), "is a Linear, and changes to it would go unnoticed"),
    "partial": (_of(partial(torch.amax, dim=1)), "is a partial"),
    "generator": (_of(np.random.default_rng(0).random), "is a method, .*as in MODULE.NAME"),
    "object ufunc": (_of(np.frompyfunc(lambda x: x, 1, 1)), "is a ufunc"),
    "array of objects": (_of(np.array([object()])), "is a ndarray"),
    "class": (_scored, "_Scorer is a type, .*: use functions, or import it from an installed"),
    "decorated elsewhere": (
        torch.no_grad()(_of(1)), "is decorated elsewhere .*: put the decorator above its def",
    ),
    "import within": (_loading, "tests is imported within a function.*: import it above"),
    "lambdas": (_of(dict(f=(lambda x: x), g=(
        lambda x: x))), "begins and ends in .*: write it with def, on lines of its own"),
}  # fmt: skip


BEGINNING = "\ndef lowest(view, budget, rng):\n    "
UNSEEN = {
    "importlib": "import importlib" + BEGINNING + "return importlib.import_module('h').score(view)",
    "function": "from importlib import import_module as g" + BEGINNING + "return g('h').f(view)",
    "within": BEGINNING + "import importlib.util as u\n    return u.find_spec('h')",
    "from within": BEGINNING
    + "from importlib import import_module as g\n    return g('h').f(view)",
    "import": BEGINNING + "return __import__('h').score(view)",
    "runpy": "import runpy" + BEGINNING + "return runpy.run_path('h.py')['score'](view)",
    "eval": BEGINNING + "return eval(view.rule)",
    "exec": BEGINNING + "return [exec(line) for line in view.lines]",
    "globals": BEGINNING + "return globals()['score'](view)",
    "alias": "call = eval" + BEGINNING + "return call(view.rule)",
    "table": "CALLS = {'e': eval}" + BEGINNING + "return CALLS['e'](view.rule)",
    "builtins": "import builtins" + BEGINNING + "return builtins.eval(view.rule)",
    "modules": "import sys" + BEGINNING + "return sys.modules['h'].score(view)",
    "helper": "def of(x): return eval(x)" + BEGINNING + "return of(view.rule)",
}


@pytest.mark.parametrize("case", UNSEEN)
def test_code_that_the_source_does_not_name_is_refused(case):
    strategy = cell(UNSEEN[case] + "\n", f"/tmp/cell/unseen-{case}.py")["lowest"]
    with pytest.raises(ValueError, match="may use code that the source doesn't name.*: import"):
        digest(strategy)


def test_what_only_has_the_name_of_a_function_of_pythons_is_not_refused():
    text = "import re\ndef compile(x): return x" + BEGINNING
    text += "view.net.eval()\n    globals = view.rule\n    return compile(re.compile(globals))\n"
    assert digest(cell(text, "/tmp/cell/seen.py")["lowest"])


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_told_apart_is_refused(case):
    function, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        StrategySource(function)


def test_a_module_of_ones_own_is_followed_by_what_is_named_of_it(monkeypatch):
    monkeypatch.setitem(globals(), "strategies_of_a_user", sys.modules[__name__])
    with pytest.raises(ValueError, match="what is used of it can't be determined: name that"):
        digest(_naming_a_module)


def test_installed_is_what_a_worker_elsewhere_has(written):
    written(own_strategies="", helpers="", pack__helpers="")
    for name in ("torch", "torch.nn.functional", "numpy", "math", "os", "random", "sklearn.cluster",
                 "alutils.strategies", "builtins", "_functools"):  # fmt: skip
        assert installed(name), name
    for name in (
        "__main__",
        "own_strategies",
        "helpers",
        "pack",
        "pack.helpers",
        "tests",
        "",
        "no",
    ):
        assert not installed(name), name


def test_a_strategy_of_a_notebook_travels_with_what_it_names():
    text = "POWER = 2\ndef score(x):\n    return x**POWER\n" + USES
    lowest = cloudpickle.loads(cloudpickle.dumps(cell(text, "/tmp/cell/2.py")["lowest"]))
    assert lowest(SimpleNamespace(probs_N_C=np.array([3])), 1, None).tolist() == [9]
