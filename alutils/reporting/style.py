"""The style of the study's figures: matplotlib's own, whatever a user has set."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import matplotlib.style
from matplotlib import font_manager

LITERAL = {"text.parse_math": False}
"""A dollar is a dollar: classes and arms of a user's may have some in their names."""
MOST_LINES = 10
"""Seeds up to which a curve has a line for each; those of more would hide the means."""
MOST_BANDS = 6
"""Arms up to which each has its interval in a figure; those of more would hide one another."""
SCRIPTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans",
    "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS",
)  # fmt: skip
"""Fonts for classes whose names are in a script that matplotlib's own font lacks."""


@cache
def _fonts() -> list[str]:
    """Matplotlib's own font, then those of ``SCRIPTS`` that are installed."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in SCRIPTS if name in installed)]


@contextmanager
def house_style() -> Iterator[None]:
    """Draw or save under matplotlib's defaults, not a user's ``matplotlibrc``; also a decorator.

    The backend stays the user's, and so do the settings of figures that are not the study's.
    """
    own = {**LITERAL, "font.family": _fonts()}
    with matplotlib.style.context(["default", own], after_reset=True):
        yield
