"""The style of the study's figures: matplotlib's defaults, whatever a user has set."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import matplotlib.style
from matplotlib import font_manager

LITERAL = {"text.parse_math": False}
"""Dollar signs are literal: users' classes and arms may have some in their names."""
MOST_LINES = 10
"""Maximum number of seeds for which a curve shows their lines; more would hide the means."""
MOST_BANDS = 6
"""Maximum number of arms for which a figure shows intervals; more would hide one another."""
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

    The user's backend is kept, and so are the settings of any other figures.
    """
    own = {**LITERAL, "font.family": _fonts()}
    with matplotlib.style.context(["default", own], after_reset=True):
        yield
