"""Tables in Markdown, as README and guides have them."""

from collections.abc import Iterable


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are Markdown already, without a line break or a bar."""
    first, *others = (list(cells) for cells in (head, *rows))
    lines = [f"| {' | '.join(cells)} |" for cells in (first, *others)]
    return "\n".join([lines[0], "|---" * len(first) + "|", *lines[1:]])
