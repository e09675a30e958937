"""Cells for tests that need no study."""

from alutils.protocol.cell import Cell


def a_cell(dataset: str = "mnist", seed: int = 0, **changes) -> Cell:
    """A random cell of the poster's protocol, with changes to it."""
    fields = {"dataset": dataset, "arm": "random", "seed": seed, "first_labels": 64} | changes
    return Cell(**fields)
