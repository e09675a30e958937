"""The labels that a cell takes from another record."""

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records.store import Store

OF_THE_POOL = ("dataset", "seed", "heldout_fraction", "imbalance")
"""Fields that decide which images may be labelled."""


class SourceNotFinished(StudyError):
    """The record to copy labels from is not there, not whole or damaged; the message names it."""


def copied_labels(cell: Cell) -> list[int]:
    """Dataset indices that the record ``cell.labels_of`` labelled, in the order it asked for them.

    Its first labels come first, ascending. Raises ``SourceNotFinished``, and ``ParameterError``
    where that record has another pool, several arms, or lacks one of the cell's label counts.
    """
    profile, _, name = cell.labels_of.partition("/")
    store = Store(profile)
    source = store.cell(name)
    if source is None:
        raise _not_finished(cell, profile, "is not there, or damaged")
    record, damage = store.read(source)
    if damage or record["status"] != "finished":
        done = f"has {len(record['rounds'])} of {source.length} rounds"
        raise _not_finished(cell, profile, f"is damaged ({damage})" if damage else done)
    _check_source(cell, source)
    return [index for done in record["rounds"] for index in done["labelled"]]


def _check_source(cell: Cell, source: Cell) -> None:
    for key in OF_THE_POOL:
        if (theirs := getattr(source, key)) != (ours := getattr(cell, key)):
            raise ParameterError(
                f"labels_of = {cell.labels_of!r} has {key} = {theirs!r}, and this cell {ours!r}, "
                "so that its labels may lie outside this pool: set the same"
            )
    if source.sequence:
        raise ParameterError(
            f"labels_of = {cell.labels_of!r} has several arms, one after another: name a record of "
            "one arm"
        )
    counts = source.schedule_of_labels()
    if lacking := set(cell.label_counts) - set(counts):
        raise ParameterError(
            f"label_counts = {list(cell.label_counts)} has {min(lacking)}, which is no label count "
            f"of {cell.labels_of}: it has {counts}"
        )


def _not_finished(cell: Cell, profile: str, why: str) -> SourceNotFinished:
    return SourceNotFinished(
        f"labels_of = {cell.labels_of!r} {why}: its labels can be copied once it is finished, by a "
        f"run of the profile {profile!r}"
    )
