"""The labels that a cell takes from another record."""

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records.store import Store

POOL_FIELDS = ("dataset", "seed", "heldout_fraction", "imbalance")
"""Fields that decide which images may be labelled."""


class SourceNotFinished(StudyError):
    """The record to copy labels from is missing, unfinished or damaged; the message names it."""


def copied_labels(cell: Cell) -> list[int]:
    """Dataset indices labelled in the record ``cell.labels_of``, in the order of acquisition.

    That record's first labels come first, ascending. Raises ``SourceNotFinished`` if the record is
    missing, unfinished or damaged, and ``ParameterError`` if it has another pool, several arms, or
    lacks one of the cell's label counts.
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
    for key in POOL_FIELDS:
        if (theirs := getattr(source, key)) != (ours := getattr(cell, key)):
            raise ParameterError(
                f"labels_of = {cell.labels_of!r} has {key} = {theirs!r}, and this cell {ours!r}, "
                "so that its labels may be outside this cell's pool: set both to the same value"
            )
    if source.sequence:
        raise ParameterError(
            f"labels_of = {cell.labels_of!r} has several arms, one after another: name a record of "
            "one arm"
        )
    counts = source.schedule_of_labels()
    if lacking := set(cell.label_counts) - set(counts):
        raise ParameterError(
            f"label_counts = {list(cell.label_counts)} has {min(lacking)}, which is not a label "
            f"count of {cell.labels_of}: it has {counts}"
        )


def _not_finished(cell: Cell, profile: str, why: str) -> SourceNotFinished:
    return SourceNotFinished(
        f"labels_of = {cell.labels_of!r} {why}: its labels can be copied once a run of the "
        f"profile {profile!r} has finished it"
    )
