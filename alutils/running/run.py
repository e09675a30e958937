"""Running a study: from validated parameters to records and their table."""

from collections.abc import Sequence

import pandas as pd

from alutils.learning.devices import pick_device, visible_gpus
from alutils.learning.features import inputs
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import StudyError
from alutils.protocol.study import FactorStudy, Study
from alutils.records.copied import copied_labels
from alutils.records.record import diverged
from alutils.records.store import Store
from alutils.records.tidy import by_setting, complete, read, table
from alutils.running import engine, time_estimate
from alutils.running.placement import Placement
from alutils.running.progress import Say, progress_reporter
from alutils.running.provenance import commit
from alutils.running.round import round_task
from alutils.strategies.own import packed


def run(study: Study, say: Say | None = None) -> pd.DataFrame:
    """Run what is not finished yet, and return the results, one row per cell and round.

    A study that varies settings has one row per setting and round instead (``by_setting``), of all
    finished cells once one seed has every cell.
    ``say`` gets one line per round and, at the start, what is to be done and how long it will take.
    If the study is not to be trained, the results are those that already exist.
    Data, device, outputs folder and records to copy labels from are checked before any training.
    If cells fail, all others finish first, and the results are those of the seeds that have every
    cell; ``RunFailed`` is raised if no such seed is left (see ``finish`` for the others).
    """
    if not study.train:
        return _finished(study)
    with progress_reporter(say) as tell:
        return _run(study, tell)


def _run(study: Study, say: Say) -> pd.DataFrame:
    cells, store = study.cells(), Store(study.profile)
    store.prepare()
    placement = placement_of(study)
    unfinished = store.unfinished(cells)
    copied = {cell.labels_of: copied_labels(cell) for cell in unfinished if cell.labels_of}
    needed = [(cell.dataset, "none") for cell in cells]
    needed += [(cell.dataset, cell.encoder) for cell in unfinished]
    for dataset, encoder in dict.fromkeys(needed):
        inputs(dataset, encoder)
    task = round_task(study.device, packed({cell.arm for cell in cells}), copied)
    if unfinished:
        processes = 0 if study.scheduler else placement.processes
        say(time_estimate.remaining_work(cells, store, study.device, processes))
    try:
        engine.run(cells, task, store, commit(), placement, say)
    except engine.RunFailed as error:
        results = _results(study)
        if results.empty:
            raise
        say(f"error: {error}")
        return results
    return _results(study)


def _results(study: Study) -> pd.DataFrame:
    """The results as the study's notebook uses them; empty if no seed has every cell."""
    cells = study.cells()
    rows = table(Store(study.profile), cells, study.reported)
    whole = complete(rows, cells)
    if whole.empty or not isinstance(study, FactorStudy):
        return whole
    return by_setting(rows, study.settings())


def _finished(study: Study) -> pd.DataFrame:
    results = _results(study)
    if results.empty:
        raise StudyError(
            f"train = False, and no seed of {study.profile!r} has finished all its cells: nothing "
            "can be shown yet"
        )
    return results


def placement_of(study: Study) -> Placement:
    """Where the study is computed; raises ``ParameterError`` if this machine lacks the device.

    With a scheduler, the device is the workers', not this machine's. Locally, a GPU takes
    ``cells_per_gpu`` cells at a time, other accelerators one.
    """
    if study.scheduler:
        return Placement(study.scheduler, study.device, cells_per_gpu=study.cells_per_gpu)
    device = pick_device(study.device).type
    gpus = visible_gpus() if device == "cuda" else ()
    workers = study.workers or (1 if device == "mps" else 0)
    return Placement("", device, workers, gpus, study.cells_per_gpu)


def run_all(studies: Sequence[Study]) -> None:
    """Run one study after another; raise ``RunFailed`` at the end if some of their cells failed."""
    for study in studies:
        try:
            run(study)
        except engine.RunFailed as error:
            print(f"error: {error}")
    finish(*studies)


def finish(*studies: Study) -> None:
    """End a notebook: raise ``RunFailed`` if some cells of its study, or studies, failed.

    For a training that diverged, its seed is left out and nothing is raised, as long as another
    seed of its dataset has every cell.
    """
    failed = [cell for study in studies for cell in _failed(study)]
    if failed:
        total = sum(len(study.cells()) for study in studies)
        raise engine.RunFailed(
            f"{len(failed)} of {total} cells failed: {', '.join(cell.name for cell in failed)}"
        )


def _failed(study: Study) -> list[Cell]:
    """The cells that failed, except diverged ones of datasets that still have results."""
    store, cells = Store(study.profile), study.cells()
    failed = [cell for cell in cells if store.facts(cell).status == "failed"]
    if not failed:
        return []
    left = set(read(study)["dataset"])
    return [
        cell
        for cell in failed
        if cell.dataset not in left or not diverged(store.facts(cell).record)
    ]
