"""Writing the guides that document a choice."""

from alutils.paths import ROOT
from alutils.records.files import write_atomically


def write(name: str, text: str) -> None:
    """Write a guide of ``docs/``, and print it."""
    write_atomically(ROOT / "docs" / f"{name}.md", text.encode())
    print(text)
