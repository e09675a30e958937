"""The benchmark measures what it says, on digits and in a minute; no figure of it is judged."""

import json
import subprocess
import sys

import pytest

from alutils.paths import ROOT

BENCH = ROOT / "benchmarks"
KEYS = {
    "train_vs_plain", "score_vs_plain", "mc_vs_plain", "end_to_end_vs_plain",
    "train_share_of_limit", "worker_memory_gb", "limit_fp32", "limit_bf16",
    "pool_cost_4k_vs_2k", "pool_memory_4k_vs_2k",
}  # fmt: skip


@pytest.mark.timeout(300)
def test_every_row_is_measured_and_reported(outputs):
    done = subprocess.run(
        [sys.executable, str(BENCH / "bench.py"), "--tiny"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    whole = json.loads((outputs / "bench" / "results.json").read_text())
    assert whole.pop("missing") == {} and whole.pop("provenance")["cores"] >= 1
    assert KEYS <= whole.keys()
    for key, row in whole.items():
        assert row["low"] <= row["median"] <= row["high"], key
        assert row["unit"] in ("ratio", "images/s", "GFLOP/s", "GB", "s")
    plain = whole["train_plain"]["median"]
    assert whole["train_ours"]["low"] / plain <= whole["train_vs_plain"]["high"] * 1.5
    page = (outputs / "bench" / "speed.html").read_text()
    assert "Images per second" in page and page.count("<img") == 2


def test_a_peer_that_is_not_there_is_named_and_the_rest_is_measured(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCH))
    import bench

    monkeypatch.setattr(bench, "PEERS_PYTHON", ROOT / "no-such-python")
    said: list[str] = []
    one = bench.Bench(1, said.append)
    one.compare("train", "digits", {"ours": 64, "baal": 64}, "train")
    assert set(one.rows) == {"train_ours"}
    assert one.missing == {"baal": "no-such-python is not there"}
    assert said[0] == "baal can't be measured: no-such-python is not there"


def test_the_plain_loop_is_the_poster_s(monkeypatch):
    """Guards the comparison: all arms of the loop run, and it trains as ours does."""
    monkeypatch.syspath_prepend(str(BENCH))
    import plain_loop

    for strategy in ("uncertainty", "margin", "kmeans", "bayesian"):
        accuracy = plain_loop.active_learning("digits", strategy, 128, [64], 2, 2e-3)
        assert len(accuracy) == 2 and all(0 < value <= 1 for value in accuracy)
