"""How often an arm asked for the pool's rare classes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from alutils.protocol.cell import Cell
from alutils.running.round import new_pool

RAREST = 3
"""How many of the pool's classes count as rare."""


@dataclass(frozen=True)
class ClassBalance:
    """Images by class, from the pool's most frequent class to its rarest."""

    classes: tuple[int, ...]
    pool: tuple[int, ...]
    """Images that may be labelled, before any is."""
    picks: tuple[int, ...]
    """Images that the arm asked for, without the first labels."""

    @property
    def rare_in_pool(self) -> float:
        """Share of the rarest classes in the pool, which random picks have on average."""
        return sum(self.pool[-RAREST:]) / sum(self.pool)

    @property
    def rare_in_picks(self) -> float:
        """Share of the rarest classes in the picks; NaN if there are none."""
        return sum(self.picks[-RAREST:]) / sum(self.picks) if any(self.picks) else float("nan")


def class_balance(
    cell: Cell, rounds: Iterable[dict[str, Any]], train_labels_N: Tensor
) -> ClassBalance:
    """Classes of what the rounds of one arm asked for, and those of the seed's pool.

    Classes equally frequent in the pool are in the dataset's order.
    """

    def counts(indices: Tensor | list[int]) -> Tensor:
        return train_labels_N[indices].bincount(minlength=int(train_labels_N.max()) + 1)

    pool = counts(new_pool(cell).unlabelled)
    picks = counts([index for done in rounds for index in done["picks"]])
    order = pool.argsort(descending=True, stable=True)
    return ClassBalance(*(tuple(each.tolist()) for each in (order, pool[order], picks[order])))
