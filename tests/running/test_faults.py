"""What goes wrong in a run: one cell fails, the others finish, nothing finished is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from alutils.commands import fingerprints, notebooks
from alutils.learning import devices, scoring, training
from alutils.learning.network import Net
from alutils.paths import ROOT
from alutils.protocol.study import Study
from alutils.records.record import diverged, place_of
from alutils.records.store import Store
from alutils.reporting import record_facts
from alutils.running import engine, round, run
from alutils.running.engine import RunFailed
from alutils.running.placement import Placement
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CIFAR10
from alutils.studies.sensitivity.plan import SensitivityStudy
from alutils.studies.training_size.plan import TrainingSizeStudy
from tests.processes import NOTEBOOK, equal_part, gone_within, start
from tests.running.tasks import stub
from tests.studies.made_up import save_finished


def not_a_number(cells, history, state):
    """A round whose loss leaves the real numbers in margin's second round."""
    if history and cells[0].arm == "margin":
        cells = [cells[0].model_copy(update={"learning_rate": 1e38})]
    return round.run_round(cells, history, state, "cpu", {})


def test_a_loss_that_is_not_finite_names_its_step(digits_cell, store):
    cells = [digits_cell(arm=arm, epochs=2) for arm in ("margin", "random")]
    with pytest.raises(RunFailed) as failed:
        engine.run(cells, not_a_number, store, {}, Placement(workers=1), say=lambda line: None)
    message = str(failed.value)
    assert message.startswith(
        f"1 of 2 cells failed: {cells[0].name}, round 2: NotFinite: the loss is"
    )
    assert "at step 3 of 4 (epoch 2): lower learning_rate" in message
    assert store.finished(cells[1]) and len(store.load(cells[0])["rounds"]) == 1
    assert [diverged(store.load(cell)) for cell in cells] == [True, False]


def breaks_for_margin(cells, history, state):
    """An arm at fault in the round that all arms share."""
    if any(cell.arm == "margin" for cell in cells):
        raise ValueError("a score is not finite")
    return stub(cells, history)


def test_an_arm_at_fault_in_a_shared_round_does_not_take_the_others_along(digits_cell, store):
    cells = [digits_cell(arm=arm) for arm in ("random", "margin", "kmeans")]
    with pytest.raises(RunFailed, match=f"1 of 3 cells failed: {cells[1].name}, round 1: ValueE"):
        engine.run(cells, breaks_for_margin, store, {}, Placement(workers=1), say=lambda line: None)
    assert [store.finished(cell) for cell in cells] == [True, False, True]


def test_weights_that_leave_the_real_numbers_in_the_last_step_are_refused(digits_cell):
    cell = digits_cell(epochs=1, first_labels=128).model_copy(update={"learning_rate": 1e38})
    with pytest.raises(training.NotFinite, match="weights are not finite after 2 steps"):
        round.CurrentRound(cell, [], devices.make_deterministic("cpu")).train(None)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["python", "cuda", "cpu", "mps", "cudnn"],
)
def test_scoring_that_runs_out_of_memory_halves_its_chunk(digits_cell, monkeypatch, error):
    now = round.CurrentRound(digits_cell(), [], devices.make_deterministic("cpu"))
    whole, features, sizes = scoring.predict(now.net, now.images[:300]), now.net.features, []

    def limited(images):
        sizes.append(len(images))
        if len(images) > 90:
            raise error
        return features(images)

    monkeypatch.setattr(now.net, "features", limited)
    assert torch.allclose(scoring.predict(now.net, now.images[:300]), whole, atol=1e-6)
    assert sizes[:3] == [300, 250, 125] and sizes[3:] == [62] * 4 + [52]
    assert now.net.halved_to == 62


def test_a_round_whose_scoring_was_halved_says_so(digits_cell, monkeypatch):
    """Its last bits may be others than those of a round that was scored as ever."""
    cell, features = digits_cell(epochs=1), Net.features

    def limited(net, images):
        if len(images) > 90:
            raise MemoryError
        return features(net, images)

    _, whole, _ = round.run_round([cell], [], None, "cpu", {})
    monkeypatch.setattr(Net, "features", limited)
    _, halved, _ = round.run_round([cell], [], None, "cpu", {})
    assert place_of(halved) == place_of(whole) | {"scoring_batch": 62}


def test_an_error_that_is_not_about_memory_is_not_swallowed(digits_cell, monkeypatch):
    now = round.CurrentRound(digits_cell(), [], devices.make_deterministic("cpu"))

    def broken(images):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(now.net, "features", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        scoring.predict(now.net, now.images[:10])


def test_a_report_is_made_of_the_seeds_that_are_whole(outputs, shared_worker, monkeypatch):
    study = ActiveLearningStudy(
        profile="faulty", dataset="digits", arms=("random", "margin"), seeds=(0, 1),
        first_labels=128, acquisition_fraction=0.03, rounds=2, epochs=1, workers=1,
    )  # fmt: skip
    monkeypatch.setattr(run, "round_task", lambda device, custom, copied: fails_for_one)
    lines: list[str] = []
    results = run.run(study, lines.append)
    assert set(results["seed"]) == {0} and set(results["arm"]) == {"random", "margin"}
    assert lines[-1].startswith("error: 1 of 4 cells failed: digits-margin-seed1")
    html = record_facts.run_status(study).data
    assert "digits-margin-seed1" in html and "ArithmeticError: no number" in html
    with pytest.raises(RunFailed, match="1 of 4 cells failed"):
        run.finish(study)


NOT_FINITE = "NotFinite: the loss is nan at step 3 of 4 (epoch 2): lower learning_rate"


def made_up(study: Study, errors: dict[tuple[str, int], str]) -> None:
    """Records of a study: finished, but for those of an arm and seed with an error."""
    store = Store(study.profile)
    store.prepare()
    for cell in study.cells():
        if error := errors.get((cell.arm, cell.seed)):
            failed = {"status": "failed", "final": {"error": error}}
            store.save(cell, store.load(cell) | failed)
        else:
            save_finished(store, cell, lambda *_: {"test_accuracy": 0.9})


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ({("margin", 1): NOT_FINITE}, ""),
        ({("margin", 1): "ValueError: no"}, "1 of 4 cells failed"),
        ({("margin", 1): NOT_FINITE, ("random", 0): NOT_FINITE}, "2 of 4 cells failed"),
    ],
)
def test_a_training_that_diverged_ends_no_study_of_which_a_seed_is_whole(outputs, errors, told):
    study = ActiveLearningStudy(
        profile="test", dataset="digits", arms=("random", "margin"), seeds=(0, 1),
        first_labels=128, acquisition_fraction=0.03, rounds=2,
    )  # fmt: skip
    made_up(study, errors)
    with pytest.raises(RunFailed, match=told) if told else nullcontext():
        run.finish(study)


@pytest.mark.parametrize("kind", [TrainingSizeStudy, SensitivityStudy])
def test_a_dataset_that_diverged_whole_is_a_failure_beside_one_that_is_finished(outputs, kind):
    study = kind(profile="test", datasets=("mnist", "cifar10"), seeds=(0,))
    store, cells = Store("test"), study.cells()
    store.prepare()
    *_, bad = (cell for cell in cells if cell.dataset == "cifar10")
    failed = {"status": "failed", "final": {"error": NOT_FINITE}}
    store.save(bad, store.load(bad) | failed)
    for cell in cells:
        if cell is not bad:
            save_finished(store, cell, lambda *_: {"test_accuracy": 0.9})
    with pytest.raises(RunFailed, match=f"1 of {len(cells)} cells failed: {bad.name}"):
        run.finish(study)


def test_a_report_without_the_seed_that_diverged_is_kept_and_says_so(outputs):
    study = load_study("smoke", CIFAR10)
    made_up(study, {("margin", 1): NOT_FINITE})
    notebooks.execute(CIFAR10, study, {"train": False})
    page = (outputs / "smoke" / f"{CIFAR10}.html").read_text()
    assert "a training of one failed: digits seed 1." in page and "NotFinite: the loss is" in page
    assert not list(outputs.rglob("*.failed.*"))


def test_a_report_that_shows_what_diverged_is_not_made_again(outputs, monkeypatch):
    study = load_study("smoke", CIFAR10)
    made_up(study, {("margin", 1): NOT_FINITE})
    monkeypatch.setattr(fingerprints, "fingerprint", lambda *_: "as it was")
    kept = {"metadata": {"alutils": {"fingerprint": "as it was"}}}
    monkeypatch.setattr(fingerprints, "kept_report", lambda file: kept)
    (outputs / "smoke" / f"{CIFAR10}.html").touch()
    assert fingerprints.is_current(CIFAR10, study)
    made_up(study, {("margin", 1): "ValueError: no"})
    assert not fingerprints.is_current(CIFAR10, study)


def fails_for_one(cells, history, state):
    if history and cells[0].arm == "margin" and cells[0].seed == 1:
        raise ArithmeticError("no number")
    return round.run_round(cells, history, state, "cpu", {})


@pytest.mark.soak
def test_ctrl_c_says_what_is_kept_and_leaves_no_process(tmp_path):
    process = start(tmp_path, "--workers", "1")
    for line in process.stdout:
        if "round   1/3" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.match("stopped: [01] of 2 cells finished, ", stderr.splitlines()[-1])
    assert "Traceback" not in stderr and "run the same command again to continue" in stderr
    gone_within(tmp_path)
    assert not list(tmp_path.rglob("*.failed.*")) and not list(tmp_path.rglob("*.partial.*"))


@pytest.mark.soak
def test_two_runs_at_once_end_well_and_with_the_records_of_one(smoke, tmp_path):
    notebook = "02-cifar10-active-learning"
    runs = [start(tmp_path, "--workers", "1", notebook=notebook) for _ in range(2)]
    for process in runs:
        stdout, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stdout + stderr
    assert equal_part(tmp_path, notebook) == equal_part(smoke, notebook)
    assert not list(tmp_path.rglob("*.damaged")) and not list(tmp_path.rglob("*.part*"))


@pytest.mark.soak
def test_a_disk_that_fills_up_leaves_what_was_there_and_the_rerun_completes(
    smoke, tmp_path, monkeypatch
):
    """Writing notebook and page fails; a limit on the size of files stands for a full disk."""
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path))
    runs = shutil.copytree(smoke / "smoke" / "runs", tmp_path / "smoke" / "runs")
    before = {record: record.read_bytes() for record in runs.glob("*.json")}
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"sys.argv = ['alutils', 'study', 'smoke', '--notebook', '{NOTEBOOK}']; "
        "runpy.run_module('alutils', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    error = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and error.startswith("error: "), done.stderr
    assert "File too large" in error or "can't be written" in error
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob(f"{NOTEBOOK}.html"))
    notebooks.make_reports("smoke", NOTEBOOK)
    assert (tmp_path / "smoke" / f"{NOTEBOOK}.html").exists()
    assert {record: record.read_bytes() for record in runs.glob("*.json")} == before
