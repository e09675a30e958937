"""Rounds that start from the weights of the round before."""

import pytest
import torch

from alutils.learning import carried_state
from alutils.learning.carried_state import warm_start, weights
from alutils.learning.devices import make_deterministic
from alutils.learning.network import build
from alutils.running.round import CurrentRound, run_round
from tests.learning.test_replica import finish, interrupted, rounds
from tests.running.test_round import plain

CPU = torch.device("cpu")
CARRIED = ["warm", "shrink-perturb"]


def trained(cell) -> CurrentRound:
    now = CurrentRound(cell, [], make_deterministic("cpu"))
    now.train(None)
    return now


def new(cell, *drawn):
    return build(cell, CPU, *drawn)


def test_a_cold_start_hands_nothing_on(digits_cell):
    assert rounds(digits_cell(rounds=2), 2)[1] == [None, None]


def test_a_warm_start_has_all_of_the_last_weights(digits_cell):
    cell = digits_cell(start="warm")
    before, net = trained(cell).net, new(cell)
    warm_start(net, carried_state.pack(None, before), cell, 1)
    assert all(map(torch.equal, net.state_dict().values(), before.state_dict().values()))


@pytest.mark.parametrize("live_taps", [True, False])
def test_shrink_and_perturb_mixes_last_and_new_weights_and_forgets_statistics(
    digits_cell, live_taps
):
    cell = digits_cell(start="shrink-perturb", live_taps=live_taps)
    before, net = trained(cell).net, new(cell)
    noise = new(cell, ("perturbation", 1))
    warm_start(net, carried_state.pack(None, before), cell, 1)
    for mixed, last, drawn in zip(
        net.parameters(), before.parameters(), noise.parameters(), strict=True
    ):
        assert torch.allclose(mixed, 0.4 * last + 0.1 * drawn, atol=1e-6)
    assert all(map(torch.equal, net.buffers(), new(cell).buffers()))
    assert not all(map(torch.equal, before.buffers(), new(cell).buffers()))


def test_what_is_added_is_drawn_anew_every_round_and_is_no_initial_weight(digits_cell):
    cell = digits_cell(start="shrink-perturb")
    before = trained(cell).net
    nets = [new(cell) for _ in range(2)]
    for number, net in enumerate(nets, 1):
        warm_start(net, carried_state.pack(None, before), cell, number)
    first_noise, second_noise = (net.head.weight - 0.4 * before.head.weight for net in nets)
    assert not torch.allclose(first_noise, second_noise)
    assert not torch.allclose(first_noise, 0.1 * new(cell).head.weight)


@pytest.mark.parametrize("start", CARRIED)
def test_the_first_round_is_the_same_and_later_ones_go_on(digits_cell, start):
    cold, _ = rounds(digits_cell(rounds=2), 2)
    went_on, states = rounds(digits_cell(rounds=2, start=start), 2)
    assert went_on[0]["test_nll"] == cold[0]["test_nll"]
    assert went_on[1]["labelled"] == cold[1]["labelled"]
    assert went_on[1]["test_nll"] != cold[1]["test_nll"]
    assert all(states) and not any("exp_avg" in key for key in carried_state.load(states[0]))
    assert went_on[1]["state_digest"] != went_on[0]["state_digest"]


def test_arms_still_share_their_first_round_and_its_weights(digits_cell):
    cells = [digits_cell(arm=arm, start="warm") for arm in ("random", "margin")]
    together, provenance, state = run_round(cells, [], None, "cpu", {})
    for cell, done in zip(cells, together, strict=True):
        (alone,), alone_provenance, alone_state = run_round([cell], [], None, "cpu", {})
        assert plain(alone) == plain(done) and alone_state == state
        second, next_provenance, _ = run_round([cell], [done], state, "cpu", {})
        assert second[0]["labelled"] == done["picks"]
        for facts in (alone_provenance, next_provenance):
            assert facts["checks"]["initial_weights"] == provenance["checks"]["initial_weights"]


def test_weights_and_adam_are_carried_side_by_side(digits_cell):
    cell = digits_cell(rounds=2, start="warm", adam_state="rounds")
    history, states = rounds(cell, 2)
    tensors = carried_state.load(states[1])
    assert tensors["0.step"] == 4 and "weights.head.weight" in tensors
    weights_alone, _ = rounds(digits_cell(rounds=2, start="warm"), 2)
    assert history[0]["test_nll"] == weights_alone[0]["test_nll"]
    assert history[1]["test_nll"] != weights_alone[1]["test_nll"]


@pytest.mark.parametrize(
    "recipe",
    [
        {"start": "warm", "adam_state": "rounds"},
        {"start": "shrink-perturb", "optimiser": "sgd", "weight_decay": 5e-4,
         "augmentation": "crop-flip", "schedule": "cosine"},
    ],
    ids=["warm-adam", "shrink-perturb"],
)  # fmt: skip
def test_a_stopped_cell_goes_on_to_the_same_record(digits_cell, store, capsys, recipe):
    cell = digits_cell(arm="margin", **recipe)
    whole = [plain(done) for done in rounds(cell, 3)[0]]
    interrupted(cell, store, after=2)
    assert len(list(store.folder.glob("*.state"))) == 1
    assert finish(cell, store) == whole and capsys.readouterr().err == ""


def test_a_cell_that_lost_its_weights_starts_again(digits_cell, store, capsys):
    cell = digits_cell(start="warm")
    whole = [plain(done) for done in rounds(cell, 3)[0]]
    interrupted(cell, store, after=1)
    (state,) = store.folder.glob("*.state")
    state.unlink()
    assert store.read(cell)[1] == "its last weights are lost"
    assert finish(cell, store) == whole
    assert "its last weights are lost" in capsys.readouterr().err


def test_nested_label_sets_start_warm_too(digits_cell):
    cell = digits_cell(label_counts=(128, 140), rounds=2, start="warm")
    history, states = rounds(cell, 2)
    assert [done["labels"] for done in history] == [128, 140] and all(states)


def test_weights_are_named_apart_from_adams_moments(digits_cell):
    assert all(key.startswith("weights.") for key in weights(new(digits_cell())))
