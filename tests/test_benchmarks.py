"""The benchmark measures what it says; no figure of it is judged here."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alutils.learning import data
from alutils.paths import ROOT
from alutils.protocol.cell import Cell

BENCH = ROOT / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's own module, with one process a contender."""
    monkeypatch.syspath_prepend(str(BENCH))
    import bench

    monkeypatch.setattr(bench, "CORES", 1)
    return bench


def test_a_ratio_is_taken_within_a_turn(bench):
    one = bench.Bench(2, lambda line: None)
    one.compare("train", "digits", {"ours": 64, "plain": 64}, "train")
    ours, plain, ratio = (one.rows[f"train_{key}"] for key in ("ours", "plain", "vs_plain"))
    assert plain == one.rows["train_plain_1_processes"]
    assert ours["low"] / plain["high"] <= ratio["low"] <= ratio["median"] <= ratio["high"]
    assert ratio["high"] <= ours["high"] / plain["low"] and ratio["unit"] == "ratio"


def test_what_the_engine_costs_is_measured_beside_bare_processes(bench):
    one = bench.Bench(1, lambda line: None)
    one.engine("digits", 64)
    sent, ratio = one.rows["train_sent"], one.rows["train_sent_vs_bare"]
    assert sent["unit"] == "images/s" and 0 < sent["median"] and 0 < ratio["median"]


def test_a_peer_that_is_not_there_is_named_and_the_rest_is_measured(bench, monkeypatch):
    monkeypatch.setattr(bench, "PEERS_PYTHON", ROOT / "no-such-python")
    said: list[str] = []
    one = bench.Bench(1, said.append)
    one.compare("mc", "digits", {"ours": 64, "baal": 64}, "mc")
    assert one.rows.keys() == {"mc_ours"}
    assert one.missing == {"baal": "no-such-python is not there"}
    assert said[0] == "baal can't be measured: no-such-python is not there"


def test_the_plain_loops_time_is_its_work_over_its_rates(bench):
    """128 labels for 3 epochs, then 140 of the pool's 1,294, and twice the 360 test images."""
    one = bench.Bench(1, lambda line: None)
    for work, rate in {"train": 100.0, "score": 50.0, "mc": 2.0}.items():
        one.put(f"digits_{work}_plain", [rate], "images/s")
    cell = Cell(
        dataset="digits", arm="margin", seed=0, first_labels=128, rounds=2, epochs=3,
        acquisition_fraction=0.01,
    )  # fmt: skip
    assert cell.schedule_of_labels() == [128, 139]
    trained, tested, scored = 2 * 128 * 3, 2 * 360, 1294 - 128
    assert len(data.load("digits").test_labels) == 360
    expected = 4 * trained / 100 + (4 * tested + 3 * scored) / 50 + scored / 2
    assert one._plain_seconds(cell, "median") == pytest.approx(expected)


def test_a_run_from_end_to_end_leaves_the_outputs_that_the_user_chose(
    bench, outputs, shared_worker
):
    one = bench.Bench(1, lambda line: None)
    for work in ("train", "score", "mc"):
        one.put(f"digits_{work}_plain", [100.0], "images/s")
    one.end_to_end("digits", first=128, rounds=2, epochs=1, repeats=1)
    ours, plain, ratio = (one.rows[f"end_to_end_{key}"] for key in ("ours", "plain", "vs_plain"))
    assert 0 < ours["median"] and ours["unit"] == plain["unit"] == "s"
    assert ratio["median"] == plain["median"] / ours["median"] and ratio["unit"] == "ratio"
    assert os.environ["ALUTILS_OUTPUTS"] == str(outputs) and not outputs.exists()
    assert one.write("results", torch.device("cpu"), 60.0).parent == outputs / "bench"


@pytest.mark.parametrize("kept", [{"uss": 2**30, "pss": 2**31}, {"uss": 2**31}])
def test_a_workers_memory_is_its_share_where_the_system_tells_it(bench, monkeypatch, kept):
    process = SimpleNamespace(memory_full_info=lambda: SimpleNamespace(**kept))
    monkeypatch.setattr(bench.psutil, "Process", lambda pid: process)
    assert bench._held_gb(1) == 2


def test_memory_beyond_images_and_results_is_measured_in_a_process_of_its_own(bench):
    one = bench.Bench(1, lambda line: None)
    one._alone("{}", "growth.py", "digits", 300, "bayesian")
    found = {key: row["median"] for key, row in one.rows.items()}
    assert 0 < found["selecting"] < found["scoring"]
    assert 0.1 < found["memory"] < 2 and one.rows["memory"]["unit"] == "GB"


def test_what_choosing_costs_is_measured_and_shown(bench, outputs):
    import speed

    one = bench.Bench(1, lambda line: None)
    one.selection(600, {"margin": 6, "cluster-margin": 6})
    assert one.rows["select_margin_6_seconds_600"]["median"] > 0
    assert one.rows["select_cluster-margin_6_memory_600"]["unit"] == "GB"
    file = one.write("results", torch.device("cpu"), 90.0)
    assert file == outputs / "bench" / "results.json"
    whole = json.loads(file.read_text())
    assert whole.keys() == {*one.rows, "missing", "provenance"} and whole["missing"] == {}
    assert whole["provenance"]["cores"] == 1 and whole["provenance"]["minutes"] == 1.5
    shown = speed.selection(speed.read(str(file))).data
    assert shown.count("<tr") == 3 and "cluster-margin" in shown and "600" in shown


def test_what_a_gpu_takes_is_measured_by_the_studys_own_training(bench, monkeypatch):
    """On the processor, in a GPU's place."""
    import gpu

    monkeypatch.setattr(gpu, "CUDA", torch.device("cpu"))
    monkeypatch.setattr(gpu, "LABELS", 64)
    monkeypatch.setattr(gpu, "EPOCHS", 1)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    one = bench.Bench(1, lambda line: None)
    gpu.selection(one, 600, {"margin": 6, "badge": 6})
    assert one.rows["select_badge_6_seconds_600"]["median"] > 0
    deterministic: list[bool] = []

    def train(*given):
        deterministic.append(torch.are_deterministic_algorithms_enabled())
        return trained(*given)

    trained = gpu.training.train
    monkeypatch.setattr(gpu.training, "train", train)
    try:
        torch.use_deterministic_algorithms(True)
        gpu.steps(one, "mnist", "7x7", "fp32")
    finally:
        torch.use_deterministic_algorithms(False)
    assert deterministic == [True, False, True] * (gpu.REPEATS + 1)
    assert one.rows["step_mnist_7x7_fp32_any_kernel"]["unit"] == "ms"


def test_every_strategy_chooses_from_synthetic_features(bench):
    """Told apart well enough to be sure of some, and not of all."""
    import selection

    view = selection.synthetic_view(2000, 20)
    top = view.probs_N_C.max(1).values
    assert 0.05 < (top > 0.9).float().mean() < 0.95 and len(view.labelled_embeddings_M_D) == 20


def test_the_kept_results_hold_every_row_and_make_the_report(bench, tmp_path):
    kept = ROOT / "outputs" / "bench" / "results.json"
    whole = json.loads(kept.read_text())
    missing, _ = whole.pop("missing"), whole.pop("provenance")
    ratios = {f"{work}_vs_plain" for work in ("train", "score", "mc", "end_to_end")}
    if not missing:
        ratios |= {"train_vs_baal", "train_vs_skorch", "mc_vs_baal"}
    ratios |= {"train_share_of_limit", "worker_memory_gb"}
    assert ratios | {"pool_cost_1m_vs_100k", "pool_memory_1m_vs_100k"} <= whole.keys()
    assert all(row["low"] <= row["median"] <= row["high"] for row in whole.values())
    bench.report(Path(shutil.copy(kept, tmp_path)))
    page = (tmp_path / "speed.html").read_text()
    assert page.count("<img") == 2 and "Traceback" not in page


def test_the_plain_loop_runs_every_strategy(bench):
    import plain_loop

    accuracy = plain_loop.active_learning("digits", "margin", 128, [64], 1, 2e-3)
    assert len(accuracy) == 2 and all(0 < value <= 1 for value in accuracy)
    images, _ = plain_loop.load("digits")
    pool, net = plain_loop.Subset(images, range(64)), plain_loop.network(1)
    for strategy in ("uncertainty", "kmeans", "bayesian"):
        picks = plain_loop.choose(strategy, net, pool, 5)
        assert len(picks.unique()) == 5 and picks.max() < 64
