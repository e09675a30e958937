import math

import numpy as np
import pytest
import torch
from skactiveml.pool import MaxHerding

from alutils.strategies import distances, herding
from alutils.strategies.distances import Points
from alutils.strategies.herding import Coverage, max_herding, smallest_distance, uherding
from alutils.strategies.simple import margin
from tests import skactive
from tests.strategies.views import network_view, points, probs_of, rays, rng, view_of

BOTH = pytest.mark.parametrize("strategy", [max_herding, uherding])


def similarity(first, second, scale: float) -> float:
    first, second = ([x / math.hypot(*point) for x in point] for point in (first, second))
    return math.exp(-((math.dist(first, second) / scale) ** 2))


def gains_by_hand(features, chosen, weights, scale: float) -> list[float]:
    """What each candidate would add to the coverage by what is chosen, by loops over all pairs."""
    rows, chosen = features.double().tolist(), chosen.double().tolist()
    best = [max([similarity(row, point, scale) for point in chosen], default=0.0) for row in rows]
    return [
        sum(
            weight * max(0.0, similarity(candidate, row, scale) - covered)
            for weight, row, covered in zip(weights, rows, best, strict=True)
        )
        for candidate in rows
    ]


def check_greedy(picks, features, labelled, weights, scale: float) -> None:
    """Each pick has the highest gain of its turn, but for ties."""
    assert len(picks.unique()) == len(picks)
    for step, pick in enumerate(picks.tolist()):
        chosen = torch.cat([labelled, features[picks[:step]]])
        gains = gains_by_hand(features, chosen, weights, scale)
        assert gains[pick] == pytest.approx(max(gains), rel=2e-5)


def gaps(probs) -> list[float]:
    rows = [sorted(row) for row in probs.double().tolist()]
    return [1 - (row[-1] - row[-2]) for row in rows]


def closest(features) -> float:
    rows = [[x / math.hypot(*point) for x in point] for point in features.double().tolist()]
    return min(math.dist(a, b) for i, a in enumerate(rows) for b in rows[:i])


@pytest.fixture(params=["whole", "parts", "single"])
def block(request, monkeypatch):
    """In one block, in many, and candidate by candidate."""
    if request.param != "whole":
        monkeypatch.setattr(distances, "BLOCK", 7)
        monkeypatch.setattr(herding, "BLOCK", 300 if request.param == "parts" else 1)
        monkeypatch.setattr(herding, "FIRST_LOOK", 2)


@pytest.mark.parametrize("labels", [0, 1, 9])
def test_max_herding_is_the_greedy_cover(labels, block):
    features, labelled = points(40), points(9, seed=1)[:labels]
    picks = max_herding(view_of(features, labelled), 15, rng())
    check_greedy(picks, features, labelled, [1.0] * 40, 1.0)


@pytest.mark.parametrize("labels", [1, 2, 9])
def test_uherding_is_the_greedy_cover_of_the_unsure(labels, block):
    features, labelled, probs = points(40), points(9, seed=1)[:labels], probs_of(40)
    scale = closest(labelled) if labels > 1 else 1.0
    picks = uherding(view_of(features, labelled, probs), 15, rng())
    check_greedy(picks, features, labelled, gaps(probs), scale)


@pytest.mark.parametrize("labels", [0, 9])
def test_max_herding_is_that_of_scikit_activeml(labels, monkeypatch):
    """The gains at every step of picks that were its own; ties are drawn."""
    features, labelled = points(), points(9, seed=1)[:labels]
    picks, utilities = MaxHerding(metric_dict={"gamma": 1.0}, random_state=0).query(
        *skactive.pool(features, labelled), batch_size=20, return_utilities=True
    )
    turns, tied = iter(picks), []

    def followed(is_tied, rng):
        tied.append(is_tied)
        return int(next(turns))

    monkeypatch.setattr(herding, "highest", followed)
    max_herding(view_of(features, labelled), 20, rng())
    candidates, chosen = herding._unit(view_of(features, labelled))
    coverage = Coverage(candidates, torch.ones(60), 1.0, rng())
    coverage.add(chosen)
    for pick, utility, is_tied in zip(picks, utilities[:, :60], tied, strict=True):
        left = ~np.isnan(utility)
        gain = coverage.gain(torch.arange(60)) / 60
        assert gain.numpy()[left] == pytest.approx(utility[left], abs=1e-6)
        assert is_tied[pick] and not is_tied[~left].any()
        coverage.add(candidates[[int(pick)]])


def test_max_herding_takes_the_largest_group_and_then_what_it_left():
    features = rays(0, 1, 2, 3, 4, 120, 121, 122, 240)
    first, second, third = max_herding(view_of(features), 3, rng()).tolist()
    assert first in range(5) and second in range(5, 8) and third == 8


def test_two_points_that_cover_each_other_alone_tie():
    """Guards: a pick read off rounding."""
    view = view_of(points(2, seed=3))
    picks = {max_herding(view, 1, rng(seed)).item() for seed in range(20)}
    assert picks == {0, 1}


@BOTH
def test_what_is_labelled_is_chosen_already(strategy):
    features, labelled = rays(0, 2, 4, 6, 8, 120, 122, 124, 240), rays(4, 300)
    probs = torch.full((9, 2), 0.5)
    assert strategy(view_of(features, labelled, probs), 1, rng()).tolist() == [6]


def test_uherding_passes_by_a_large_group_of_which_the_network_is_sure():
    features = rays(0, 2, 4, 6, 8, 120, 122, 124, 240)
    sure, unsure = [0.99, 0.01, 0.0], [0.4, 0.35, 0.25]
    view = view_of(features, rays(180, 300), torch.tensor([sure] * 5 + [unsure] * 4))
    assert uherding(view, 2, rng()).tolist() == [6, 8]


def test_uherding_is_max_herding_where_nothing_is_labelled():
    view = view_of(points())
    assert torch.equal(uherding(view, 20, rng()), max_herding(view, 20, rng()))


def test_uherding_is_margin_where_labelled_images_are_close():
    """The scale is then so small that a point covers itself alone."""
    features = rays(*range(0, 300, 10))
    view = view_of(features, rays(320, 320.5))
    assert uherding(view, 12, rng()).tolist() == margin(view, 12, rng()).tolist()


def test_the_scale_is_the_smallest_distance_of_labelled_images_that_differ(block):
    rows = torch.nn.functional.normalize(points(40, seed=2))
    assert smallest_distance(Points(rows)) == pytest.approx(closest(rows), rel=1e-4)
    twins = torch.cat([rows, rows + 1e-5])
    assert smallest_distance(Points(twins)) == pytest.approx(closest(rows), rel=1e-3)


@pytest.mark.parametrize("count", [1, 5])
def test_labelled_images_that_do_not_differ_leave_the_scale_at_max_herdings(count):
    assert smallest_distance(Points(rays(30).repeat(count, 1))) == herding.SCALE


def test_features_that_all_point_the_same_way_are_told_apart():
    """Guards: small distances lost to float32, as differences of norms near 1."""
    features, labelled = 20 + 0.3 * points(), 20 + 0.3 * points(9, seed=1)
    candidates, chosen = herding._unit(view_of(features, labelled))
    assert smallest_distance(chosen) == pytest.approx(closest(labelled), rel=1e-3)
    coverage = Coverage(candidates, torch.ones(60), 0.004, rng())
    coverage.add(chosen)
    expected = gains_by_hand(features, labelled, [1.0] * 60, 0.004)
    assert coverage.gain(torch.arange(60)).tolist() == pytest.approx(expected, abs=1e-3)


def test_coverage_of_a_drawn_part_is_that_of_all_in_the_mean(monkeypatch):
    candidates, weights = herding._unit(view_of(points()))[0], torch.tensor(gaps(probs_of(60)))
    every, chosen = torch.arange(60), candidates[:3]

    def gains(seed: int) -> torch.Tensor:
        coverage = Coverage(candidates, weights, 0.8, rng(seed))
        coverage.add(chosen)
        return coverage.gain(every).double()

    exact = gains(0)
    monkeypatch.setattr(herding, "SAMPLE", 15)
    drawn = torch.stack([gains(seed) for seed in range(400)])
    assert drawn.std(0).max() > 0.1
    error = (drawn.mean(0) - exact).abs()
    assert (error[3:] < 4.5 * drawn[:, 3:].std(0) / 20).all() and error[:3].max() < 1e-5


def test_a_drawn_candidate_has_no_advantage(monkeypatch):
    """Guards: a pick that covers no more than itself, because it is in the sample."""
    monkeypatch.setattr(herding, "SAMPLE", 5)
    view = view_of(rays(*range(0, 300, 10)), rays(320, 320.5))
    for seed in range(5):
        assert uherding(view, 12, rng(seed)).tolist() == margin(view, 12, rng()).tolist()


@BOTH
def test_no_more_similarities_than_a_block_are_held(strategy, monkeypatch):
    sizes = []

    def watched(self, others, plain=Points.squared_distances):
        squares = plain(self, others)
        sizes.append(squares.numel())
        return squares

    monkeypatch.setattr(Points, "squared_distances", watched)
    monkeypatch.setattr(herding, "SAMPLE", 20)
    monkeypatch.setattr(herding, "BLOCK", 100)
    monkeypatch.setattr(distances, "BLOCK", 10)
    strategy(view_of(points(), points(9, seed=1)), 10, rng())
    assert max(sizes) <= 100


def test_looking_at_the_promising_first_looks_at_few(monkeypatch):
    looks = []

    def watched(self, candidates, plain=Coverage.gain):
        looks.append(len(candidates))
        return plain(self, candidates)

    monkeypatch.setattr(Coverage, "gain", watched)
    max_herding(view_of(points(300)), 30, rng())
    assert sum(looks) < 10 * 300


def test_where_nothing_is_left_to_cover_the_picks_are_random_without_a_look(monkeypatch):
    view = view_of(points(), points(9, seed=1), torch.tensor([[1.0, 0.0]]).repeat(60, 1))
    picks = [frozenset(uherding(view, 20, rng(seed)).tolist()) for seed in range(3)]
    assert all(len(chosen) == 20 for chosen in picks) and len(set(picks)) == 3
    looks = []
    plain = Coverage.gain
    monkeypatch.setattr(
        Coverage, "gain", lambda self, part: looks.append(part) or plain(self, part)
    )
    uherding(view, 20, rng())
    assert sum(map(len, looks)) == 60


@BOTH
def test_ties_vary_with_the_seed_and_no_twin_is_taken_before_all_are_covered(strategy):
    view = view_of(torch.eye(4).repeat(15, 1), points(3), torch.full((60, 2), 0.5))
    picks = [strategy(view, 6, rng(seed)).tolist() for seed in range(3)]
    assert len({frozenset(chosen) for chosen in picks}) == 3
    assert all(len({pick % 4 for pick in chosen[:4]}) == 4 for chosen in picks)


@BOTH
@pytest.mark.parametrize("count", [2, 40])
def test_all_candidates_of_a_sampled_pool_can_be_asked_for(strategy, count, monkeypatch):
    monkeypatch.setattr(herding, "SAMPLE", 3)
    for labelled in (None, points(2, seed=1)):
        picks = strategy(view_of(points(count), labelled), count, rng())
        assert picks.dtype == torch.int64 and sorted(picks.tolist()) == list(range(count))


@BOTH
def test_a_feature_that_is_not_finite_is_refused_and_one_that_is_zero_is_not(strategy):
    features = points()
    features[3] = 0
    assert len(strategy(view_of(features, points(2, seed=1)), 60, rng()).unique()) == 60
    features[3, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        strategy(view_of(features, points(2, seed=1)), 5, rng())


def test_a_probability_that_is_not_finite_is_refused():
    probs = probs_of(60)
    probs[3] = float("nan")
    with pytest.raises(ValueError, match="a weight is not finite"):
        uherding(view_of(points(), points(2, seed=1), probs), 5, rng())


@BOTH
def test_herding_rests_on_no_passes_of_a_network(strategy):
    first, second = (strategy(network_view(15, seed), 6, rng()) for seed in range(2))
    assert torch.equal(first, second)
