from dataclasses import replace

import pytest
import torch

from alutils.learning import data
from alutils.learning.devices import make_deterministic
from alutils.running import checks, round
from alutils.running.checks import SelfCheckFailed
from alutils.running.round import CurrentRound, run_round
from alutils.strategies.own import STRATEGIES


@pytest.fixture
def started(digits_cell) -> CurrentRound:
    return CurrentRound(digits_cell(), [], make_deterministic("cpu"))


def scoring(now: CurrentRound, **changes) -> str:
    cell = now.cell.model_copy(update=changes)
    return checks.scoring(now.net, now.images, now.pool, cell, 0)


def test_a_changed_buffer_is_refused(started):
    with pytest.raises(SelfCheckFailed, match="batch-norm"), checks.buffers_unchanged(started.net):
        started.net.train()(started.images[:8])
    with checks.buffers_unchanged(started.net):
        started.net.eval()(started.images[:8])


def test_passes_must_differ_with_dropout_and_must_not_without(started, monkeypatch):
    assert scoring(started) == "yes"
    assert scoring(started, dropout=0.0) == "no: dropout = 0"
    monkeypatch.setattr(
        "alutils.strategies.view.dropout_mask",
        lambda rows, features, rate, rng: torch.ones(rows, features),
    )
    with pytest.raises(SelfCheckFailed, match="passes are equal at dropout = 0.5$"):
        scoring(started)


def test_passes_of_a_network_that_is_sure_of_every_image_differ_too(started):
    """Guards: passes compared by probabilities, which saturate where classes are easy to tell."""
    torch.nn.init.zeros_(started.net.head.weight)
    with torch.no_grad():
        started.net.head.weight[0] = 1e4
    assert scoring(started) == "yes"
    assert scoring(started, dropout=0.0) == "no: dropout = 0"


def test_a_dead_network_is_named_as_the_reason(started):
    for parameter in started.net.parameters():
        torch.nn.init.zeros_(parameter)
    with pytest.raises(SelfCheckFailed, match="the network is dead, lower learning_rate"):
        scoring(started)


def test_scoring_that_depends_on_when_it_is_done_is_refused(started, monkeypatch):
    """Guards: the pool scored through a random augmentation (deepALplus, LabelBench)."""
    monkeypatch.setattr(checks, "predict", lambda net, images, sample: torch.rand(200, 10))
    with pytest.raises(SelfCheckFailed, match="two orders"):
        scoring(started)


def test_a_ledger_that_does_not_add_up_is_refused(started):
    first = started.new.tolist()
    checks.label_lists(started.cell, 0, started.pool, [first])
    for wrong in ([first, first[:1]], [first[1:]], [first[:-1], first[:1]]):
        with pytest.raises(SelfCheckFailed, match="the protocol has 128"):
            checks.label_lists(started.cell, 0, started.pool, wrong)


def test_the_provenance_says_what_arms_of_a_seed_have_in_common(digits_cell):
    by_arm = [run_round([digits_cell(arm=arm)], [], None, "cpu", {})[1]["checks"]
             for arm in ("margin", "kmeans")]  # fmt: skip
    assert by_arm[0] == by_arm[1] and by_arm[0]["mc_passes_differ"] == "yes"
    other_seed = run_round([digits_cell(seed=1)], [], None, "cpu", {})[1]["checks"]
    assert other_seed["first_labels"] != by_arm[0]["first_labels"]
    assert other_seed["initial_weights"] != by_arm[0]["initial_weights"]


def test_a_strategy_that_trains_the_network_ends_its_cell(digits_cell, monkeypatch):
    def meddling(view, budget, rng):
        view.net.train()(view.images[:16])
        return torch.arange(budget)

    monkeypatch.setitem(STRATEGIES, "meddling", meddling)
    with pytest.raises(SelfCheckFailed, match="batch-norm"):
        run_round([digits_cell(arm="meddling")], [], None, "cpu", {})


def test_nothing_but_the_test_figures_depends_on_the_test_set(digits_cell, monkeypatch):
    """Guards: early stopping on test labels (LabelBench); also a held-out set that is not one."""
    cell = digits_cell(arm="margin", epochs=3, heldout_every=1)
    judged = run_round([cell], [], None, "cpu", {})[0][0]
    dataset = data.load("digits")
    for shift in (1, 2, 3):  # whatever is chosen by them is chosen otherwise by some of these
        spoiled = replace(dataset, test_labels=(dataset.test_labels + shift) % 10)
        monkeypatch.setattr(round, "inputs", lambda *_, spoiled=spoiled: spoiled)
        again = run_round([cell], [], None, "cpu", {})[0][0]
        assert again["test_accuracy"] != judged["test_accuracy"]
        differs = {key for key in judged if judged[key] != again[key]}
        allowed = {"test_accuracy", "test_nll", "test_ece", "digest"}
        assert {key for key in differs if not key.startswith("seconds_")} <= allowed
    unjudged = run_round([cell.model_copy(update={"test": False})], [], None, "cpu", {})[0][0]
    assert unjudged["picks"] == judged["picks"] and "test_accuracy" not in unjudged
