"""The style of the study's figures: matplotlib's own, whatever a user has set."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style

LITERAL = {"text.parse_math": False}
"""A dollar is a dollar: classes and arms of a user's may have some in their names."""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw or save under matplotlib's defaults, not a user's ``matplotlibrc``; also a decorator.

    The backend stays the user's, and so do the settings of figures that are not the study's.
    """
    with matplotlib.style.context(["default", LITERAL], after_reset=True):
        yield
