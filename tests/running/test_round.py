import gc
import sys
import weakref
from types import SimpleNamespace

import cloudpickle
import pytest
import torch

from alutils.learning import devices
from alutils.learning.devices import make_deterministic
from alutils.learning.scoring import predict
from alutils.learning.streams import stream
from alutils.learning.training import bernoulli_is_uniform
from alutils.protocol.arms import POSTER_ARMS
from alutils.records.record import chained_digest
from alutils.running.cluster import cluster
from alutils.running.placement import Placement
from alutils.running.round import Clock, CurrentRound, new_pool, round_task, run_round
from alutils.running.workload import work
from alutils.strategies.own import STRATEGIES


def plain(done: dict) -> dict:
    return {key: value for key, value in done.items() if not key.startswith("seconds_")}


def one_round(cell, history=()):
    return run_round([cell], list(history), None, "cpu", {})[0][0]


def current(cell) -> CurrentRound:
    return CurrentRound(cell, [], make_deterministic("cpu"))


@pytest.mark.parametrize(
    ("changes", "nll", "spread"),
    [
        ({}, 2.288669, 3e-5),  # seen over AVX-512, AVX2 and SSE4.1 kernels: 2.288662 to 2.288682
        ({"dropout": 0.0}, 2.278592, 3e-5),  # 2.278584 to 2.278601
        ({"dropout": 0.0, "precision": "bf16"}, 2.279158, 1e-3),  # 2.278779 to 2.279538
    ],
    ids=["dropout", "fp32", "bf16"],
)
def test_golden_cell(digits_cell, changes, nll, spread):
    """A change of these figures means other records: raise PROTOCOL_VERSION.

    With dropout the figure is that of processors on which ``bernoulli_is_uniform``.
    """
    done = one_round(digits_cell(arm="margin", **changes))
    assert done["labelled"][:6] == [1, 9, 13, 21, 30, 34]
    assert done["steps"] == 2 and sum(done["class_counts"]) == 128
    if "dropout" in changes or bernoulli_is_uniform():
        assert done["test_nll"] == pytest.approx(nll, abs=spread)


def test_fp32_on_a_gpu_is_fp32(monkeypatch):
    """Deterministic, and not rounded to the 10 bits that cuDNN may keep of them."""
    monkeypatch.setattr(devices, "pick_device", torch.device)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    try:
        make_deterministic("cuda")
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.use_deterministic_algorithms(False)


def test_arms_share_the_first_round_and_get_what_they_would_alone(digits_cell):
    """Guards: initial sets that differ between the compared arms (deepALplus)."""
    cells = [digits_cell(arm=arm) for arm in POSTER_ARMS]
    together, _, _ = run_round(cells, [], None, "cpu", {})
    assert len({tuple(done["labelled"]) for done in together}) == 1
    assert len({done["test_nll"] for done in together}) == 1
    assert len({tuple(done["picks"]) for done in together}) == len(POSTER_ARMS)
    for cell, done in zip(cells, together, strict=True):
        assert plain(one_round(cell)) == plain(done)


def test_rounds_chain_and_the_ledger_adds_up(digits_cell):
    cell, history = digits_cell(arm="uncertainty"), []
    for _ in range(cell.rounds):
        history.append(one_round(cell, history))
    assert [done["labels"] for done in history] == cell.schedule_of_labels()
    assert history[1]["labelled"] == history[0]["picks"] and history[-1]["picks"] == []
    everything = [index for done in history for index in done["labelled"]]
    assert len(set(everything)) == len(everything) == history[-1]["labels"]
    heldout = set(new_pool(cell).heldout.tolist())
    assert not heldout & set(everything)
    for before, done in zip([None, *history], history, strict=False):
        assert done["digest"] == chained_digest(done, before["digest"] if before else "")


def test_figure_2_sets_are_nested_beginnings_of_one_permutation(digits_cell):
    cell = digits_cell(label_counts=(128, 140, 150), rounds=3)
    history = []
    for _ in range(3):
        history.append(one_round(cell, history))
    pool = new_pool(cell).unlabelled
    order = pool[torch.randperm(len(pool), generator=stream(0, "first-labels"))]
    labelled = [index for done in history for index in done["labelled"]]
    assert [done["labels"] for done in history] == [128, 140, 150]
    for count in (128, 140, 150):
        assert set(labelled[:count]) == set(order[:count].tolist())


def test_a_round_without_the_test_set_says_nothing_of_it(digits_cell):
    done = one_round(digits_cell(test=False, heldout_every=1))
    assert "test_accuracy" not in done and len(done["heldout_accuracy"]) == 1


def test_heldout_accuracy_is_that_on_the_heldout_images(digits_cell):
    now = current(digits_cell(epochs=2, heldout_every=1))
    judged = now.train(None).heldout_accuracy
    heldout = now.pool.heldout
    right = predict(now.net, now.images, heldout).argmax(1) == now.labels[heldout]
    assert len(judged) == 2 and judged[-1] == right.double().mean()


def test_candidates_limit_what_is_scored(digits_cell):
    cell = digits_cell(arm="margin", candidates=50)
    allowed = current(cell).pool.candidates(50, stream(0, "candidates", 0))
    assert set(one_round(cell)["picks"]) <= set(allowed.tolist())


def test_picks_of_a_trained_network_are_where_their_strategy_looks(digits_cell):
    """On real digits: smaller margins, lower top probabilities, higher entropies than random's."""
    cell = digits_cell(epochs=12, first_labels=256, rounds=2, acquisition_fraction=0.05)
    now = current(cell)
    trained, view = now.train(None), now.view
    picks = {arm: STRATEGIES[arm](view, 50, stream(0, arm)) for arm in POSTER_ARMS}
    top = view.probs_N_C.topk(2, dim=1).values
    gap, entropy = top[:, 0] - top[:, 1], torch.special.entr(view.mc_probs_T_N_C.mean(0)).sum(1)
    assert trained.train_accuracy > 0.8
    assert gap[picks["margin"]].mean() < 0.5 * gap[picks["random"]].mean()
    assert top[picks["uncertainty"], 0].mean() < top[picks["random"], 0].mean() - 0.1
    assert entropy[picks["bayesian"]].mean() > 1.5 * entropy[picks["random"]].mean()


def test_a_strategy_of_a_user_travels_with_the_call(digits_cell):
    cell = digits_cell(arm="first")
    strategies = {"first": cloudpickle.dumps(lambda view, budget, rng: torch.arange(budget))}
    done = run_round([cell], [], None, "cpu", strategies)[0][0]
    assert done["picks"] == current(cell).pool.unlabelled[: len(done["picks"])].tolist()


def test_every_round_draws_from_streams_of_its_own(digits_cell, monkeypatch):
    drawn: list[tuple] = []

    def noted(seed, *name):
        drawn.append(name)
        return stream(seed, *name)

    monkeypatch.setattr("alutils.running.round.stream", noted)
    monkeypatch.setattr("alutils.learning.training.stream", noted)
    cell, history = digits_cell(arm="bayesian", candidates=50), []
    for number in range(2):
        drawn.clear()
        history.append(one_round(cell, history))
        expected = {("acquisition", "bayesian", number)}
        expected |= {(name, number) for name in ("batches", "dropout", "candidates", "mc-masks")}
        assert expected <= set(drawn)


def test_a_strategy_sees_all_that_is_labelled_not_the_last_picks_alone(digits_cell):
    cell = digits_cell(arm="coreset")
    second = CurrentRound(cell, [one_round(cell)], make_deterministic("cpu"))
    assert len(second.new) < len(second.pool.labelled) == cell.schedule_of_labels()[1]
    assert second.view.labelled.tolist() == second.pool.labelled.tolist()


def test_a_clock_shares_what_was_spent_together_and_books_a_phase_within_another_once(monkeypatch):
    now = iter([0.0, 3.0, 10.0, 11.0, 11.5, 13.0])
    time = SimpleNamespace(perf_counter=lambda: next(now))
    monkeypatch.setattr("alutils.running.round.time", time)
    clock = Clock()
    with clock("seconds_train"):
        pass
    assert clock.seconds["seconds_train"] == 3.0
    clock.spent = clock.share(2)
    with clock("seconds_select"), clock("seconds_score"):
        pass
    assert clock.seconds["seconds_train"] == 1.5
    assert (clock.seconds["seconds_select"], clock.seconds["seconds_score"]) == (2.5, 0.5)


def test_what_the_network_says_of_the_pool_goes_with_its_round(digits_cell):
    """It is hundreds of MB, which would wait for the garbage collector if it held the round."""
    current = CurrentRound(digits_cell(arm="margin"), [], make_deterministic("cpu"))
    current.acquire(current.cell, {})
    view = weakref.ref(current.view)
    gc.disable()
    try:
        del current
        assert view() is None
    finally:
        gc.enable()


def test_every_arm_draws_from_a_stream_of_its_own(digits_cell):
    """Guards: one arm's use of randomness can't shift another's; equal arms draw differently."""
    strategies = {name: cloudpickle.dumps(STRATEGIES["random"]) for name in ("first", "second")}
    cells = [digits_cell(arm=name) for name in strategies]
    first, second = run_round(cells, [], None, "cpu", strategies)[0]
    assert first["picks"] != second["picks"]


def test_a_round_is_sent_so_that_the_scheduler_does_not_import_torch(digits_cell, shared_worker):
    task = round_task("cpu", {})
    with cluster(Placement(workers=1), lambda text: None) as workers:
        (worker,) = workers.slots()
        sent = workers.submit(worker, task, [digits_cell(rounds=1)], [], None)
        assert len(sent.result(timeout=60)[0]) == 1
        assert all(workers.client.run(lambda: "torch" in sys.modules).values())
        assert not workers.client.run_on_scheduler(lambda: "torch" in sys.modules)


def test_a_cell_with_imbalance_learns_from_its_thinned_training_set_alone(digits_cell):
    cell = digits_cell(arm="margin", imbalance=10.0, heldout_every=1)
    pool, history = new_pool(cell), []
    for _ in range(cell.rounds):
        history.append(one_round(cell, history))
    assert len(pool.unlabelled) == cell.pool_size("digits") == 516
    assert len(pool.heldout) == cell.heldout_size("digits") == 57
    assert [done["labels"] for done in history] == [128, 135, 142] == cell.schedule_of_labels()
    assert {i for done in history for i in done["labelled"]} <= set(pool.unlabelled.tolist())
    assert work([cell]).images == 3 * (360 + 57) + (516 - 128) + (516 - 135)
