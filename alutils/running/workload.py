"""What cells take: rounds, training steps, images scored."""

from collections.abc import Iterable
from dataclasses import dataclass

from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.records.store import Store

STEP_COST = {"7x7": 1, "3x3": 15}
"""Cost of a training step, or of an image scored, by stem, in units of that with the 7x7 stem.

By multiply-adds: 0.037 G an image with the 7x7 stem, 0.56 G with the 3x3 one.
"""


@dataclass(frozen=True)
class Work:
    """What is to be computed: rounds, training steps, images scored."""

    cells: int
    rounds: int
    steps: int
    images: int

    def hours(self, step: float, image: float) -> float:
        """Hours of one worker, from the seconds of a step and of an image scored."""
        return (self.steps * step + self.images * image) / 3600


def by_step_cost(cells: Iterable[Cell]) -> list[tuple[int, list[Cell]]]:
    """The cells of each stem, after what a step of it costs (see ``STEP_COST``)."""
    cells = list(cells)
    return [(cost, [c for c in cells if c.stem == stem]) for stem, cost in STEP_COST.items()]


def work(cells: Iterable[Cell], store: Store | None = None) -> Work:
    """What these cells take in all, or, with a store, what is left of them.

    A first round that several arms of a seed share is trained once, for those without a round; of
    these arms, the one that asks most of the model decides what is scored in it.
    """
    number, rounds = 0, 0
    rest: list[tuple[int, int]] = []
    first: dict[str, tuple[int, int]] = {}
    for cell in cells:
        done = len(store.load(cell)["rounds"]) if store else 0
        steps = cell.steps()
        each = [(steps[i], _images(cell, i)) for i in range(done, cell.length)]
        number += bool(each)
        rounds += len(each)
        if not done:
            shared = cell.twin.name
            first[shared] = max(each.pop(0), first.get(shared, (0, 0)))
        rest += each
    every = [*first.values(), *rest]
    return Work(number, rounds, sum(n for n, _ in every), sum(n for _, n in every))


def _images(cell: Cell, i: int) -> int:
    """Images that are scored in a round: judged, and candidates where the arm asks the model."""
    facts = DATASETS[cell.dataset]
    arm, number = cell.position(i)
    judged = facts.test * cell.test
    if cell.heldout_every:
        heldout = facts.train - facts.pool(cell.heldout_fraction)
        judged += heldout * (cell.epochs // cell.heldout_every)
    if arm == "random" or cell.label_counts or number + 1 == cell.rounds:
        return judged
    pool = facts.pool(cell.heldout_fraction) - cell.schedule_of_labels()[number]
    return judged + min(pool, cell.candidates or pool)
