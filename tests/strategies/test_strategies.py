import pickle
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch

from alutils.learning.streams import stream
from alutils.protocol import arms
from alutils.protocol.arms import ARMS, CONTROLS, FURTHER, ORACLES, POSTER_ARMS
from alutils.strategies import kmeans, own, simple
from alutils.strategies.own import STRATEGIES, packed, register
from alutils.strategies.ranking import smallest
from alutils.studies.active_learning.plan import ActiveLearningStudy
from tests.strategies.views import fake_view, network_view, rng

PROBS = torch.tensor(
    [
        [0.98, 0.01, 0.01],
        [0.50, 0.49, 0.01],
        [0.40, 0.30, 0.30],
        [0.45, 0.44, 0.11],
        [0.80, 0.10, 0.10],
    ]
)


def test_the_arms_of_the_study_are_the_strategies_there_are():
    assert set(STRATEGIES) == {*POSTER_ARMS, *CONTROLS, *FURTHER, *ORACLES}
    assert {name for name, arm in ARMS.items() if arm.needs_mc_passes} <= set(FURTHER)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_keeps_the_contract(name):
    view = fake_view(100)
    picks = STRATEGIES[name](view, 20, rng())
    own.checked_positions(picks, 20, len(view), name)
    assert picks.dtype == torch.int64
    assert torch.equal(picks, STRATEGIES[name](view, 20, rng()))
    everything = STRATEGIES[name](view, 100, rng())
    assert sorted(everything.tolist()) == list(range(100))
    with pytest.raises(ValueError, match="budget = 101 is more than the 100 candidates: lower it"):
        STRATEGIES[name](view, 101, rng())


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_arms_that_make_clusters_clusters_are_marked(name):
    view = fake_view(100)
    del view.clusters
    with pytest.raises(AttributeError) if ARMS[name].clusters else nullcontext():
        STRATEGIES[name](view, 5, rng())


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_candidate_alone_is_picked(name):
    unlabelled = {
        "labelled_embeddings_M_D": torch.zeros(0, 16),
        "labelled_labels_M": torch.arange(0),
    }
    for labelled in ({}, unlabelled):
        assert STRATEGIES[name](fake_view(1, **labelled), 1, rng()).tolist() == [0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_ties_vary_with_the_seed_and_not_by_position(name):
    tied = fake_view(
        probs_N_C=torch.full((200, 10), 0.1),
        mc_probs_T_N_C=torch.full((5, 200, 10), 0.1),
        embeddings_N_D=torch.eye(4, 16).repeat(50, 1),
    )
    picks = [set(STRATEGIES[name](tied, 20, rng(seed)).tolist()) for seed in range(3)]
    assert picks[0] != picks[1] and picks[1] != picks[2]
    assert all(chosen != set(range(20)) for chosen in picks)


@pytest.mark.parametrize("name", [*POSTER_ARMS, *CONTROLS, *FURTHER])
def test_every_strategy_chooses_from_what_a_network_says(name):
    """Scoring is in inference mode, choosing is not."""
    view = network_view()
    picks = STRATEGIES[name](view, 9, rng())
    own.checked_positions(picks, 9, 35, name)
    assert len(view.candidates[picks].unique()) == 9


def test_uncertainty_takes_the_lowest_top_probability():
    picks = simple.uncertainty(fake_view(probs_N_C=PROBS), 5, rng())
    assert picks.tolist() == [2, 3, 1, 4, 0]


def test_margin_takes_the_smallest_gap():
    picks = simple.margin(fake_view(probs_N_C=PROBS), 3, rng())
    assert set(picks[:2].tolist()) == {1, 3} and picks[2] == 2


def test_kmeans_takes_points_between_centroids():
    left, right = torch.zeros(20, 2), torch.tensor([[10.0, 0.0]]).repeat(20, 1)
    spread = torch.randn(40, 2, generator=stream(0, "s")) * 0.1
    points = torch.cat([torch.cat([left, right]) + spread, torch.tensor([[4.9, 0.0], [6.5, 0.0]])])
    view = fake_view(embeddings_N_D=points, clusters=2, probs_N_C=torch.zeros(42, 2))
    assert kmeans.kmeans(view, 2, rng()).tolist() == [40, 41]


def test_bayesian_takes_the_entropy_of_the_mean_not_the_mean_of_entropies():
    """Guards: mean of per-pass entropies (modAL), logits averaged (baal), 0 log 0 (DeepAL)."""
    disagree = [[1.0, 0.0], [0.0, 1.0]]
    unsure = [[0.7, 0.3], [0.7, 0.3]]
    sure = [[1.0, 0.0], [1.0, 0.0]]
    mc = torch.tensor([disagree, unsure, sure]).transpose(0, 1)
    view = fake_view(mc_probs_T_N_C=mc, probs_N_C=mc[0])
    assert simple.bayesian(view, 3, rng()).tolist() == [0, 1, 2]


def test_entropy_takes_the_highest_whatever_the_top_probability():
    """Three classes in turn are more than two, though the likeliest one has more."""
    probs = torch.tensor([[0.52, 0.48, 0.0], [0.54, 0.23, 0.23], [1.0, 0.0, 0.0], [0.9, 0.1, 0.0]])
    picks = simple.entropy(fake_view(probs_N_C=probs), 4, rng())
    assert picks.tolist() == [1, 0, 3, 2]


def test_random_asks_the_model_nothing():
    class Blind:
        def __len__(self):
            return 50

    assert len(simple.random(Blind(), 7, rng())) == 7


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        smallest(torch.tensor([0.1, float("nan")]), 1, rng())


@pytest.fixture
def registers() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    with patch.dict(STRATEGIES), patch.dict(arms.CUSTOM_ARMS, clear=True):
        yield


def test_a_registered_strategy_becomes_an_arm_and_its_source_names_the_record(registers):
    def first(view, budget, rng):
        return torch.arange(budget)

    register("first", first)
    study = ActiveLearningStudy(arms=("random", "first"))
    before = study.cells()[1].name

    def first(view, budget, rng):  # noqa: F811
        return torch.arange(budget).flip(0)

    register("first", first)
    assert ActiveLearningStudy(arms=("random", "first")).cells()[1].name != before
    for wrong in (
        "margin",
        "Margin",
        "badge",
        "BADGE",
        "K-means",
        "k-MEANS",
        "CoreSet",
        "../x",
        "",
    ):
        with pytest.raises(ValueError):
            register(wrong, first)
    with pytest.raises(ValueError, match="'named' is a partial: give a function"):
        register("named", partial(first, shift=2))
    assert "named" not in STRATEGIES and "named" not in arms.CUSTOM_ARMS


def test_a_strategy_that_is_not_what_was_registered_is_not_sent(registers):
    def shifted(view, budget, rng):
        return torch.arange(budget) + offset

    offset = 1
    register("shifted", shifted)
    sent = packed(["random", "shifted"])
    assert sent.keys() == {"shifted"}
    assert pickle.loads(sent["shifted"])(None, 2, None).tolist() == [1, 2]
    offset = 2
    with pytest.raises(ValueError, match="'shifted' uses has changed since .*: register it again"):
        packed(["random", "shifted"])


def test_a_registered_strategy_that_lost_a_constant_does_not_stop_another(registers, monkeypatch):
    """In a live kernel the old function stays registered, and misses what it named."""
    monkeypatch.setitem(globals(), "POWER", 2)
    register("old", _raised)
    monkeypatch.delitem(globals(), "POWER")
    register("new", _first)
    assert packed(["random", "new"]).keys() == {"new"}


def _first(view, budget, rng):
    return torch.arange(budget)


def _raised(view, budget, rng):
    return torch.arange(budget) ** POWER  # noqa: F821


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (torch.tensor([0, 1]), "returned 2"),
        (torch.tensor([0, 0, 1]), "2 of them different"),
        (torch.tensor([0, 1, 9]), "outside"),
        (torch.tensor([0, 1, -1]), "outside"),
        (np.array([0, 1, 1]), "2 of them different"),
        (np.array([0, 1, -1]), "outside"),
        ([0, 1, 2], "returned a list: return 3 positions as a tensor, int64"),
        (torch.tensor([0.0, 1.0, 2.0]), "returned a tensor of float32, of shape"),
        (torch.tensor([[0], [1], [2]]), "returned a tensor of int64, of shape"),
        (np.array([0.0, 1.0, 2.0]), "returned a NumPy array of float64, of shape"),
        (np.array([True, False, True]), "returned a NumPy array of bool, of shape"),
        (np.array([[0], [1], [2]]), "returned a NumPy array of int64, of shape"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_named(positions, message):
    with pytest.raises(own.BrokenContract, match=f"strategy 'mine' .*{message}"):
        own.checked_positions(positions, 3, 5, "mine")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_positions_may_be_a_numpy_array_of_integers(dtype):
    positions = own.checked_positions(np.array([4, 0, 2], dtype=dtype)[::-1], 3, 5, "mine")
    assert positions.dtype == torch.int64 and positions.tolist() == [2, 0, 4]
