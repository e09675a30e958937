"""The options that make the study do what the authors' code did, each alone."""

from functools import cache

import pytest
import torch

from alutils.learning import carried_state
from alutils.learning.devices import make_deterministic
from alutils.learning.streams import stream
from alutils.records.tidy import table
from alutils.running import round
from alutils.running.engine import run
from alutils.running.placement import Placement
from alutils.running.round import CurrentRound, run_round
from alutils.strategies.own import STRATEGIES
from tests.running.test_round import plain
from tests.strategies.views import fake_view


@cache
def rounds(cell, count: int) -> tuple[list[dict], list[bytes | None]]:
    """A cell's first rounds, with the states that they hand on."""
    history, states = [], [None]
    for _ in range(count):
        done, _, state = run_round([cell], history, states[-1], "cpu", {})
        history += done
        states.append(state)
    return history, states[1:]


def moments(state: bytes) -> list[torch.Tensor]:
    return [value for key, value in sorted(carried_state.load(state).items()) if "exp_avg" in key]


@pytest.mark.parametrize("live_taps", [True, False])
def test_a_packed_optimiser_goes_on_as_if_it_had_never_stopped(digits_cell, live_taps):
    now = CurrentRound(digits_cell(live_taps=live_taps), [], make_deterministic("cpu"))
    first = now.train(None).optimiser
    again = torch.optim.Adam(now.net.parameters(), fused=True)
    again.param_groups[0]["lr"] = first.param_groups[0]["lr"]
    carried_state.unpack(carried_state.pack(first), again)
    for original, unpacked in zip(first.state.values(), again.state.values(), strict=True):
        assert original["step"] == unpacked["step"] == 2
        for key in carried_state.MOMENTS:
            assert (
                torch.equal(original[key], unpacked[key])
                and original[key].stride() == unpacked[key].stride()
            )
    gradients = [torch.randn_like(p) for p in now.net.parameters()]
    ends = []
    before = [p.detach().clone() for p in now.net.parameters()]
    for optimiser in (first, again):
        for p, start, gradient in zip(now.net.parameters(), before, gradients, strict=True):
            p.data.copy_(start)
            p.grad = gradient
        optimiser.step()
        ends.append([p.detach().clone() for p in now.net.parameters()])
    assert all(map(torch.equal, *ends))


def test_adam_is_carried_over_rounds_while_weights_start_afresh(digits_cell):
    fresh, none = rounds(digits_cell(), 2)
    went_on, states = rounds(digits_cell(adam_state="rounds"), 2)
    assert none == [None, None] and all(states)
    assert plain(went_on[0])["test_nll"] == fresh[0]["test_nll"]
    assert went_on[1]["labelled"] == fresh[1]["labelled"]
    assert went_on[1]["test_nll"] != fresh[1]["test_nll"]
    assert carried_state.load(states[1])["0.step"] == 4
    assert went_on[1]["state_digest"] != went_on[0]["state_digest"]


def test_a_sequence_hands_adam_from_arm_to_arm_and_starts_labels_afresh(digits_cell):
    cell = digits_cell(
        arm="sequence", sequence=("margin", "kmeans"), adam_state="arms", rounds=2,
    )  # fmt: skip
    history, states = rounds(cell, 4)
    alone, _ = rounds(digits_cell(arm="margin", adam_state="rounds", rounds=2), 2)
    assert [plain(done) for done in history[:2]] == [
        plain(done) | {"digest": same["digest"]} for done, same in zip(alone, history, strict=False)
    ]
    assert [done["labels"] for done in history] == cell.schedule_of_labels() * 2
    assert history[2]["labelled"] == history[0]["labelled"]
    assert history[2]["test_nll"] != history[0]["test_nll"]
    assert carried_state.load(states[3])["0.step"] == 8
    assert [len(done["picks"]) for done in history] == [23, 0, 23, 0]


class Stopped(Exception):
    pass


def interrupted(cell, store, after: int) -> None:
    """Run a cell and stop after some rounds, as a kill would."""
    lines: list[str] = []

    def say(line: str) -> None:
        if " round " in line:
            lines.append(line)
        if len(lines) == after:
            raise Stopped

    with pytest.raises(Stopped):
        run([cell], round.round_task("cpu", {}), store, {}, Placement(workers=1), say)


def finish(cell, store) -> list[dict]:
    task, placement = round.round_task("cpu", {}), Placement(workers=1)
    run([cell], task, store, {}, placement, say=lambda line: None)
    assert not list(store.folder.glob("*.state")) and store.finished(cell)
    return [plain(done) for done in store.load(cell)["rounds"]]


def test_a_stopped_cell_goes_on_from_its_kept_state_or_starts_again(digits_cell, store, capsys):
    cell = digits_cell(arm="sequence", sequence=("margin", "random"), adam_state="arms", rounds=2)
    whole = [plain(done) for done in rounds(cell, 4)[0]]
    interrupted(cell, store, after=2)
    (state,) = store.folder.glob("*.state")
    assert len(store.load(cell)["rounds"]) == 2
    assert finish(cell, store) == whole and capsys.readouterr().err == ""

    store.path(cell).unlink()
    interrupted(cell, store, after=2)
    state.write_bytes(state.read_bytes()[:-4] + b"\0\0\0\1")
    assert store.read(cell)[1] == "its optimiser's state is lost"
    assert finish(cell, store) == whole
    assert "its optimiser's state is lost" in capsys.readouterr().err


def test_the_table_tells_the_arms_of_a_sequence_apart(digits_cell, store):
    cell = digits_cell(arm="sequence", sequence=("margin", "random"), adam_state="arms", rounds=2)
    finish(cell, store)
    results = table(store, [cell])
    assert results["arm"].tolist() == ["margin"] * 2 + ["random"] * 2
    assert results["round"].tolist() == [1, 2, 1, 2]
    assert results["labels"].tolist() == cell.schedule_of_labels() * 2


def test_without_dropout_the_authors_score_is_rounding_noise(digits_cell):
    now = CurrentRound(digits_cell(dropout=0.0, mc_passes=10, mc_score="mutual-information"), [],
               make_deterministic("cpu"))  # fmt: skip
    now.train(None)
    probs = now.view.mc_probs_T_N_C
    entropy = torch.special.entr(probs.mean(0)).sum(1)
    information = entropy - torch.special.entr(probs).sum(2).mean(0)
    assert information.abs().max() < 5e-6 < entropy.max()
    picks = STRATEGIES["bayesian"](now.view, 20, stream(0, "picks"))
    assert information[picks].min() >= information.sort(descending=True).values[19]


def test_mutual_information_is_high_where_passes_disagree():
    agree = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    disagree = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    view = fake_view(
        mc_probs_T_N_C=torch.stack([agree, disagree], dim=1), probs_N_C=agree,
        mc_score="mutual-information",
    )  # fmt: skip
    assert STRATEGIES["bayesian"](view, 1, stream(0, "a")).tolist() == [1]


def test_the_reported_accuracy_is_the_one_asked_for(digits_cell, store):
    cell = digits_cell(rounds=1, epochs=4, heldout_every=1)
    task, placement = round.round_task("cpu", {}), Placement(workers=1)
    run([cell], task, store, {}, placement, say=lambda line: None)
    held = store.load(cell)["rounds"][0]["heldout_accuracy"]
    rows = {rule: table(store, [cell], rule).iloc[0] for rule in
             ("test", "heldout-best", "heldout-last")}  # fmt: skip
    assert len(held) == 4 and rows["heldout-best"]["accuracy"] == 100 * max(held)
    assert rows["heldout-last"]["accuracy"] == 100 * held[-1]
    assert rows["test"]["accuracy"] == 100 * rows["test"]["test_accuracy"]
