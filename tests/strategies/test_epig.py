import math

import pytest
import torch

from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.strategies import epig as module
from alutils.strategies.bald import bald
from alutils.strategies.epig import epig, predictive_information
from alutils.strategies.view import PoolView
from tests.cells import a_cell
from tests.strategies.test_strategies import fake_view, rng


def random_passes(count: int = 30, classes: int = 3, passes: int = 5, seed: int = 1):
    return torch.rand(passes, count, classes, generator=stream(seed, "p")).mul(5).softmax(2)


def view_of(probs_T_N_C: torch.Tensor, chunk: int = 1000):
    """A view of these passes, which hands them on in chunks as a real one does."""
    view = fake_view(mc_probs_T_N_C=probs_T_N_C, probs_N_C=probs_T_N_C[0])
    view.over_passes = lambda score, rows=None: torch.cat(
        [score(part) for part in probs_T_N_C.split(chunk, dim=1)]
    )
    return view


def information(first_T_C: list[list[float]], second_T_C: list[list[float]]) -> float:
    """Of the labels of two inputs, each with its probabilities by pass and class."""
    passes, classes, total = len(first_T_C), len(first_T_C[0]), 0.0
    for label in range(classes):
        for target in range(classes):
            joint = (
                sum(a[label] * b[target] for a, b in zip(first_T_C, second_T_C, strict=True))
                / passes
            )
            first = sum(a[label] for a in first_T_C) / passes
            second = sum(b[target] for b in second_T_C) / passes
            if joint > 0:
                total += joint * math.log(joint / (first * second))
    return total


def by_hand(probs_T_N_C: torch.Tensor) -> list[float]:
    """The score of each candidate with all of them as targets."""
    rows = probs_T_N_C.double().transpose(0, 1).tolist()
    return [
        sum(information(candidate, target) for target in rows) / len(rows) for candidate in rows
    ]


def test_the_score_is_the_mean_divergence_of_the_joint_labels_from_independence():
    probs = random_passes()
    assert predictive_information(probs, probs).tolist() == pytest.approx(by_hand(probs), abs=1e-7)


def test_epig_takes_the_highest_scores():
    probs = random_passes()
    scores = by_hand(probs)
    expected = sorted(range(30), key=lambda i: -scores[i])[:10]
    assert epig(view_of(probs), 10, rng()).tolist() == expected


def test_epig_takes_what_tells_of_many_before_what_bald_does():
    """Four passes differ in two ways; all targets but one depend on the first way alone."""
    first, second = [0.9, 0.9, 0.1, 0.1], [1.0, 0.0, 1.0, 0.0]
    columns = torch.tensor([second, [0.8, 0.8, 0.2, 0.2], *[first] * 8]).T
    view = view_of(torch.stack([columns, 1 - columns], dim=2))
    assert bald(view, 1, rng()).tolist() == [0]
    picks = epig(view, 10, rng()).tolist()
    assert set(picks[:8]) == set(range(2, 10)) and picks[8:] == [1, 0]


def test_a_candidate_on_which_all_passes_agree_comes_last():
    probs = random_passes()
    probs[:, 4] = torch.tensor([0.4, 0.3, 0.3])
    assert epig(view_of(probs), 30, rng())[-1] == 4


@pytest.mark.parametrize("block", [1, 50, 500])
def test_blocks_and_chunks_change_no_pick(block, monkeypatch):
    probs = random_passes()
    every = epig(view_of(probs), 30, rng())
    monkeypatch.setattr(module, "BLOCK", block)
    for chunk in (1, 7):
        assert torch.equal(epig(view_of(probs, chunk), 30, rng()), every)


def test_no_more_joint_probabilities_than_a_block_are_held(monkeypatch):
    sizes = []

    def watched(probs, plain=module.entropies):
        sizes.append(probs.numel())
        return plain(probs)

    monkeypatch.setattr(module, "entropies", watched)
    monkeypatch.setattr(module, "BLOCK", 100)
    epig(view_of(random_passes()), 5, rng())
    assert max(sizes) <= 100 and len(sizes) > 90


@pytest.mark.parametrize("chunk", [7, 1000])
def test_targets_are_as_many_candidates_as_stated_drawn_anew_by_each_seed(chunk, monkeypatch):
    monkeypatch.setattr(module, "TARGETS", 4)
    probs, drawn = random_passes(), []
    rows = [row.tolist() for row in probs.transpose(0, 1)]
    for seed in range(3):
        targets = module._targets(view_of(probs, chunk), rng(seed)).transpose(0, 1)
        drawn.append({rows.index(row.tolist()) for row in targets})
        assert len(drawn[-1]) == 4
    assert drawn[0] != drawn[1] and drawn[1] != drawn[2]


def test_few_targets_give_the_score_of_these_alone(monkeypatch):
    monkeypatch.setattr(module, "TARGETS", 4)
    probs = random_passes()
    targets = module._targets(view_of(probs), rng()).transpose(0, 1).double().tolist()
    rows = probs.double().transpose(0, 1).tolist()
    scores = [sum(information(row, target) for target in targets) for row in rows]
    expected = sorted(range(30), key=lambda i: -scores[i])
    assert epig(view_of(probs), 30, rng()).tolist() == expected


@pytest.mark.parametrize("passes", [1, 6])
def test_equal_passes_tell_nothing_and_the_picks_are_random(passes):
    """Guards: a ranking read off rounding."""
    probs = random_passes(60, passes=1).repeat(passes, 1, 1)
    probs = probs * (1 + 3e-6 * torch.randn(probs.shape, generator=stream(0, "rounding")))
    picks = [set(epig(view_of(probs), 30, rng(seed)).tolist()) for seed in range(20)]
    assert not set.intersection(*picks) and set.union(*picks) == set(range(60))


def test_the_same_seed_gives_the_same_answer():
    view = view_of(random_passes(2).repeat(1, 20, 1))
    assert torch.equal(epig(view, 10, rng()), epig(view, 10, rng()))


def test_certain_passes_make_no_impossible_label():
    """Guards: 0 log 0, and a logarithm of an underflow."""
    certain = torch.eye(3).repeat(2, 1, 1)
    certain[1] = certain[1].roll(1, 0)
    assert predictive_information(certain, certain).tolist() == pytest.approx([math.log(2)] * 3)
    tiny = torch.tensor([[[1.0, 1e-45, 0.0]], [[1e-45, 1.0, 0.0]]])
    assert predictive_information(tiny, tiny).tolist() == pytest.approx([math.log(2)])


def test_what_is_not_finite_is_refused():
    probs = random_passes()
    probs[2, 3, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        epig(view_of(probs), 5, rng())


def test_ties_vary_with_the_seed_and_not_by_position():
    view = view_of(random_passes(2).repeat(1, 20, 1))
    picks = [frozenset(epig(view, 10, rng(seed)).tolist()) for seed in range(3)]
    assert len(set(picks)) == 3 and frozenset(range(10)) not in picks


@pytest.mark.parametrize("count", [1, 30])
def test_all_candidates_can_be_asked_for(count):
    picks = epig(view_of(random_passes(count)), count, rng())
    assert picks.dtype == torch.int64 and sorted(picks.tolist()) == list(range(count))


def test_epig_chooses_from_what_a_network_says():
    net = build(a_cell("mnist"), torch.device("cpu"))
    images = torch.randint(256, (20, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    view = PoolView(
        net, images, torch.arange(5, 20), torch.arange(5), mc_passes=6, dropout=0.5, clusters=3,
        rng=stream(0, "mc"),
    )  # fmt: skip
    scores = by_hand(view.mc_probs_T_N_C)
    expected = sorted(range(15), key=lambda i: -scores[i])[:4]
    assert epig(view, 4, rng()).tolist() == expected
