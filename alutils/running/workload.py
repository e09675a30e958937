"""What cells take: rounds, training steps, images scored."""

from collections.abc import Iterable
from dataclasses import dataclass

from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.records.store import Store

STEP_COST = {"encoder": 0.02, "7x7": 1, "3x3": 15}
"""What a training step costs, and an image scored, relative to ResNet-18 with its 7x7 stem: by
multiply-adds, 0.037 G an image with that stem, and 0.56 G with 3x3. A linear head on an encoder's
features has few, and takes mostly calls: 1.5 to 2 ms in kept records, where a step of the network
takes 75 ms."""


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


def by_cost(cells: Iterable[Cell]) -> dict[tuple[str | int, ...], list[Cell]]:
    """Cells whose steps take the same time: by dataset, encoder, precision, stem, batch size."""
    groups: dict[tuple[str | int, ...], list[Cell]] = {}
    for cell in cells:
        key = (cell.dataset, cell.encoder, cell.precision, cell.stem, cell.batch_size)
        groups.setdefault(key, []).append(cell)
    return groups


def step_cost(cell: Cell) -> float:
    """What a training step of a cell costs, relative to ResNet-18 with its 7x7 stem."""
    return STEP_COST[cell.stem if cell.encoder == "none" else "encoder"]


def work(cells: Iterable[Cell], store: Store | None = None) -> Work:
    """What these cells take in all, or, with a store, what is left of them.

    A first round that several arms of a seed share is trained once, for those without a round; of
    these arms, the one that asks most of the model decides what is scored in it.
    """
    number, rounds = 0, 0
    rest: list[tuple[int, int]] = []
    first: dict[str, tuple[int, int]] = {}
    for cell in cells:
        done = store.facts(cell).rounds if store else 0
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
    arm, number = cell.position(i)
    judged = DATASETS[cell.dataset].test * cell.test
    if cell.heldout_every:
        judged += cell.heldout_size(cell.dataset) * (cell.epochs // cell.heldout_every)
    judged += cell.stop_set
    asks = arm != "random" and not cell.label_counts and number + 1 < cell.rounds
    if not asks and not cell.stop_set:  # what stopping rules read has the entropy of candidates
        return judged
    unlabelled = cell.pool_size(cell.dataset) - cell.schedule_of_labels()[number]
    return judged + min(unlabelled, cell.candidates or unlabelled)
