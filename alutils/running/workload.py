"""What cells take: rounds, training steps, images scored."""

from collections.abc import Iterable
from dataclasses import dataclass

from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.records.store import Store

STEP_COST = {"encoder": 0.02, "7x7": 1, "3x3": 15}
"""Cost of a training step and of a scored image, relative to ResNet-18 with its 7x7 stem: by
multiply-adds, 0.037 G per image with that stem, and 0.56 G with 3x3. A linear head on an encoder's
features has few, and spends its time mostly on calls: 1.5 to 2 ms in kept records, where a step of
the network takes 75 ms."""


@dataclass(frozen=True)
class Work:
    """What is to be computed: rounds, training steps, images scored."""

    cells: int
    rounds: int
    steps: int
    images: int

    def hours(self, step: float, image: float) -> float:
        """Hours of one worker, given the seconds per step and per scored image."""
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
    """The total work of these cells or, with a store, what is left of it.

    A first round that several arms of a seed share is trained once, for those without a round; the
    arm among them that needs the most images scored decides what is scored in it.
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
            shared = cell.without_arm.name
            first[shared] = max(each.pop(0), first.get(shared, (0, 0)))
        rest += each
    every = [*first.values(), *rest]
    return Work(number, rounds, sum(n for n, _ in every), sum(n for _, n in every))


def _images(cell: Cell, i: int) -> int:
    """Images scored in a round: for evaluation, and candidates if the arm uses the model."""
    arm, number = cell.position(i)
    judged = DATASETS[cell.dataset].test * cell.test
    if cell.heldout_every:
        judged += cell.heldout_size(cell.dataset) * (cell.epochs // cell.heldout_every)
    judged += cell.stop_set
    asks = arm != "random" and not cell.label_counts and number + 1 < cell.rounds
    if not asks and not cell.stop_set:  # stopping rules read the entropy of candidates
        return judged
    unlabelled = cell.pool_size(cell.dataset) - cell.schedule_of_labels()[number]
    return judged + min(unlabelled, cell.candidates or unlabelled)
