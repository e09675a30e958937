import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from alutils.learning import scoring
from alutils.learning.streams import stream
from alutils.protocol.validation import check_cell
from alutils.records.record import computed_part
from alutils.records.store import Store
from alutils.running.round import CurrentRound, run_round
from alutils.running.stability import changes, error_bound, kappa, mean_entropy
from alutils.running.workload import work


def test_kappa_by_hand():
    """Of 10 images 8 agree; with classes as frequent as these 5 would by chance."""
    before, now = np.array([0] * 5 + [1] * 5), np.array([0] * 7 + [1] * 3)
    assert kappa(before, now) == pytest.approx((0.8 - 0.5) / (1 - 0.5))
    assert kappa(before, before) == 1


def test_predictions_of_one_class_alone_agree():
    """scikit-learn divides zero by zero there."""
    zeros = np.zeros(7, dtype=int)
    assert kappa(zeros, zeros) == 1
    assert kappa(zeros, zeros + 1) == 0


def test_entropy_is_in_nats_and_of_certain_predictions_zero():
    assert mean_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx(math.log(2) / 2)


def test_the_bound_is_that_of_a_t_interval_of_distances():
    """Three images whose distributions move by 0.1, 0.3 and 0: mean 0.1333."""
    before = np.array([[0.5, 0.5, 0], [0.6, 0.2, 0.2], [0, 0, 1]])
    after = np.array([[0.6, 0.4, 0], [0.3, 0.3, 0.4], [0, 0, 1]])
    half = stats.t.ppf(0.95, 2) * stats.sem([10, 30, 0])
    assert error_bound(before, after) == pytest.approx(40 / 3 + half)
    assert error_bound(after, after) == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_bound_holds_whatever_the_classes_are(seed):
    """The mean error of drawn classes changes by less than the limit on the same images."""
    rng = np.random.default_rng(seed)
    before, now = rng.dirichlet(np.ones(4) * rng.choice([0.1, 1, 10]), size=(2, 50))
    worst = np.abs(now - before).max(axis=1).mean()
    labels = rng.integers(4, size=50)
    errors = [1 - probs[np.arange(50), labels].mean() for probs in (before, now)]
    assert abs(errors[1] - errors[0]) <= worst <= error_bound(before, now) / 100


def test_a_record_has_what_stopping_rules_read(digits_cell):
    """Round by round, as the networks of the rounds say it of the same held-out images."""
    cell = digits_cell(arm="margin", rounds=3, stop_set=40, encoder="none", epochs=2)
    history, state, probs = [], None, []
    for number in range(3):
        current = CurrentRound(cell, history, torch.device("cpu"))
        current.train(state)
        heldout = current.pool.heldout
        order = torch.randperm(143, generator=stream(cell.seed, "stop-set"))
        stop_set = heldout[order[:40]]
        probs.append(scoring.predict(current.net, current.images, stop_set))
        (done,), _, state = run_round([cell], history, state, "cpu", {})
        entropy = -(current.view.probs_N_C.double().xlogy(current.view.probs_N_C.double()))
        assert done["pool_entropy"] == pytest.approx(entropy.sum(1).mean().item())
        if number:
            before, now = (each.numpy() for each in probs[-2:])
            assert {key: done[key] for key in ("kappa", "error_bound")} == changes(before, now)
            expected = cohen_kappa_score(before.argmax(1), now.argmax(1))
            assert done["kappa"] == pytest.approx(expected)
        else:
            assert "kappa" not in done and "error_bound" not in done
        history.append(done)
    plain = cell.model_copy(update={"stop_set": 0})
    (without,), _, _ = run_round([plain], history[:2], None, "cpu", {})
    assert without["test_accuracy"] == history[2]["test_accuracy"]


def test_a_record_goes_on_the_same_where_what_a_round_handed_on_is_lost(
    digits_cell, tmp_path, monkeypatch
):
    cell = digits_cell(arm="margin", rounds=3, stop_set=40, epochs=1)
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path))
    store, history, state = Store("test"), [], None
    store.prepare()
    record = store.load(cell)
    for _ in range(2):
        (done,), facts, state = run_round([cell], history, state, "cpu", {})
        history.append(done)
    record |= {"rounds": history, "status": "running", "provenance": record["provenance"] | facts}
    store.save_state(cell, record, state)
    store.save(cell, record)
    assert store.load_state(cell, store.load(cell)) == state
    for path in store.folder.glob("*.state"):
        path.unlink()
    again, damage = store.read(cell)
    assert not damage and len(again["rounds"]) == 2
    assert store.load_state(cell, again) is None
    (kept,), _, _ = run_round([cell], history, state, "cpu", {})
    (rebuilt,), _, _ = run_round([cell], history, None, "cpu", {})
    assert computed_part(rebuilt) == computed_part(kept)


def test_what_stopping_rules_read_is_counted_as_work(digits_cell):
    plain = [digits_cell(arm="random", rounds=3)]
    watched = [digits_cell(arm="random", rounds=3, stop_set=40)]
    pool = plain[0].pool_size("digits")
    scored = sum(pool - labels for labels in plain[0].schedule_of_labels())
    assert work(watched).images - work(plain).images == scored + 3 * 40


@pytest.mark.parametrize("size", [1, 144])
def test_a_stop_set_is_held_out(digits_cell, size):
    with pytest.raises(ValueError, match=f"stop_set = {size} is not .* the 143 held-out images"):
        check_cell(digits_cell(stop_set=size))
    check_cell(digits_cell(stop_set=143))
