"""Runs a profile's notebooks with papermill and keeps their reports.

A report is an executed notebook, its HTML, and a fingerprint of all that it was made from. While
that stays the same, the report is not made again.
"""

import base64
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alutils.commands import first_cells, overview
from alutils.commands.fingerprints import all_else, fingerprint, is_current
from alutils.paths import NOTEBOOKS, ROOT, outputs
from alutils.protocol.parameters import (
    ParameterError,
    Parameters,
    StudyError,
    cells_of,
    check_choice,
)
from alutils.protocol.study import Study
from alutils.records.files import CanNotWrite, write_atomically
from alutils.records.store import Store
from alutils.reporting import page
from alutils.studies import profiles


class StudyFailed(StudyError):
    """A notebook did not run to its end; the message names it and the reason."""


def make_reports(
    profile: str, notebook: str = "", workers: str = "", scheduler: str = "", train: str = ""
) -> None:
    """Make a profile's reports (or only the one named) if they are missing or out of date.

    With ``train = "no"`` nothing is trained: reports show only finished cells, and notebooks for
    which nothing is finished, or which always train, are left out; raises ``StudyError`` if none is
    left.

    Parameters, device, data and encoders' weights are checked before anything runs, which may raise
    ``ParameterError``, ``DataUnavailable`` and ``EncoderUnavailable``. If a notebook fails, the
    others still run, and then ``StudyFailed`` is raised and names it.
    """
    overrides = _overrides(workers, scheduler, train)
    every = profiles.studies(profile)
    studies = _one_of(every, notebook) if notebook else every
    first_cells.warn_if_edited(profile, notebook)
    stale = {name: study for name, study in studies.items() if not is_current(name, study)}
    left_out = _left_out(stale) if train == "no" else {}
    if studies.keys() <= left_out.keys():
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise StudyError(f"TRAIN = no, and nothing of {profile!r} can be shown: {reasons}")
    to_run = [study for name, study in stale.items() if name not in left_out]
    parsed = [
        type(study).parse(study.model_dump() | overrides, "make study")
        for study in to_run
        if isinstance(study, Study)
    ]
    training = [study for study in parsed if study.train]
    Store(profile).prepare()
    _check_machine(training)
    _check_encoders(training, to_run)
    failures = []
    with _workers(training):
        for name, study in studies.items():
            if name not in stale:
                print(f"{name}: unchanged", flush=True)
                continue
            if name in left_out:
                print(f"{name}: left out, as {left_out[name]}", flush=True)
                continue
            try:
                execute(name, study, overrides if isinstance(study, Study) else {})
            except Exception as error:  # whatever a notebook raised: the others still run
                failures.append(f"{name}: {_reason(error)}")
    try:
        overview.write(profile, every)
    except CanNotWrite as error:
        failures.append(str(error))
    if failures:
        raise StudyFailed("; ".join(failures))
    print(f"reports: {_shown(outputs() / profile / 'index.html')}")


def _one_of(studies: dict[str, Parameters], notebook: str) -> dict[str, Parameters]:
    """Only the study of one notebook; raises ``ParameterError`` if there is none."""
    check_choice("NOTEBOOK", notebook, studies, ParameterError)
    return {notebook: studies[notebook]}


def progress(profile: str, notebook: str = "") -> str:
    """How many cells of a profile, or of one of its notebooks, are finished, in words."""
    store, studies = Store(profile), profiles.studies(profile)
    if notebook:
        studies = _one_of(studies, notebook)
    records = [store.facts(cell) for cell in cells_of(studies.values())]
    finished = sum(facts.status == "finished" for facts in records)
    rounds = sum(facts.rounds for facts in records)
    return f"{finished} of {len(records)} cells finished, {rounds:,} rounds kept"


def execute(name: str, study: Parameters, overrides: dict[str, Any]) -> None:
    """Run a notebook with its study's parameters and ``overrides``, and keep its report."""
    print(f"{name}: running", flush=True)
    parameters = study.model_dump(mode="json") | overrides
    source, folder = NOTEBOOKS / f"{name}.ipynb", outputs() / study.profile
    hashed = all_else(name, study)  # now, as it may change while the notebook runs
    if not isinstance(study, Study):  # it only reads, and another run may finish a cell meanwhile
        before = fingerprint(name, study, hashed)
        render(source, folder, parameters, lambda: before)
    elif parameters["train"]:
        render(source, folder, parameters, lambda: fingerprint(name, study, hashed))
    else:  # cells may be missing, some of them of arms that the notebook itself registers
        render(source, folder, parameters)


def render(
    source: Path, folder: Path, parameters: dict[str, Any], made_from: Callable[[], str] = str
) -> None:
    """Run a notebook; its report replaces the last one only if it ran to its end.

    ``made_from`` returns the report's fingerprint after the run; by default the report has none and
    counts as out of date.
    """
    import papermill

    name, index = source.stem, source.parent == NOTEBOOKS
    _sweep(folder, name)
    partial = folder / f"{name}.{os.getpid()}.partial.ipynb"
    failed = folder / f"{name}.failed.ipynb"
    try:
        papermill.execute_notebook(
            source,
            partial,
            parameters,
            kernel_name="python3",
            kernel_manager_class="alutils.commands.kernel.OwnKernel",
            language="python",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            cwd=source.parent,  # as in JupyterLab: files beside a notebook can be imported there
        )
        notebook = _tidy(partial, folder, dropped="runs")
    except Exception:
        with suppress(StudyError, OSError, ValueError):  # the first error is the one to report
            notebook = _tidy(partial, folder)
            _write(failed, _text(notebook))
            _write(failed.with_suffix(".html"), page.to_html(notebook, index))
        raise
    finally:
        partial.unlink(missing_ok=True)
    notebook.metadata["alutils"] = {"fingerprint": made_from()}
    _write(folder / f"{name}.html", page.to_html(notebook, index))
    if image := page.headline(notebook)[1]:
        _write(folder / f"{name}.png", base64.b64decode(image))
    else:
        (folder / f"{name}.png").unlink(missing_ok=True)
    _write(folder / f"{name}.ipynb", _text(notebook))
    for left in (failed, failed.with_suffix(".html")):
        left.unlink(missing_ok=True)


def _sweep(folder: Path, name: str) -> None:
    """Remove the unfinished notebooks that dead processes left behind."""
    import psutil

    for left in folder.glob(f"{name}.*.partial.ipynb"):
        owner = left.name.split(".")[-3]
        if not owner.isdecimal() or not psutil.pid_exists(int(owner)):
            left.unlink(missing_ok=True)


def _tidy(file: Path, folder: Path, dropped: str = "") -> Any:
    """The executed notebook without what differs from run to run: times, paths, papermill's id.

    The outputs of cells with the tag ``dropped`` (progress lines) go too. In the repository, links
    to the guides are made relative to the report's ``folder``.
    """
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    guides = "](../docs/"
    if folder.is_relative_to(ROOT):  # elsewhere, no path of this machine is shown
        guides = f"]({Path(os.path.relpath(ROOT / 'docs', folder)).as_posix()}/"
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../docs/", guides)
        tags = cell.metadata.get("tags", [])
        if dropped in tags:
            cell.outputs = []
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"
    return notebook


def _check_machine(training: list[Study]) -> None:
    """Raise an error if a study that is to train lacks its scheduler, its device or its data.

    The devices of a scheduler's workers are checked later, when a notebook connects to it.
    """
    from alutils.learning import data
    from alutils.learning.devices import pick_device
    from alutils.running import cluster

    clusters = [study for study in training if study.scheduler and _unfinished(study)]
    for scheduler in dict.fromkeys(study.scheduler for study in clusters):
        cluster.check_scheduler(scheduler)
    for device in {study.device for study in training if not study.scheduler}:
        pick_device(device)
    for dataset in dict.fromkeys(cell.dataset for study in training for cell in study.cells()):
        data.load(dataset)


def _check_encoders(training: list[Study], to_run: Iterable[Parameters]) -> None:
    """Raise ``EncoderUnavailable`` if features must be computed and weights are unavailable.

    Weights are looked up, or fetched; no features are computed. With a scheduler, its workers do
    that.
    """
    from alutils.learning import encoders, features

    wanted = {pair for study in to_run for pair in study.own_features()}
    for study in training:
        if not study.scheduler:
            encoded = [cell for cell in study.cells() if cell.encoder != "none"]
            unfinished = Store(study.profile).unfinished(encoded)
            wanted |= {(cell.dataset, cell.encoder) for cell in unfinished}
    for encoder in sorted({pair[1] for pair in wanted if not features.is_cached(*pair)}):
        encoders.weights_file(encoder)


def _unfinished(study: Study) -> bool:
    """Whether some cell of the study has no sound record."""
    return bool(Store(study.profile).unfinished(study.cells()))


@contextmanager
def _workers(training: list[Study]) -> Iterator[None]:
    """Start local workers once, for all notebooks that train here and ask for the same ones."""
    local = [study for study in training if not study.scheduler]
    if not (unfinished := [study for study in local if _unfinished(study)]):
        yield
        return
    from alutils.running import cluster
    from alutils.running.run import placement_of

    with cluster.shared(placement_of(unfinished[0])):
        yield


def _overrides(workers: str, scheduler: str, train: str) -> dict[str, Any]:
    """The parameters that the command line sets, by name; may raise ``ParameterError``."""
    if workers and not workers.isdecimal():
        raise ParameterError(
            f"WORKERS = {workers!r} is not allowed: give a whole number, 0 or more"
        )
    if train not in ("", "yes", "no"):
        raise ParameterError(f"TRAIN = {train!r} is not allowed: give yes or no")
    chosen = {
        "workers": int(workers) if workers else None,
        "scheduler": scheduler or None,
        "train": {"yes": True, "no": False}.get(train),
    }
    return {key: value for key, value in chosen.items() if value is not None}


def _left_out(studies: dict[str, Parameters]) -> dict[str, str]:
    """Why notebooks are left out if nothing is trained, by their names."""
    from alutils.records.tidy import read

    reasons = {}
    for name, study in studies.items():
        if study.own_features():
            reasons[name] = "it trains whenever it runs"
        elif study.cells() and read(study).empty:
            reasons[name] = "no seed has every cell finished yet"
    return reasons


def _write(file: Path, content: str | bytes) -> None:
    """Write a file completely or not at all."""
    write_atomically(file, content.encode() if isinstance(content, str) else content)


def _text(notebook: Any) -> str:
    import nbformat

    return nbformat.writes(notebook) + "\n"


def _reason(error: Exception) -> str:
    """The first line of what went wrong, without a traceback."""
    name = getattr(error, "ename", type(error).__name__)
    value = getattr(error, "evalue", str(error))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(value)).strip().splitlines() or [""]
    return f"{name.rsplit('.', 1)[-1]}: {lines[0]}"


def _shown(path: Path) -> str:
    """A path as it is printed: relative to the repository's root if it lies below that."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
