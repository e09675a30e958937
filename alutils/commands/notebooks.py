"""Runs a profile's notebooks with papermill and keeps their reports.

A report is an executed notebook, its HTML, and a fingerprint of all it was made from. While that
still holds, the report is not made again.
"""

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from alutils.paths import NOTEBOOKS, PACKAGE, ROOT, outputs
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, Parameters, StudyError
from alutils.protocol.study import Study
from alutils.records.files import CanNotWrite, write_whole
from alutils.records.store import Store
from alutils.records.tidy import table
from alutils.reporting import page
from alutils.studies import profiles
from alutils.studies.claims.ablation import AblationStudy
from alutils.studies.claims.plan import ClaimsStudy


class StudyFailed(StudyError):
    """Some notebook did not run to its end; the message names it and the reason."""


def make_reports(
    profile: str, notebook: str = "", workers: str = "", scheduler: str = "", train: str = ""
) -> None:
    """Make those of a profile's reports (or the one named) that are missing or out of date.

    With ``train = "no"`` nothing is trained: reports show the finished cells alone, and notebooks
    for which nothing is finished are left out; ``StudyError`` where that leaves none.

    Parameters, device and data are checked before anything runs, with ``ParameterError`` and
    ``DataUnavailable``. Where a notebook fails, the others are run all the same, and then
    ``StudyFailed`` names it.
    """
    overrides = _overrides(workers, scheduler, train)
    every = _studies(profile)
    studies = _studies(profile, notebook) if notebook else every
    stale = {name: study for name, study in studies.items() if not is_current(name, study)}
    empty = _nothing_to_show(stale) if train == "no" else set()
    if studies.keys() <= empty:
        raise StudyError(
            f"TRAIN = no, and no seed of {profile!r} has every cell of {', '.join(sorted(empty))} "
            "finished: nothing can be shown yet"
        )
    training = [
        type(study).parse(study.model_dump() | overrides, "make study")
        for name, study in stale.items()
        if isinstance(study, Study) and name not in empty
    ]
    Store(profile).prepare()
    _check_machine(training)
    failures = []
    with _workers(training):
        for name, study in studies.items():
            if name not in stale:
                print(f"{name}: unchanged", flush=True)
                continue
            if name in empty:
                print(f"{name}: nothing is finished yet", flush=True)
                continue
            try:
                execute(name, study, overrides if isinstance(study, Study) else {})
            except Exception as error:  # whatever a notebook raised: the others still run
                failures.append(f"{name}: {_reason(error)}")
    try:
        _results(profile, every)
        _index(profile, every)
    except CanNotWrite as error:
        failures.append(str(error))
    if failures:
        raise StudyFailed("; ".join(failures))
    print(f"reports: {_shown(outputs() / profile / 'index.html')}")


def _studies(profile: str, notebook: str = "") -> dict[str, Parameters]:
    """The studies of a profile by their notebooks' names, or the one of ``notebook`` alone."""
    names = [notebook] if notebook else profiles.notebooks(profile)
    return {name: profiles.load_study(profile, name) for name in names}


def progress(profile: str, notebook: str = "") -> str:
    """How many cells of a profile, or of one of its notebooks, are finished, in words."""
    store = Store(profile)
    cells = [cell for study in _studies(profile, notebook).values() for cell in study.cells()]
    records = [store.load(cell) for cell in {cell.name: cell for cell in cells}.values()]
    finished = sum(record["status"] == "finished" for record in records)
    rounds = sum(len(record["rounds"]) for record in records)
    return f"{finished} of {len(records)} cells finished, {rounds:,} rounds kept"


def execute(name: str, study: Parameters, overrides: dict[str, Any]) -> None:
    """Run a notebook with its study's parameters and ``overrides``, and keep its report."""
    print(f"{name}: running", flush=True)
    parameters = study.model_dump(mode="json") | overrides
    source, folder = NOTEBOOKS / f"{name}.ipynb", outputs() / study.profile
    hashed = sources(name, study)  # now, as they may change while the notebook runs
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
    """Run a notebook; its report replaces the last one only when it ran to its end.

    ``made_from`` gives the report's fingerprint after the run; by default the report has none, and
    counts as out of date.
    """
    import papermill

    name = source.stem
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
        notebook = _tidy(partial, dropped="runs")
    except Exception:
        with suppress(StudyError, OSError, ValueError):  # the first error is the one to tell
            notebook = _tidy(partial)
            _write(failed, _text(notebook))
            _write(failed.with_suffix(".html"), page.to_html(notebook))
        raise
    finally:
        partial.unlink(missing_ok=True)
    notebook.metadata["alutils"] = {"fingerprint": made_from()}
    _write(folder / f"{name}.html", page.to_html(notebook))
    if image := page.headline(notebook)[1]:
        _write(folder / f"{name}.png", base64.b64decode(image))
    else:
        (folder / f"{name}.png").unlink(missing_ok=True)
    _write(folder / f"{name}.ipynb", _text(notebook))
    for left in (failed, failed.with_suffix(".html")):
        left.unlink(missing_ok=True)


def _sweep(folder: Path, name: str) -> None:
    """Remove the unfinished notebooks that dead processes left."""
    import psutil

    for left in folder.glob(f"{name}.*.partial.ipynb"):
        owner = left.name.split(".")[-3]
        if not owner.isdecimal() or not psutil.pid_exists(int(owner)):
            left.unlink(missing_ok=True)


def fingerprint(name: str, study: Parameters, hashed: str = "") -> str:
    """Hash of the records and files that a report is made from, and of its ``sources``.

    ``hashed`` is an earlier value of ``sources``, which otherwise are read now.
    """
    digest = hashlib.sha256((hashed or sources(name, study)).encode())
    for cell, store in _read_by(study):
        there = store.path(cell).exists()
        checksum = store.load(cell).get("checksum", "none") if there else "none"
        digest.update(f"{cell.name} {checksum}".encode())
    for file in study.files():
        digest.update(file.read_bytes() if file.exists() else b"none")
    return digest.hexdigest()


def sources(name: str, study: Parameters) -> str:
    """Hash of the code, notebook and parameters that a report is made from.

    The code is what the notebook reaches by import, the page that it is rendered in, and the files
    beside the notebook, where strategies of a user may lie.
    """
    digest = hashlib.sha256()
    for file in [*reached(NOTEBOOKS / f"{name}.ipynb"), *sorted(NOTEBOOKS.glob("**/*.py"))]:
        digest.update(file.read_bytes())
    digest.update((NOTEBOOKS / f"{name}.ipynb").read_bytes())
    digest.update(
        study.model_dump_json(exclude={"workers", "cells_per_gpu", "scheduler", "train"}).encode()
    )
    return digest.hexdigest()


def reached(notebook: Path) -> list[Path]:
    """Files of the package that a notebook reaches by import, in order of their names.

    Every strategy counts where ``strategies/own.py`` is reached, as that imports them by name.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    finder = ModuleFinder(path=[str(ROOT)])
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "notebook.py"
        script.write_text(f"import alutils.reporting.page\n{code}", encoding="utf-8")
        finder.run_script(str(script))
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    files |= set((PACKAGE / "reporting" / "templates").rglob("*.*"))
    if PACKAGE / "strategies" / "own.py" in files:
        files |= set((PACKAGE / "strategies").glob("*.py"))
    return sorted(file for file in files if file.is_relative_to(PACKAGE))


def _read_by(study: Parameters) -> list[tuple[Cell, Store]]:
    """The cells that a notebook reads, with their stores; the audit reads the ablation's too."""
    studies = [study, AblationStudy()] if isinstance(study, ClaimsStudy) else [study]
    return [(cell, Store(s.profile)) for s in studies for cell in s.cells()]


def is_current(name: str, study: Parameters) -> bool:
    """Whether a report shows every cell, and was made from today's sources and records."""
    file = outputs() / study.profile / f"{name}.ipynb"
    if not file.with_suffix(".html").exists():
        return False
    facts = _report(file).get("metadata", {}).get("alutils", {})
    store = Store(study.profile)
    finished = all(store.finished(cell) for cell in study.cells())
    return finished and facts.get("fingerprint") == fingerprint(name, study)


def _report(file: Path) -> dict[str, Any]:
    """A kept report's notebook; empty where there is none or it is damaged."""
    import nbformat

    try:
        return nbformat.read(file, as_version=4)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        return {}


def _tidy(file: Path, dropped: str = "") -> Any:
    """The executed notebook without what differs from run to run: times, paths, papermill's id.

    The outputs of cells with the tag ``dropped`` go too: progress lines.
    """
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if dropped in tags:
            cell.outputs = []
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"
    return notebook


def _check_machine(studies: list[Study]) -> None:
    """Raise where a study that is to train lacks its scheduler, its device or its data.

    The devices of a scheduler's workers are checked later, when a notebook connects to it. Studies
    that don't train need none of this.
    """
    if not (training := [study for study in studies if study.train]):
        return
    from alutils.learning import data
    from alutils.learning.devices import pick_device
    from alutils.running import cluster

    clusters = [study for study in training if study.scheduler and _unfinished(study)]
    for scheduler in dict.fromkeys(study.scheduler for study in clusters):
        cluster.reach(scheduler)
    for device in {study.device for study in training if not study.scheduler}:
        pick_device(device)
    for dataset in dict.fromkeys(cell.dataset for study in training for cell in study.cells()):
        data.load(dataset)


def _unfinished(study: Study) -> bool:
    """Whether some cell of the study has no sound record."""
    return not all(map(Store(study.profile).sound, study.cells()))


@contextmanager
def _workers(studies: list[Study]) -> Iterator[None]:
    """Start local workers once, for all notebooks that train here and ask for the same ones."""
    local = [study for study in studies if study.train and not study.scheduler]
    if not (unfinished := [study for study in local if _unfinished(study)]):
        yield
        return
    from alutils.running import cluster
    from alutils.running.run import placement_of

    with cluster.shared(placement_of(unfinished[0])):
        yield


def _overrides(workers: str, scheduler: str, train: str) -> dict[str, Any]:
    """The parameters that the command line sets, by their names; ``ParameterError``."""
    if workers and not workers.isdecimal():
        raise ParameterError(
            f"WORKERS = {workers!r} is not allowed: give a whole number, 0 or more"
        )
    if train not in ("", "yes", "no"):
        raise ParameterError(f"TRAIN = {train!r} is not allowed: give yes or no")
    chosen = {"workers": int(workers) if workers else None, "scheduler": scheduler or None}
    only_shown = {"train": False} if train == "no" else {}
    return {key: value for key, value in chosen.items() if value is not None} | only_shown


def _nothing_to_show(studies: dict[str, Parameters]) -> set[str]:
    """The notebooks of cells for which no seed has every cell."""
    from alutils.records.tidy import read

    of_cells = {name: study for name, study in studies.items() if study.cells()}
    return {name for name, study in of_cells.items() if read(study).empty}


def _results(profile: str, every: dict[str, Parameters]) -> None:
    """Write ``results.csv``: one row per cell and round of all notebooks of the profile, each once.

    It has the arms in the parameter files, not those that a notebook registers. The protocol's
    fields are columns too, as one figure may hold several recipes.
    """
    import pandas as pd

    store = Store(profile)
    studies = [study for study in every.values() if isinstance(study, Study)]
    tables = [table(store, study.cells(), study.reported) for study in studies]
    if not tables:
        return  # the audit alone has no rounds of its own
    results = pd.concat(tables).drop_duplicates(["record", "arm", "round"])
    fields = [key for key in Cell.model_fields if key not in results and key != "label_counts"]
    trained = {cell.name: cell for study in studies for cell in study.cells()}
    for key in fields:
        results[key] = [getattr(trained[name], key) for name in results["record"]]
    _write(outputs() / profile / "results.csv", results.to_csv(index=False))


def _index(profile: str, studies: dict[str, Parameters]) -> None:
    """Write ``index.html``: the reports of the profile with their answers."""
    from alutils.reporting.record_facts import effort

    folder = outputs() / profile
    reports = {name: report for name in studies if (report := _report(folder / f"{name}.ipynb"))}
    failed = [name for name in studies if (folder / f"{name}.failed.html").exists()]
    cells = {cell.name: cell for study in studies.values() for cell in study.cells()}
    _write(
        folder / "index.html", page.index(profile, reports, failed, effort(profile, cells.values()))
    )


def _write(file: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    write_whole(file, content.encode() if isinstance(content, str) else content)


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
    """A path as it is printed: from the repository's root, where it lies in there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
