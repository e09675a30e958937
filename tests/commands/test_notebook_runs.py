"""Every notebook end to end on the embedded digits, as ``make study PROFILE=smoke`` runs it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest

from alutils.__main__ import main
from alutils.commands import fingerprints, notebooks
from alutils.paths import NOTEBOOKS, PACKAGE, PARAMS, ROOT
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records.store import Store
from alutils.running import cluster
from alutils.studies import profiles
from tests.conftest import NO_NETWORK, command
from tests.processes import ARMS_NOTEBOOK, NOTEBOOK, equal_part, gone_within, start

NAMES = profiles.notebooks("smoke")


def take_notebooks_from(folder: Path, monkeypatch) -> None:
    """Run the notebooks of another folder."""
    for module in (notebooks, fingerprints):
        monkeypatch.setattr(module, "NOTEBOOKS", folder)


@pytest.fixture
def copy(smoke, tmp_path, monkeypatch) -> Path:
    """A copy of the finished smoke outputs that a test may spoil."""
    shutil.copytree(smoke, tmp_path / "outputs")
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_an_executed_notebook_and_a_page_that_needs_no_network(smoke, name):
    notebook = nbformat.read(smoke / "smoke" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source)
    assert not any(o.output_type in ("error", "stream") for cell in code for o in cell.outputs)
    page = (smoke / "smoke" / f"{name}.html").read_text()
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//(?!arxiv\.org)""", markup)
    assert "@import" not in markup and "url(http" not in markup and "<script" not in markup
    images = re.findall(r"<img [^>]*>", markup)
    assert images and all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    for text in (page, (smoke / "smoke" / f"{name}.ipynb").read_text()):
        assert str(ROOT) not in text and str(smoke) not in text
    assert len(page) < 3_000_000 and (smoke / "smoke" / f"{name}.ipynb").stat().st_size < 2_000_000


def test_the_index_and_the_table_hold_all_reports(smoke):
    index = (smoke / "smoke" / "index.html").read_text()
    assert all(f'href="{name}.html"' in index for name in NAMES)
    assert "Nothing is tested on digits with fewer than 3 paired seeds" in index
    assert index.count("<img ") == len(NAMES) and len(index) < 3_000_000
    rows = (smoke / "smoke" / "results.csv").read_text().splitlines()
    studies = [profiles.load_study("smoke", name) for name in NAMES]
    cells = {cell.name: cell for study in studies for cell in study.cells()}.values()
    assert len(rows) == 1 + sum(cell.rounds for cell in cells)
    assert {"learning_rate", "optimiser", "stem", "acquisition_fraction"} < set(rows[0].split(","))


def test_the_terminal_shows_a_line_a_round(smoke):
    log = (smoke / "log").read_text()
    assert re.search(r"digits +margin +seed 2 +round +2/3 +162 labels +accuracy", log)
    assert "Executing Cell" not in log and "IPython.core.display" not in log


def test_the_notebooks_of_a_run_share_their_workers(smoke):
    dashboards = re.findall(r"dashboard: (\S+)", (smoke / "log").read_text())
    assert len(dashboards) > 1 and len(set(dashboards)) == 1


def test_without_training_what_has_nothing_finished_is_left_out(copy, capsys):
    name = "07-beyond-the-poster"
    for cell in profiles.load_study("smoke", name).cells():
        Store("smoke").path(cell).unlink()
    kept = (copy / "smoke" / f"{name}.html").read_bytes()
    notebooks.make_reports("smoke", train="no")
    printed = capsys.readouterr().out
    assert f"{name}: left out, as no seed has every cell finished yet" in printed
    assert "reports: " in printed
    assert (copy / "smoke" / f"{name}.html").read_bytes() == kept
    with pytest.raises(StudyError, match=f"nothing of 'smoke' can be shown: {name}: no seed has"):
        notebooks.make_reports("smoke", name, train="no")


def test_local_workers_are_started_for_what_is_to_be_trained_alone(copy, monkeypatch):
    started = []
    monkeypatch.setattr(cluster, "shared", lambda place: started.append(place) or nullcontext())
    finished = profiles.load_study("smoke", NOTEBOOK)
    more = finished.model_copy(update={"seeds": (7,)})
    for changed in ({"scheduler": "tcp://elsewhere:8786"}, {"workers": 3}):
        with notebooks._workers([finished, more.model_copy(update=changed)]):
            pass
    assert [place.workers for place in started] == [3]


def test_a_second_run_executes_nothing(copy):
    before = {file: file.stat().st_mtime_ns for file in copy.glob("smoke/*.ipynb")}
    done = command("study", "smoke")
    assert done.returncode == 0 and done.stdout.count("unchanged") == len(NAMES)
    assert before == {file: file.stat().st_mtime_ns for file in copy.glob("smoke/*.ipynb")}


def test_a_report_made_without_training_is_not_taken_for_the_whole(copy):
    """Cells of arms that a notebook registers itself are in no parameter file."""
    record = next((copy / "smoke" / "runs").glob("*second-guess*.json"))
    name = "05-your-own-strategy"
    assert fingerprints.is_current(name, profiles.load_study("smoke", name))
    record.unlink()
    (copy / "smoke" / f"{name}.html").unlink()
    notebooks.make_reports("smoke", name, train="no")
    assert (copy / "smoke" / f"{name}.html").exists() and not record.exists()
    assert not fingerprints.is_current(name, profiles.load_study("smoke", name))


def test_a_report_that_is_made_again_is_the_same_to_the_byte(copy):
    files = [copy / "smoke" / f"{ARMS_NOTEBOOK}.{kind}" for kind in ("html", "ipynb", "png")]
    before = [file.read_bytes() for file in files]
    files[0].unlink()
    notebooks.make_reports("smoke", ARMS_NOTEBOOK)
    assert [file.read_bytes() for file in files] == before


def test_a_scheduler_is_looked_at_once_before_any_notebook(outputs, monkeypatch):
    looks = []

    def reach(scheduler: str) -> None:
        looks.append(scheduler)
        raise ParameterError("nothing answers")

    monkeypatch.setattr(cluster, "check_scheduler", reach)
    monkeypatch.setattr(notebooks, "execute", lambda name, *_: pytest.fail(name))
    with pytest.raises(ParameterError, match="nothing answers"):
        notebooks.make_reports("smoke", scheduler="tcp://nowhere:8786")
    assert looks == ["tcp://nowhere:8786"]


def test_finished_cells_need_no_scheduler(copy, monkeypatch):
    monkeypatch.setattr(cluster, "check_scheduler", pytest.fail)
    study = profiles.load_study("smoke", NOTEBOOK)
    notebooks._check_machine([study.model_copy(update={"scheduler": "tcp://nowhere:8786"})])


def test_a_changed_record_or_parameter_makes_a_report_stale(copy):
    study = profiles.load_study("smoke", NOTEBOOK)
    assert fingerprints.is_current(NOTEBOOK, study)
    assert fingerprints.is_current(NOTEBOOK, study.model_copy(update={"workers": 7}))
    assert not fingerprints.is_current(NOTEBOOK, study.model_copy(update={"candidates": 700}))
    cell, store = study.cells()[0], Store("smoke")
    store.save(cell, store.load(cell) | {"provenance": {"wall_seconds": 1.0}})
    assert not fingerprints.is_current(NOTEBOOK, study)


def test_a_source_that_changes_while_a_notebook_runs_leaves_its_report_stale(
    copy, monkeypatch, tmp_path
):
    study = profiles.load_study("smoke", NOTEBOOK)
    source = tmp_path / "notebooks" / f"{NOTEBOOK}.ipynb"
    source.parent.mkdir()
    shutil.copyfile(NOTEBOOKS / source.name, source)
    take_notebooks_from(source.parent, monkeypatch)
    done = (copy / "smoke" / source.name).read_bytes()

    def run(_, partial, *args, **options):
        partial.write_bytes(done)
        if change:
            source.write_text(source.read_text() + " ")

    monkeypatch.setattr("papermill.execute_notebook", run)
    for change in (False, True):
        notebooks.execute(NOTEBOOK, study, {})
        assert fingerprints.is_current(NOTEBOOK, study) is not change


def test_a_notebook_that_fails_leaves_the_last_good_report(copy, monkeypatch, tmp_path):
    broken = tmp_path / "notebooks"
    broken.mkdir()
    notebook = nbformat.read(NOTEBOOKS / f"{NOTEBOOK}.ipynb", as_version=4)
    notebook.cells = [notebook.cells[0], notebook.cells[2], notebook.cells[-1]]
    assert notebook.cells[1].metadata["tags"] == ["parameters"]
    notebook.cells[-1].source = "raise RuntimeError('on purpose <b>')"
    nbformat.write(notebook, broken / f"{NOTEBOOK}.ipynb")
    take_notebooks_from(broken, monkeypatch)
    good = (copy / "smoke" / f"{NOTEBOOK}.html").read_bytes()
    with pytest.raises(notebooks.StudyFailed, match=f"{NOTEBOOK}: RuntimeError: on purpose"):
        notebooks.make_reports("smoke", NOTEBOOK)
    assert (copy / "smoke" / f"{NOTEBOOK}.html").read_bytes() == good
    assert "on purpose &lt;b&gt;" in (copy / "smoke" / f"{NOTEBOOK}.failed.html").read_text()
    assert not list(copy.glob("smoke/*.partial.ipynb"))


def test_a_notebook_runs_in_this_interpreter_and_in_its_folder_whatever_kernels_there_are(
    tmp_path, monkeypatch
):
    """What lies beside it is imported, as in JupyterLab, and makes its report stale."""
    foreign = tmp_path / "share" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "", "language": "R"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    take_notebooks_from(tmp_path, monkeypatch)
    prose = [nbformat.v4.new_markdown_cell(text) for text in ("# Title", "What.", "How.")]
    first = nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})
    last = nbformat.v4.new_code_cell(
        "%matplotlib inline\nimport sys\nimport mine\nsys.executable, x, mine.NAME"
    )
    notebook = nbformat.v4.new_notebook(cells=[*prose, first, last])  # its metadata are empty
    nbformat.write(notebook, tmp_path / f"{NOTEBOOK}.ipynb")
    mine, study = tmp_path / "mine.py", profiles.load_study("smoke", NOTEBOOK)
    mine.write_text("NAME = 'lowest'\n")
    folder = tmp_path / "reports"
    folder.mkdir()
    notebooks.render(tmp_path / f"{NOTEBOOK}.ipynb", folder, {"x": 2})
    report = nbformat.read(folder / f"{NOTEBOOK}.ipynb", as_version=4)
    assert report.cells[-1].outputs[0].data["text/plain"] == str((sys.executable, 2, "lowest"))
    assert "Title" in (folder / f"{NOTEBOOK}.html").read_text()
    before = fingerprints.sources(NOTEBOOK, study)
    mine.write_text("NAME = 'highest'\n")
    assert fingerprints.sources(NOTEBOOK, study) != before


def test_what_a_cell_below_a_magic_imports_is_a_part_of_its_report(tmp_path):
    cells = [
        "%%time\n%matplotlib inline\nfrom alutils.labelling import repair",
        "%%bash\nls | head",
        "!ls",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    files = fingerprints.imported_files(tmp_path / "mine.ipynb")
    assert PACKAGE / "labelling" / "repair.py" in files


@pytest.mark.parametrize("error", [ValueError("what\nhow"), ValueError("\x1b[31mwhat\x1b[0m\n")])
def test_what_went_wrong_is_told_by_its_first_line(error):
    assert notebooks._reason(error) == "ValueError: what"


@pytest.mark.soak
def test_after_sigkill_no_process_is_left_and_a_rerun_ends_equal(smoke, tmp_path):
    for mark, seconds in (("running", 3), ("round   2/3", 0)):
        process = start(tmp_path)
        for line in process.stdout:
            if mark in line:
                break
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
        gone_within(tmp_path)
    done = command("study", "smoke", "--notebook", NOTEBOOK, ALUTILS_OUTPUTS=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert equal_part(tmp_path) == equal_part(smoke)


@pytest.mark.soak
def test_raw_papermill_runs_a_notebook_by_itself(copy, tmp_path):
    source, params = NOTEBOOKS / f"{NOTEBOOK}.ipynb", PARAMS / "smoke" / f"{NOTEBOOK}.yaml"
    papermill = [sys.executable, "-m", "papermill", str(source), str(tmp_path / "out.ipynb")]
    done = subprocess.run([*papermill, "-f", str(params)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wrong = [*papermill, "-f", str(params), "-p", "epochz", "3"]
    done = subprocess.run(wrong, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "unknown parameter 'epochz' = 3: did you mean 'epochs'?" in done.stderr


@pytest.fixture
def study_command(monkeypatch):
    """Function that runs ``python -m alutils study`` in this process, and returns its status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["alutils", "study", *arguments])
        return main()

    return run


BAD_COMMANDS = [
    (["quik"], "did you mean 'quick'"),
    (["smoke", "--notebook", "03-mnist"], "did you mean '03-mnist-active-learning'"),
    (["smoke", "--workers", "two"], "WORKERS = 'two'"),
    (["smoke", "--workers", "-1"], "WORKERS = '-1'"),
    (["smoke", "--workers", "5000"], "workers = 5000 is not allowed: input should be less than"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS, ids=lambda v: str(v))
def test_a_wrong_command_is_one_line_and_a_status(
    arguments, message, study_command, outputs, capfd
):
    assert study_command(*arguments) == 2
    error = capfd.readouterr().err
    assert message in error and error.count("\n") == 1 and not outputs.exists()


def test_an_unwritable_outputs_folder_is_one_line_and_a_status(study_command, outputs, capfd):
    outputs.write_text("")
    assert study_command("smoke") == 2
    error = capfd.readouterr().err
    assert error.startswith("error: the outputs folder") and error.count("\n") == 1


def test_no_network_is_one_error_and_nothing_runs(tmp_path):
    done = command("study", "quick", "--notebook", NOTEBOOK, PATH="", **NO_NETWORK,
                   ALUTILS_OUTPUTS=str(tmp_path / "o"), ALUTILS_DATA=str(tmp_path / "d"),
                   )  # fmt: skip
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and error.startswith("error: MNIST is not in")
    assert "make study PROFILE=smoke" in error and not list((tmp_path / "o").rglob("*.json"))


def test_a_device_that_is_not_there_is_refused_before_anything_runs(outputs, monkeypatch):
    study = profiles.load_study("smoke", NOTEBOOK).model_copy(update={"device": "mps"})
    monkeypatch.setattr(profiles, "load_study", lambda profile, name: study)
    with pytest.raises(ParameterError, match="device = 'mps' is not on this machine"):
        notebooks.make_reports("smoke", NOTEBOOK)
    assert not list(outputs.rglob("*.json"))
