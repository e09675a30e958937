"""Figures look the same whatever a user has set for matplotlib."""

import ast
import io
import re

import matplotlib
import pandas as pd
import pytest
import torch

from alutils.paths import PACKAGE, ROOT
from alutils.protocol.arms import BASELINE, arm_title
from alutils.reporting import captions, figures, style
from alutils.reporting.figures import samples
from alutils.reporting.style import house_style
from tests.reporting.test_statistics import results
from tests.reporting.test_tables import ABOVE

FILES = [*PACKAGE.rglob("*.py"), ROOT / "benchmarks" / "speed.py"]
DRAWING = ("grid", "figures.grid", "Figure")
SETTINGS = {
    "text.usetex": True,  # which needs LaTeX
    "font.size": 30.0,
    "axes.facecolor": "black",
    "lines.linewidth": 9.0,
    "axes.labelsize": 40.0,
    "legend.fontsize": 30.0,
    "savefig.bbox": "tight",
    "savefig.facecolor": "red",
    "figure.constrained_layout.w_pad": 0.5,
}
"""As a user's ``matplotlibrc`` may have them."""


def drawing(text: str) -> list[ast.FunctionDef]:
    """The functions of a module that make a figure, or save one."""
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]

    def draws(call: ast.AST) -> bool:
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        return name in DRAWING or name.endswith(".savefig")

    return [function for function in functions if any(map(draws, ast.walk(function)))]


FUNCTIONS = {
    f"{file.relative_to(ROOT)}: {function.name}": function
    for file in FILES
    for function in drawing(file.read_text())
}


def test_the_drawing_functions_of_all_rooms_are_found():
    assert {"reporting", "studies", "speed.py"} <= {
        name.split("/")[1].split(":")[0] for name in FUNCTIONS
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_draws_or_saves_a_figure_does_so_in_the_house_style(name):
    assert "house_style()" in map(ast.unparse, FUNCTIONS[name].decorator_list)


def test_a_users_settings_change_no_figure_and_stay():
    plain = captions.area_differences(results(ABOVE)).data
    with matplotlib.rc_context(SETTINGS):
        assert captions.area_differences(results(ABOVE)).data == plain
        assert all(matplotlib.rcParams[key] == value for key, value in SETTINGS.items())


def test_the_backend_is_the_users(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    captions.area_differences(results(ABOVE))
    assert matplotlib.get_backend() == "svg"


@house_style()
def test_a_dollar_in_a_class_s_name_is_no_formula():
    image, label = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1)
    figure = samples(image, label, [r"$\foo$"])
    figure.savefig(io.BytesIO())  # a formula that can't be read would raise
    assert not figure.axes[0].title.get_parse_math()


def test_numbers_of_a_logarithmic_axis_are_written_out(monkeypatch):
    axes = figures.grid()[1][0, 0]
    axes.plot([0.01, 1, 1e6], [1, 10, 1000])
    figures.logarithmic(axes)
    figures.logarithmic(axes, "y")
    with house_style():
        axes.figure.savefig(io.BytesIO())
    texts = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert {"0.01", "1", "1,000,000", "1,000"} <= set(texts) and not any("$" in t for t in texts)
    axes.set_ylim(150, 320)
    assert any(label.get_text() == "200" for label in axes.get_yticklabels(minor=True))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_axis_is_made_logarithmic_in_another_way(file):
    text = file.read_text(encoding="utf-8")
    assert file.name == "figures.py" or not re.search(
        r"scale\(\"(sym)?log\"|scale=\"(sym)?log\"", text
    )


def test_classes_in_scripts_that_matplotlib_s_font_lacks_have_another(monkeypatch):
    installed = ["DejaVu Sans", "Noto Sans Arabic", "Malgun Gothic", "Comic Sans MS"]
    monkeypatch.setattr(style.font_manager, "get_font_names", lambda: installed)
    style._fonts.cache_clear()
    with house_style():
        fonts = matplotlib.rcParams["font.family"]
    style._fonts.cache_clear()
    assert fonts == ["DejaVu Sans", "Malgun Gothic", "Noto Sans Arabic"]


def test_a_line_of_a_single_run_is_named_under_the_figure():
    table = results(ABOVE)
    single = table[(table["arm"] == "random") & (table["labels"] == 400)].assign(arm=BASELINE)
    told = "Dashed: " + arm_title(BASELINE)
    assert told in captions.learning_curves(pd.concat([table, single])).static.caption
    assert told not in captions.learning_curves(table).static.caption
