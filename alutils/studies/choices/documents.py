"""Where the guides that tell of a choice are written."""

from alutils.paths import ROOT


def write(name: str, text: str) -> None:
    """Write a guide of ``docs/``, and print it."""
    (ROOT / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
