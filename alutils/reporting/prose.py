"""Numbers, lists, tables and figures as text and HTML."""

import base64
import io
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from PIL import Image

from alutils.reporting.picture import Picture
from alutils.reporting.statistics import FEWEST_SEEDS, Estimate, estimate
from alutils.reporting.style import MOST_LINES, house_style

DOTS_PER_INCH = 192
"""Two image pixels per page pixel."""
LEAST_P = 0.001
"""Smaller p-values are reported as below this: how far below rests on normality alone."""


@house_style()
def show(figure: Figure, caption: str, alt: str, colours: int = 256) -> Picture:
    """A figure as an image, with its caption and alternative text.

    A palette of ``colours`` colours makes the file a third of the size; 0 keeps every colour.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    if colours:
        picture = Image.open(buffer).convert("RGB").quantize(colours)
        picture.save(buffer := io.BytesIO(), format="png", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode()
    return Picture(png, round(figure.get_figwidth() * 96), caption, alt)


def table(frame: pd.DataFrame) -> HTML:
    """A table that scrolls on a narrow screen, without its index."""
    html = frame.to_html(index=False, border=0, justify="left", escape=True)
    return HTML(f'<div class="table">{html}</div>')


def paragraphs(*texts: str) -> Markdown:
    """Texts as paragraphs, without empty ones and repetitions."""
    return Markdown("\n\n".join(dict.fromkeys(filter(None, (text.strip() for text in texts)))))


def points(difference: Estimate, unit: str = " points") -> str:
    """A difference with its sign, interval and number of seeds."""
    return _with_interval(difference, unit, "+")


def interval(mean: Estimate, unit: str) -> str:
    """A mean with its interval and number of seeds."""
    return _with_interval(mean, f" {unit}" if unit else "", "")


def _with_interval(estimate: Estimate, unit: str, sign: str) -> str:
    """Mean, interval and seeds; with ``sign`` = "+" a positive number has its sign too."""
    mean = f"{estimate.mean:{sign}.2f}{unit}"
    if estimate.seeds < FEWEST_SEEDS:
        return f"{mean} ({_without_interval(estimate.seeds)})"
    ends = f"{estimate.low:{sign}.2f} to {estimate.high:{sign}.2f}"
    return f"{mean} ({ends}, {estimate.seeds} seeds)"


def _without_interval(seeds: int) -> str:
    return f"{'one seed' if seeds == 1 else f'{seeds} seeds'}, no interval"


def share_of_labels(savings: pd.Series) -> str:
    """Label savings by seed (factors) as the share of labels still needed: mean and interval.

    It is the mean of the shares, not the inverse of the mean saving, which is smaller. If the
    interval goes below 0 or above 100 %, the range over seeds is given instead.
    """
    shares = 100 / savings
    share = estimate(shares)
    if share.seeds < FEWEST_SEEDS:
        return f"{share.mean:.0f} % of the labels ({_without_interval(share.seeds)})"
    ends = f"{share.low:.0f} to {share.high:.0f} %"
    if share.low < 0 or share.high > 100:
        ends = f"{shares.min():.0f} to {shares.max():.0f} % by seed"
    return f"{share.mean:.0f} % of the labels ({ends}, {share.seeds} seeds)"


def p_value(p: float) -> str:
    """A p-value with two significant digits, or as below ``LEAST_P``."""
    return f"below {LEAST_P}" if p < LEAST_P else f"{p:.2g}"


def percent(row: Any) -> str:
    """Mean ± half the interval of a row of ``statistics.curve``, as from ``itertuples``."""
    half = f" ± {row.high - row.mean:.2f}" if row.seeds > 1 else ""
    return f"{row.mean:.2f}{half}"


def plain(value: object) -> str:
    """A parameter's value as reports show it."""
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def capital(text: str) -> str:
    """Text with a capital first letter."""
    return text[0].upper() + text[1:]


def escape_markdown(name: str) -> str:
    """A user-given name with its Markdown characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#+\-!|$~&])", r"\\\1", name)


def count(number: int, thing: str) -> str:
    """A number and its noun: 1 arm, 2 arms."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def paired_seeds(count: int) -> str:
    """A number of seeds in words: 1 seed, 3 paired seeds."""
    return "1 seed" if count == 1 else f"{count} paired seeds"


def seeds_of(numbers: list[int]) -> str:
    """Given seeds in words: seed 3, seeds 3, 7 and 9."""
    return f"seed{'s' if len(numbers) > 1 else ''} {join([str(number) for number in numbers])}"


def span(counts: Iterable[int]) -> str:
    """Several counts as the lowest and the highest: 3 to 5, or 3 where they are the same."""
    counts = sorted(counts)
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def seed_range(counts: Iterable[int]) -> str:
    """The lowest and the highest number of seeds in words: 3 to 5 paired seeds."""
    counts = list(counts)
    return paired_seeds(counts[0]) if len(set(counts)) == 1 else f"{span(counts)} paired seeds"


def lines_of(counts: Iterable[int]) -> str:
    """What a figure of curves shows, for its caption, given each curve's number of seeds."""
    counts = list(counts)
    if max(counts) < 2:
        return "the line of 1 seed, without an interval"
    band = "95 % t interval (clipped at the axes)"
    if min(counts) > MOST_LINES:
        return f"mean and {band} of {seed_range(counts)}"
    if max(counts) > MOST_LINES:
        lines = f"individual lines for up to {MOST_LINES} seeds"
        return f"mean and {band} of {seed_range(counts)}, {lines}"
    return f"mean, {band} and individual lines of {seed_range(counts)}"


def mean_over(counts: Iterable[int]) -> str:
    """What a figure of intervals shows, for its caption, given each mean's number of seeds."""
    counts = list(counts)
    if max(counts) < 2:
        return "1 seed, without an interval"
    fewer = f"hollow: fewer than {FEWEST_SEEDS} seeds, no interval"
    if max(counts) < FEWEST_SEEDS:
        return f"mean of {seed_range(counts)}, {fewer}"
    lacks = f" ({fewer})" if min(counts) < FEWEST_SEEDS else ""
    return f"mean with its 95 % t interval{lacks} over {seed_range(counts)}"


def join(names: list[str], last: str = "and") -> str:
    """Names in a sentence: a, b and c, or with another word before the ``last``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def verb(names: list[str]) -> str:
    """The verb that goes with that many names."""
    return "lies" if len(names) == 1 else "lie"
