"""Results that were never trained, for tests of what is made of them."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pandas as pd
import pytest

from alutils.protocol.cell import Cell
from alutils.protocol.study import FactorStudy
from alutils.records import tidy
from alutils.records.record import chained_digest
from alutils.records.store import Store

Measured = Callable[[Cell, int], dict[str, Any]]


def made_up(
    study: FactorStudy, tmp_path_factory: pytest.TempPathFactory, measured: Measured
) -> pd.DataFrame:
    """The table of a study whose cells are finished: ``measured`` gives a round's accuracies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALUTILS_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        store = Store(study.profile)
        store.prepare()
        for cell in study.cells():
            save_finished(store, cell, measured)
        return tidy.read_settings(study)


def save_finished(store: Store, cell: Cell, measured: Measured) -> None:
    """Save a cell's record as finished, with the accuracies that ``measured`` gives."""
    rounds: list[dict] = []
    for labels in cell.schedule_of_labels():
        done = {"labels": labels, "epochs": cell.epochs, "heldout_accuracy": []}
        done |= measured(cell, labels)
        before = rounds[-1]["digest"] if rounds else ""
        rounds.append(done | {"digest": chained_digest(done, before)})
    store.save(cell, store.load(cell) | {"status": "finished", "rounds": rounds})


def heldout(
    candidate: Sequence[str], accuracies: dict[tuple, tuple[float, ...]], **at: Sequence
) -> pd.DataFrame:
    """Held-out accuracy (%) by candidate, the same for two seeds.

    ``candidate`` names the parts of the keys of ``accuracies``, whose values are for those of the
    first of ``at``, in their order; at those of the others they are the same.
    """
    first, *others = at
    names = [*candidate, first, "accuracy", *others, "seed"]
    rest = list(product(*(at[name] for name in others), (100, 101)))
    rows = [
        [*key, where, accuracy, *same]
        for key, values in accuracies.items()
        for where, accuracy in zip(at[first], values, strict=True)
        for same in rest
    ]
    return pd.DataFrame(rows, columns=names)
