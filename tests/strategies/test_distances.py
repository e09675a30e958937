import numpy as np
import pytest
import torch
from skactiveml.pool import Badge, CoreSet, ProbCover

from alutils.strategies import distances, probcover
from alutils.strategies.clusters import clusters
from alutils.strategies.distances import Points
from alutils.strategies.own import STRATEGIES
from alutils.strategies.probcover import radius
from tests import skactive
from tests.strategies.views import points, rng, view_of


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.float).unsqueeze(1)


@pytest.fixture(params=[distances.BLOCK, 7])
def block(request, monkeypatch):
    """In one block, and in many."""
    monkeypatch.setattr(distances, "BLOCK", request.param)


def follow(monkeypatch, name: str, picks) -> list[torch.Tensor]:
    """Let a strategy pick what a reference picked; grows by the scores that it picks from."""
    recorded, remaining = [], iter(picks)

    def followed(scores, rng):
        recorded.append(scores.clone())
        return int(next(remaining))

    monkeypatch.setattr(f"alutils.strategies.{name}", followed)
    return recorded


def test_coreset_takes_the_farthest_from_labelled_and_picked():
    view = view_of(line(1, 5, 9, 10), labelled=line(0))
    assert STRATEGIES["coreset"](view, 2, rng()).tolist() == [3, 1]


def test_coreset_is_the_greedy_k_centre(block):
    candidates, labelled = points(), points(9, seed=1)
    centres, picks = labelled, []
    for _ in range(20):
        picks.append(int(torch.cdist(candidates.double(), centres.double()).min(1).values.argmax()))
        centres = torch.cat([labelled, candidates[picks]])
    assert STRATEGIES["coreset"](view_of(candidates, labelled), 20, rng()).tolist() == picks


def test_coreset_is_that_of_scikit_activeml(monkeypatch):
    candidates, labelled = points(), points(9, seed=1)
    reference = CoreSet(random_state=0)
    picks, utilities = reference.query(
        *skactive.pool(candidates, labelled), batch_size=20, return_utilities=True
    )
    view = view_of(candidates, labelled)
    assert STRATEGIES["coreset"](view, 20, rng()).tolist() == picks.tolist()
    recorded = follow(monkeypatch, "coreset.highest", picks)
    STRATEGIES["coreset"](view, 20, rng())
    for scores, utility in zip(recorded, utilities, strict=True):
        left = ~np.isnan(utility[:60])
        assert scores[left].sqrt().numpy() == pytest.approx(utility[:60][left], abs=1e-3)


def test_badge_takes_a_long_gradient_and_then_no_twin_of_it():
    """A sure candidate has no gradient; twins lie at no distance from each other."""
    features = torch.tensor([[3.0, 0], [3, 0], [0, 1], [9, 9]])
    probs = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [1.0, 0.0]])
    for seed in range(20):
        picks = STRATEGIES["badge"](view_of(features, probs=probs), 2, rng(seed)).tolist()
        assert picks[0] in (0, 1) and picks[1] in (2, 3)


def gradients(features, probs) -> torch.Tensor:
    hypothesised = torch.nn.functional.one_hot(probs.argmax(1), probs.shape[1])
    return torch.einsum("nc,nd->ncd", probs - hypothesised, features).flatten(1).double()


def test_badge_draws_by_the_distances_of_the_whole_gradients(monkeypatch):
    features, probs = points(), points(seed=2).softmax(1)
    whole = gradients(features, probs)
    first = int(whole.norm(dim=1).argmax())
    recorded = follow(monkeypatch, "badge.drawn", [3, 8, 21, 40])
    picks = STRATEGIES["badge"](view_of(features, probs=probs), 5, rng()).tolist()
    assert picks == [first, 3, 8, 21, 40]
    for step, weights in enumerate(recorded, start=1):
        nearest = torch.cdist(whole, whole[picks[:step]]).square().min(1).values
        assert torch.allclose(weights.double(), nearest, atol=1e-4)


def test_badge_is_that_of_scikit_activeml(monkeypatch):
    """But for the origin, which scikit-activeml 1.0 counts as a pick (arXiv 1906.03671 doesn't)."""
    features, probs = points(), points(seed=2).softmax(1)
    picks, utilities = Badge(random_state=0).query(
        *skactive.pool(features), clf=skactive.given(probs.unsqueeze(0)), fit_clf=False,
        batch_size=12, return_utilities=True,
    )  # fmt: skip
    recorded = follow(monkeypatch, "badge.drawn", picks[1:])
    ours = STRATEGIES["badge"](view_of(features, probs=probs), 12, rng()).tolist()
    assert ours == [int(pick) for pick in picks]
    squares = gradients(features, probs).square().sum(1)
    for weights, utility in zip(recorded, utilities[1:], strict=True):
        expected, weights = np.nan_to_num(utility), weights.minimum(squares)
        assert (weights / weights.sum()).numpy() == pytest.approx(expected, abs=1e-5)


def test_badge_goes_on_where_no_gradient_is_left():
    probs = torch.tensor([[1.0, 0.0]]).repeat(30, 1)
    picks = STRATEGIES["badge"](view_of(points(30), probs=probs), 30, rng())
    assert len(picks.unique()) == 30


def test_probcover_takes_the_fullest_ball_and_then_what_it_left(monkeypatch):
    monkeypatch.setattr(probcover, "radius", lambda *args: 1.5)
    view = view_of(line(0, 1, 2, 10, 11, 20), labelled=line(21))
    assert STRATEGIES["probcover"](view, 1, rng()).tolist() == [1]
    picks = STRATEGIES["probcover"](view, 2, rng()).tolist()
    assert picks[0] == 1 and picks[1] in (3, 4)


def test_probcover_is_the_greedy_cover(block, monkeypatch):
    candidates, labelled, delta = points(), points(9, seed=1), 0.9
    monkeypatch.setattr(probcover, "radius", lambda *args: delta)
    near = torch.cdist(candidates.double(), candidates.double()) < delta
    is_open = ~(torch.cdist(candidates.double(), labelled.double()) < delta).any(1)
    order = [7, 3, 11, 30, 42, 8]
    recorded = follow(monkeypatch, "probcover.highest", order)
    STRATEGIES["probcover"](view_of(candidates, labelled), len(order), rng())
    for step, counts in enumerate(recorded):
        left = torch.tensor([i for i in range(60) if i not in order[:step]])
        assert torch.equal(counts[left].long(), near[left][:, is_open].sum(1))
        is_open = is_open & ~near[order[step]]


@pytest.mark.filterwarnings("ignore:The maximum purity")  # of a radius that is given
def test_probcover_is_that_of_scikit_activeml(monkeypatch):
    candidates, labelled, delta = points(), points(9, seed=1), 0.9
    picks, utilities = ProbCover(deltas=[delta], random_state=0).query(
        *skactive.pool(candidates, labelled), batch_size=15, return_utilities=True
    )
    monkeypatch.setattr(probcover, "radius", lambda *args: delta)
    recorded = follow(monkeypatch, "probcover.highest", picks)
    STRATEGIES["probcover"](view_of(candidates, labelled), 15, rng())
    for counts, utility in zip(recorded, utilities, strict=True):
        left = ~np.isnan(utility[:60])
        assert counts[left].tolist() == utility[:60][left].tolist()
        assert counts.max() == utility[:60][left].max()


def test_the_radius_is_the_largest_with_the_asked_for_purity(block):
    candidates = points(200)
    largest = radius(Points(candidates), 3, rng())
    cluster = clusters(candidates, 3, rng())
    distances = torch.cdist(candidates.double(), candidates.double())
    differs = cluster.unsqueeze(0) != cluster.unsqueeze(1)

    def purity(delta: float) -> float:
        return 1 - ((distances < delta) & differs).any(1).double().mean().item()

    assert purity(largest - 1e-4) >= probcover.PURITY > purity(largest + 1e-4)


def test_the_radius_is_scikit_activemls_up_to_its_steps():
    candidates = points(200)
    largest = radius(Points(candidates), 3, rng())
    state = int(torch.randint(2**31 - 1, (), generator=rng()))
    steps = np.linspace(0.5 * largest, 1.5 * largest, 101)
    reference = ProbCover(
        n_classes=3, deltas=steps, cluster_algo_dict={"n_init": 1}, random_state=state
    )
    reference.query(*skactive.pool(candidates))
    assert reference.delta_max_ == pytest.approx(largest, abs=0.011 * largest)


def test_a_feature_that_is_not_finite_is_refused():
    features = points()
    features[3, 1] = float("nan")
    for name in ("coreset", "badge", "probcover"):
        with pytest.raises(ValueError, match="not finite"):
            STRATEGIES[name](view_of(features), 5, rng())
