import subprocess
import sys
from functools import cache, partial, wraps
from types import SimpleNamespace

import cloudpickle
import pytest
import torch

from alutils import plans, strategies
from alutils.model import build
from alutils.parameters import ParameterError
from alutils.pool import PoolView
from alutils.protocol import ARMS, CONTROLS, FROM_PASSES, FURTHER, Protocol
from alutils.strategies import STRATEGIES, register, smallest
from alutils.streams import stream

PROBS = torch.tensor(
    [
        [0.98, 0.01, 0.01],
        [0.50, 0.49, 0.01],
        [0.40, 0.30, 0.30],
        [0.45, 0.44, 0.11],
        [0.80, 0.10, 0.10],
    ]
)


def fake_view(count: int = 200, seed: int = 0, **given) -> SimpleNamespace:
    rng = stream(seed, "fake")
    fields = dict(
        probs_N_C=torch.rand(count, 10, generator=rng).softmax(1),
        mc_probs_T_N_C=torch.rand(5, count, 10, generator=rng).softmax(2),
        embeddings_N_D=torch.randn(count, 16, generator=rng),
        labelled_embeddings_M_D=torch.randn(6, 16, generator=rng),
        clusters=4,
        mc_score="entropy",
    )
    view = SimpleNamespace(**{**fields, **given})
    size = len(given["probs_N_C"]) if "probs_N_C" in given else count
    view_type = type("View", (SimpleNamespace,), {"__len__": lambda self: size})
    return view_type(
        **vars(view),
        mc_mean_N_C=view.mc_probs_T_N_C.mean(0),
        over_passes=lambda score: score(view.mc_probs_T_N_C),
    )


def rng(seed: int = 0) -> torch.Generator:
    return stream(seed, "acquisition")


def test_the_arms_of_the_study_are_the_strategies_there_are():
    assert set(STRATEGIES) == {*ARMS, *CONTROLS, *FURTHER}
    assert set(FROM_PASSES) <= set(FURTHER)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_keeps_the_contract(name):
    view = fake_view(100)
    picks = STRATEGIES[name](view, 20, rng())
    strategies.check_positions(picks, 20, len(view), name)
    assert picks.dtype == torch.int64
    assert torch.equal(picks, STRATEGIES[name](view, 20, rng()))
    everything = STRATEGIES[name](view, 100, rng())
    assert sorted(everything.tolist()) == list(range(100))


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


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_chooses_from_what_a_network_says(name):
    """Scoring is in inference mode, choosing is not."""
    net = build(Protocol(), "mnist", 0, torch.device("cpu"))
    images = torch.randint(256, (40, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    view = PoolView(
        net, images, torch.arange(5, 40), torch.arange(5), mc_passes=6, dropout=0.5, clusters=3,
        rng=stream(0, "mc"),
    )  # fmt: skip
    picks = STRATEGIES[name](view, 9, rng())
    strategies.check_positions(picks, 9, 35, name)
    assert len(view.candidates[picks].unique()) == 9


def test_uncertainty_takes_the_lowest_top_probability():
    picks = strategies.uncertainty(fake_view(probs_N_C=PROBS), 5, rng())
    assert picks.tolist() == [2, 3, 1, 4, 0]


def test_margin_takes_the_smallest_gap():
    picks = strategies.margin(fake_view(probs_N_C=PROBS), 3, rng())
    assert set(picks[:2].tolist()) == {1, 3} and picks[2] == 2


def test_kmeans_takes_points_between_centroids():
    left, right = torch.zeros(20, 2), torch.tensor([[10.0, 0.0]]).repeat(20, 1)
    spread = torch.randn(40, 2, generator=stream(0, "s")) * 0.1
    points = torch.cat([torch.cat([left, right]) + spread, torch.tensor([[4.9, 0.0], [6.5, 0.0]])])
    view = fake_view(embeddings_N_D=points, clusters=2, probs_N_C=torch.zeros(42, 2))
    assert strategies.kmeans(view, 2, rng()).tolist() == [40, 41]


def test_bayesian_takes_the_entropy_of_the_mean_not_the_mean_of_entropies():
    """Guards: mean of per-pass entropies (modAL), logits averaged (baal), 0 log 0 (DeepAL)."""
    disagree = [[1.0, 0.0], [0.0, 1.0]]
    unsure = [[0.7, 0.3], [0.7, 0.3]]
    sure = [[1.0, 0.0], [1.0, 0.0]]
    mc = torch.tensor([disagree, unsure, sure]).transpose(0, 1)
    view = fake_view(mc_probs_T_N_C=mc, probs_N_C=mc[0])
    assert strategies.bayesian(view, 3, rng()).tolist() == [0, 1, 2]


def test_entropy_takes_the_highest_whatever_the_top_probability():
    """Three classes in turn are more than two, though the likeliest one has more."""
    probs = torch.tensor([[0.52, 0.48, 0.0], [0.54, 0.23, 0.23], [1.0, 0.0, 0.0], [0.9, 0.1, 0.0]])
    picks = strategies.entropy(fake_view(probs_N_C=probs), 4, rng())
    assert picks.tolist() == [1, 0, 3, 2]


def test_random_asks_the_model_nothing():
    class Blind:
        def __len__(self):
            return 50

    assert len(strategies.random(Blind(), 7, rng())) == 7


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        smallest(torch.tensor([0.1, float("nan")]), 1, rng())


def test_a_registered_strategy_becomes_an_arm_and_its_source_names_the_record(monkeypatch):
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(plans, "CUSTOM_ARMS", {})
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", plans.CUSTOM_ARMS)

    def first(view, budget, rng):
        return torch.arange(budget)

    register("first", first)
    plan = plans.ActiveLearningStudy(arms=("random", "first"))
    before = plan.cells()[1].name

    def first(view, budget, rng):  # noqa: F811
        return torch.arange(budget).flip(0)

    register("first", first)
    assert plans.ActiveLearningStudy(arms=("random", "first")).cells()[1].name != before
    for wrong in ("margin", "badge", "../x", ""):
        with pytest.raises(ValueError):
            register(wrong, first)


def test_the_constants_and_helpers_of_a_strategy_name_its_record_too(monkeypatch):
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", {})
    names = set()
    for shift in (1, 2):
        for helper in (_forwards, _backwards):

            def shifted(view, budget, rng):
                return helper(torch.arange(budget)) + offset  # noqa: B023

            offset = shift
            register("shifted", shifted)
            names.add(strategies.CUSTOM_ARMS["shifted"])
    assert len(names) == 4
    assert strategies.registered() == {"shifted": shifted}
    offset = 3
    with pytest.raises(ValueError, match="'shifted' takes .* changed since .*: register it again"):
        strategies.registered()


@cache
def _cached(budget):
    return torch.arange(budget) + POWER  # noqa: F821


def _of(value):
    """A strategy with a value as its default."""

    def chosen(view, budget, rng, shift=value):
        return torch.arange(budget)

    return chosen


def _named(strategy):
    register("named", strategy)
    return strategies.CUSTOM_ARMS["named"]


def test_defaults_large_tensors_and_cached_helpers_name_the_record_too(monkeypatch):
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", {})
    large = torch.zeros(2000)
    values = [1, 2, "1", large, large.bfloat16(), large.index_fill(0, torch.tensor([999]), 1)]
    values += [large.numpy(), {"a": 1}, {"a": 2}, [1, 2], [2, 1], None]
    assert len({_named(_of(value)) for value in values}) == len(values)
    assert _named(_of({"b", "a", "c"})) == _named(_of({"c", "b", "a"}))

    def caching(view, budget, rng):
        return _cached(budget)

    names = set()
    for power in (1, 2):
        monkeypatch.setitem(globals(), "POWER", power)
        names.add(_named(caching))
    assert len(names) == 2


def _reversing(strategy):
    """A decorator of its own: its wrapper decides as much as what it wraps."""

    @wraps(strategy)
    def reversed_(view, budget, rng):
        return strategy(view, budget, rng).flip(0) * SIGN  # noqa: F821

    return reversed_


def test_decorators_name_the_record_too(monkeypatch):
    """One of the module itself with what it uses, around an imported one or within it."""
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", {})
    names = [_named(_of(1)), _named(torch.no_grad()(_of(2)))]
    for sign in (1, -1):
        monkeypatch.setitem(globals(), "SIGN", sign)
        names += [_named(_reversing(_of(1))), _named(_reversing(torch.no_grad()(_of(2))))]
    assert len(set(names)) == len(names)
    assert _named(torch.no_grad()(_of(1))) == names[0]


class _Scorer:
    """What a strategy may not use: its source is not its function's."""


def _scored(view, budget, rng):
    return _Scorer().of(view, budget)


def test_a_strategy_from_a_file_of_ones_own_travels_to_where_that_is_not(tmp_path, monkeypatch):
    (tmp_path / "own_strategies.py").write_text(
        "from alutils.strategies import smallest\n"
        "def score(view):\n    return view.scores\n"
        "def lowest(view, budget, rng):\n    return smallest(score(view), budget, rng)\n"
    )
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        import own_strategies
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", {})
    register("lowest", own_strategies.lowest)
    code = (
        "import pickle, sys, torch; from types import SimpleNamespace as view;"
        "lowest = pickle.load(sys.stdin.buffer);"
        "print(lowest(view(scores=torch.tensor([3.0, 1.0, 2.0])), 2, torch.Generator()).tolist())"
    )
    packed = cloudpickle.dumps(own_strategies.lowest)
    done = subprocess.run([sys.executable, "-c", code], input=packed, capture_output=True, cwd="/")
    assert done.stdout.decode().strip() == "[1, 2]", done.stderr.decode()


def test_what_can_not_be_told_apart_is_refused_before_anything_is_registered():
    for wrong in (_of(object()), _of([torch.nn.Linear(1, 1)]), _scored):
        with pytest.raises(ValueError, match="a change of it could not be told"):
            register("named", wrong)
    with pytest.raises(ValueError, match="'named' is a partial: give a function"):
        register("named", partial(_of(1), shift=2))
    assert "named" not in STRATEGIES and "named" not in plans.CUSTOM_ARMS


def test_what_a_strategy_takes_within_lambdas_and_comprehensions_names_its_record(monkeypatch):
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))
    monkeypatch.setattr(strategies, "CUSTOM_ARMS", {})
    names = set()
    for power, helper in ((1, _forwards), (2, _forwards), (2, _backwards)):
        monkeypatch.setitem(globals(), "POWER", power)
        monkeypatch.setitem(globals(), "HELPER", helper)

        def raised(view, budget, rng):
            inner = lambda one: HELPER(one) ** POWER  # noqa: E731, F821
            return [inner(part) + POWER for part in torch.arange(budget).split(1)]  # noqa: F821

        register("raised", raised)
        names.add(strategies.CUSTOM_ARMS["raised"])
    assert len(names) == 3


def _forwards(positions: torch.Tensor) -> torch.Tensor:
    return positions


def _backwards(positions: torch.Tensor) -> torch.Tensor:
    return positions.flip(0)


@pytest.mark.parametrize(
    ("positions", "told"),
    [
        (torch.tensor([0, 1]), "returned 2"),
        (torch.tensor([0, 0, 1]), "2 of them different"),
        (torch.tensor([0, 1, 9]), "outside"),
        (torch.tensor([0, 1, -1]), "outside"),
        ([0, 1, 2], "returned list of shape"),
        (torch.tensor([0.0, 1.0, 2.0]), "returned torch.float32 of shape"),
        (torch.tensor([[0], [1], [2]]), "returned torch.int64 of shape"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_named(positions, told):
    with pytest.raises(ParameterError, match=f"strategy 'mine' .*{told}"):
        strategies.check_positions(positions, 3, 5, "mine")
