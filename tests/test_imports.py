"""Imports point one way (the layers of the design)."""

import ast

import pytest

from alutils.paths import ROOT

BELOW = {
    "paths": set(),
    "protocol": set(),
    "streams": set(),
    "published": set(),
    "waiting": set(),
    "parameters": {"protocol"},
    "validation": {"protocol"},
    "plans": {"parameters", "protocol", "validation"},
    "settings": {"parameters", "plans", "protocol"},
    "comparisons": {"parameters", "plans", "protocol", "settings"},
    "config": {"comparisons", "parameters", "paths", "plans", "protocol", "settings"},
    "data": {"parameters", "paths", "protocol", "waiting"},
    "model": {"parameters", "protocol", "streams"},
    "augmentation": set(),
    "start": {"model", "protocol"},
    "train": {"augmentation", "model", "protocol", "start", "streams"},
    "pool": {"model", "train"},
    "ranking": set(),
    "information": {"parameters", "pool", "protocol", "ranking"},
    "clustering": {"pool", "ranking"},
    "diversity": {"clustering", "pool", "ranking"},
    "strategies": {
        "clustering", "diversity", "information", "parameters", "plans", "pool", "protocol",
        "ranking", "source",
    },
    "source": set(),
    "custom": {"pool", "source"},
    "diagnostics": {"model", "train"},
    "checks": {"model", "pool", "protocol", "streams", "train"},
    "turn": {
        "checks", "custom", "data", "diagnostics", "model", "pool", "protocol", "start",
        "strategies", "streams", "train",
    },
    "results": {"parameters", "paths", "protocol"},
    "experiment": {"checks", "model", "protocol", "results", "turn"},
    "cluster": {"parameters", "waiting"},
    "workload": {"protocol", "results"},
    "progress": {"protocol", "results", "workload"},
    "engine": {"cluster", "parameters", "progress", "protocol", "results", "waiting"},
    "study": {
        "cluster", "data", "engine", "estimate", "experiment", "model", "parameters", "paths",
        "plans", "progress", "results", "settings", "strategies",
    },
    "statistics": {"protocol"},
    "claims": {"prose", "protocol", "statistics"},
    "figures": {"protocol", "published", "statistics", "style"},
    "prose": {"picture", "statistics", "style"},
    "page": {"picture"},
    "picture": set(),
    "style": set(),
    "kernel": set(),
    "interactive": {"figures", "picture", "protocol", "statistics"},
    "captions": {"figures", "interactive", "prose", "protocol", "published", "statistics"},
    "account": {"figures", "parameters", "plans", "prose", "protocol", "results", "settings"},
    "report": {"figures", "prose", "protocol", "published", "standing", "statistics"},
    "audit": {
        "claims", "figures", "picture", "prose", "protocol", "published", "statistics", "style",
    },
    "evidence": {
        "figures", "picture", "plans", "prose", "protocol", "results", "statistics", "style",
    },
    "sensitivity": {"figures", "prose", "protocol", "statistics", "style"},
    "reductions": {"figures", "prose", "protocol", "statistics", "style"},
    "nearness": {"figures", "prose", "protocol", "published", "reductions", "statistics", "style"},
    "beyond": {
        "captions", "interactive", "prose", "protocol", "report", "results", "standing",
        "statistics",
    },
    "ladder": {"beyond", "comparisons", "figures", "prose", "protocol", "statistics", "style"},
    "ablation": {"plans", "protocol", "results", "statistics", "study"},
    "attribution": {"ablation", "figures", "prose", "protocol", "published", "statistics", "style"},
    "recipe": {"claims", "comparisons", "engine", "paths", "plans", "protocol", "study"},
    "precision": {"claims", "paths", "plans", "protocol", "statistics", "study"},
    "runner": {
        "ablation", "account", "cluster", "config", "data", "model", "page", "parameters", "paths",
        "plans", "protocol", "results", "study",
    },
    "estimate": {
        "config", "experiment", "parameters", "plans", "progress", "protocol", "results", "train",
        "turn", "workload",
    },
    "verify": {
        "ablation", "config", "data", "experiment", "parameters", "precision", "prose", "protocol",
        "recipe", "results", "strategies", "streams", "turn",
    },
    "readme": {
        "ablation", "account", "audit", "beyond", "claims", "config", "estimate", "figures",
        "ladder", "parameters", "paths", "prose", "protocol", "reductions", "report", "results",
        "standing", "statistics", "study",
    },
    "__main__": {"estimate", "parameters", "readme", "runner", "verify"},
    "standing": {"claims", "prose", "protocol", "statistics"},
}  # fmt: skip
TABLES_ONLY = {
    "config", "validation", "paths", "parameters", "protocol", "results", "statistics", "claims",
    "published", "figures", "prose", "captions", "account", "report", "audit", "evidence",
    "sensitivity", "interactive", "page", "plans", "settings", "comparisons", "reductions",
    "nearness", "beyond", "ladder", "standing",
}  # fmt: skip


def imported(module: str) -> tuple[set[str], set[str]]:
    """Modules of ours, and top-level packages of others, that a module imports anywhere."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((ROOT / "alutils" / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            others |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "alutils":
            ours |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("alutils."):
            ours.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.split(".")[0])
    return ours, others


# Read before any test runs: a parser is not to be entered twice (CPython issue 106905), and a
# traceback that asyncio logs from within a garbage collection does enter it.
IMPORTED = {module: imported(module) for module in BELOW}


def test_every_module_has_its_place():
    files = {file.stem for file in (ROOT / "alutils").glob("*.py")} - {"__init__"}
    assert files == set(BELOW)


def test_imports_point_one_way():
    below = {module: set(others) for module, others in BELOW.items()}
    while free := [module for module, others in below.items() if not others & set(below)]:
        for module in free:
            del below[module]
    assert not below, "these import each other, at least by what they may"


@pytest.mark.parametrize("module", BELOW)
def test_a_module_imports_what_is_told_and_no_more(module):
    ours, others = IMPORTED[module]
    assert ours == BELOW[module]
    assert module not in TABLES_ONLY or "torch" not in others
