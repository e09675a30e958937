"""Every command calls its function with what was typed."""

import sys
from importlib import import_module
from inspect import signature

import pytest

from alutils.__main__ import COMMANDS, main
from alutils.commands.studies import RUNS, run_module

TYPED = [
    ("study quick", {"profile": "quick", "notebook": "", "workers": "", "scheduler": "",
                     "train": ""}),
    ("study quick --notebook 01 --workers 2 --scheduler tcp://a:1 --train no",
     {"profile": "quick", "notebook": "01", "workers": "2", "scheduler": "tcp://a:1",
      "train": "no"}),
    ("estimate quick", {"profile": "quick", "step_ms": ""}),
    ("estimate quick --step-ms 3", {"profile": "quick", "step_ms": "3"}),
    ("verify quick", {"profile": "quick"}),
    ("readme desktop", {"profile": "desktop"}),
    ("predict a/head b.png c", {"head": "a/head", "images": ["b.png", "c"]}),
]  # fmt: skip


def test_every_command_is_typed_below():
    assert {line.split()[0] for line, _ in TYPED} == {*COMMANDS, "study"}


@pytest.mark.parametrize(("line", "expected"), TYPED)
def test_a_command_calls_its_function_with_what_was_typed(line, expected, monkeypatch):
    command, *_ = words = line.split()
    name, function = COMMANDS.get(command, "notebooks.make_reports").split(".")
    module, given = import_module(f"alutils.commands.{name}"), []
    signature(getattr(module, function)).bind(**expected)
    monkeypatch.setattr(module, function, lambda **options: given.append(options))
    monkeypatch.setattr(sys, "argv", ["alutils", *words])
    assert main() == 0 and given == [expected]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_without_a_notebook_is_a_command(name, monkeypatch):
    called = []
    signature(run_module(name).main).bind()
    monkeypatch.setattr(run_module(name), "main", lambda: called.append(name))
    monkeypatch.setattr(sys, "argv", ["alutils", name])
    assert main() == 0 and called == [name]
