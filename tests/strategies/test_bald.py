import itertools

import pytest
import torch
from skactiveml.pool import BatchBALD, GreedyBALD

from alutils.learning.streams import stream
from alutils.strategies import batchbald, scores
from alutils.strategies.batchbald import Labellings
from alutils.strategies.own import STRATEGIES
from alutils.strategies.scores import mutual_information
from tests import skactive
from tests.strategies.views import random_passes, rng, view_of_passes

DISAGREE = [[1.0, 0.0], [0.0, 1.0]]
HALF = [[0.9, 0.1], [0.3, 0.7]]
UNSURE = [[0.5, 0.5], [0.5, 0.5]]
"""Candidates by pass and class."""


def passes(*candidates) -> torch.Tensor:
    return torch.tensor(candidates).transpose(0, 1)


def ask_skactiveml(strategy, probs_T_N_C, budget):
    reference = strategy(sample_predictions_method_name="sample_proba", random_state=0)
    if strategy is BatchBALD:
        reference.set_params(n_MC_samples=10_000)
    features, labels = skactive.pool(torch.zeros(probs_T_N_C.shape[1], 1))
    return reference.query(
        features, labels, ensemble=skactive.given(probs_T_N_C), fit_ensemble=False,
        batch_size=budget, return_utilities=True,
    )  # fmt: skip


def joint_information(probs_T_n_C: torch.Tensor) -> float:
    """Between the labels of n candidates and the weights, over all joint labels."""
    probs_T_n_C = probs_T_n_C.double()
    passes, count, classes = probs_T_n_C.shape
    joint = [
        torch.stack([probs_T_n_C[:, i, label] for i, label in enumerate(labels)]).prod(0)
        for labels in itertools.product(range(classes), repeat=count)
    ]
    joint_M_T = torch.stack(joint)
    entropy = torch.special.entr(joint_M_T.mean(1)).sum()
    return float(entropy - torch.special.entr(joint_M_T).sum(0).mean())


def test_bald_takes_disagreement_before_uncertainty():
    view = view_of_passes(passes(UNSURE, HALF, DISAGREE))
    assert STRATEGIES["bald"](view, 3, rng()).tolist() == [2, 1, 0]


def test_bald_is_that_of_scikit_activeml():
    probs = random_passes()
    picks, utilities = ask_skactiveml(GreedyBALD, probs, 10)
    assert mutual_information(probs).tolist() == pytest.approx(utilities[0].tolist(), abs=1e-5)
    assert STRATEGIES["bald"](view_of_passes(probs), 10, rng()).tolist() == picks.tolist()


def test_power_bald_draws_in_proportion_to_the_score():
    """And not by rank: the best of three is not always first."""
    view = view_of_passes(passes(HALF, DISAGREE, [[0.8, 0.2], [0.5, 0.5]]))
    share = mutual_information(view.mc_probs_T_N_C)
    draws = [STRATEGIES["power-bald"](view, 1, rng(seed)).item() for seed in range(3000)]
    drawn_share = torch.tensor(draws).bincount(minlength=3) / 3000
    assert torch.allclose(drawn_share, share / share.sum(), atol=0.03)


def test_power_bald_takes_what_tells_nothing_last():
    view = view_of_passes(passes(UNSURE, HALF, UNSURE, DISAGREE))
    for seed in range(20):
        assert set(STRATEGIES["power-bald"](view, 4, rng(seed))[:2].tolist()) == {1, 3}


def test_variation_ratios_takes_the_most_votes_against_the_modal_class():
    """A split vote before a clear one, however unsure each pass is."""
    votes = [[0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    sharp = torch.nn.functional.one_hot(torch.tensor(votes).T, 3).float()
    sharp[:, 1] = torch.tensor([0.34, 0.33, 0.33])
    assert scores.modal_share(sharp).tolist() == [0.5, 1.0, 0.75]
    assert STRATEGIES["variation-ratios"](view_of_passes(sharp), 3, rng()).tolist() == [0, 2, 1]


def test_batchbald_takes_no_twin_where_bald_does():
    twin = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    different = [[0.2, 0.8], [1.0, 0.0], [0.0, 1.0]]
    view = view_of_passes(passes(twin, twin, different))
    assert set(STRATEGIES["bald"](view, 2, rng()).tolist()) == {0, 1}
    assert 2 in STRATEGIES["batchbald"](view, 2, rng()).tolist()


def test_batchbald_is_greedy_over_the_joint_information_of_all_labels():
    probs = random_passes(12)
    picks: list[int] = []
    for _ in range(4):
        left = [i for i in range(12) if i not in picks]
        picks.append(max(left, key=lambda i: joint_information(probs[:, [*picks, i]])))
    assert STRATEGIES["batchbald"](view_of_passes(probs), 4, rng()).tolist() == picks


def test_gains_add_up_to_the_joint_information():
    probs_N_T_C = random_passes(4).transpose(0, 1)
    labellings = Labellings(5, rng())
    total = 0.0
    for probs_T_C in probs_N_T_C:
        total += float(labellings.gain(probs_T_C.unsqueeze(0)))
        labellings.add(probs_T_C)
    assert total == pytest.approx(joint_information(probs_N_T_C.transpose(0, 1)), abs=1e-5)


def test_batchbald_is_that_of_scikit_activeml():
    probs = random_passes()
    picks, utilities = ask_skactiveml(BatchBALD, probs, 5)
    assert STRATEGIES["batchbald"](view_of_passes(probs), 5, rng()).tolist() == picks.tolist()
    labellings = Labellings(5, rng())
    for step in range(4):
        labellings.add(probs[:, picks[step]])
    left = [i for i in range(30) if i not in picks]
    expected = utilities[4][left] - utilities[3][picks[3]]
    gains = labellings.gain(probs.transpose(0, 1)[left])
    assert gains.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_drawn_labellings_estimate_what_all_of_them_tell():
    probs_N_T_C = random_passes(8).transpose(0, 1)
    every, drawn = Labellings(5, rng()), Labellings(5, rng(), limit=5000)
    for probs_T_C in probs_N_T_C[:4]:
        every.add(probs_T_C)
        drawn.add(probs_T_C)
    drawn.all_M_T = None
    assert len(every.all_M_T) == 3**4 and len(drawn.drawn_M_T) == 5000
    assert torch.allclose(every.gain(probs_N_T_C), drawn.gain(probs_N_T_C), atol=0.01)


def test_a_large_batch_neither_underflows_nor_looks_at_all_labels(monkeypatch):
    """Guards: products of many probabilities taken without logarithms."""
    monkeypatch.setattr(batchbald, "BLOCK", 2**16)
    probs = random_passes(120, classes=10, passes=20)
    labellings = Labellings(20, rng())
    for probs_T_C in probs.transpose(0, 1)[:100]:
        labellings.add(probs_T_C)
    gains = labellings.gain(probs.transpose(0, 1)[100:])
    assert labellings.all_M_T is None and labellings.drawn_M_T.exp().max() < 1e-40
    assert torch.isfinite(gains).all() and gains.min() > -1e-4
    assert len(STRATEGIES["batchbald"](view_of_passes(probs), 100, rng()).unique()) == 100


def test_what_is_beyond_the_passes_information_is_drawn_and_not_read_off_rounding():
    """Four passes that are sure of themselves are told apart by a few labels."""
    logits = torch.rand(4, 300, 10, generator=stream(2, "p")).mul(60)
    first, second = (
        STRATEGIES["batchbald"](view_of_passes(logits.softmax(2)), 60, rng(seed)) for seed in (0, 1)
    )
    assert len(first.unique()) == len(second.unique()) == 60
    assert len(set(first[10:].tolist()) & set(second[10:].tolist())) < 20, "chance: 8 of 50"


def test_looking_at_the_promising_first_finds_what_looking_at_all_does(monkeypatch):
    """Guards: a search in blocks that stops too early."""
    probs = random_passes(200, classes=4, passes=8)
    every = STRATEGIES["batchbald"](view_of_passes(probs), 6, rng())
    for block in (2**12, 2**14, 2**16):
        monkeypatch.setattr(batchbald, "BLOCK", block)
        assert torch.equal(STRATEGIES["batchbald"](view_of_passes(probs), 6, rng()), every)


def test_certain_passes_give_no_impossible_labelling():
    """Guards: 0 log 0."""
    view = view_of_passes(passes(DISAGREE, UNSURE, [[1.0, 0.0], [1.0, 0.0]]))
    assert STRATEGIES["batchbald"](view, 3, rng())[0] == 0
