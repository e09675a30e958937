"""Writing the guides that document a choice."""

from alutils.paths import ROOT
from alutils.records.files import write_whole


def write(name: str, text: str) -> None:
    """Write a guide of ``docs/``, and print it."""
    write_whole(ROOT / "docs" / f"{name}.md", text.encode())
    print(text)
