"""Markdown tables, as in the README and the guides."""

from collections.abc import Iterable


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are already Markdown, without line breaks or vertical bars."""
    first, *others = (list(cells) for cells in (head, *rows))
    lines = [f"| {' | '.join(cells)} |" for cells in (first, *others)]
    return "\n".join([lines[0], "|---" * len(first) + "|", *lines[1:]])
