import pytest
import torch

from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.arms import ORACLES
from alutils.strategies.own import STRATEGIES
from alutils.strategies.pool import Pool
from alutils.strategies.view import GivenView, PoolView
from tests.cells import a_cell


def new_pool(size: int = 100) -> Pool:
    return Pool(torch.ones(size, dtype=torch.bool), 0.1, stream(0, "split"))


@pytest.fixture(scope="module")
def view() -> PoolView:
    net = build(a_cell("mnist"), torch.device("cpu"))
    images = torch.randint(256, (40, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    return make_view(net, images)


def make_view(net, images, **changes) -> PoolView:
    fields = dict(candidates=torch.arange(5, 35), labelled=torch.arange(5), mc_passes=6,
                  dropout=0.5, clusters=3, rng=stream(0, "mc"))  # fmt: skip
    return PoolView(net, images, **{**fields, **changes})


def test_heldout_and_pool_divide_the_training_set():
    pool = new_pool()
    assert len(pool.heldout) == 10 and len(pool.unlabelled) == 90
    assert not set(pool.heldout.tolist()) & set(pool.unlabelled.tolist())
    assert torch.equal(pool.heldout, new_pool().heldout)


def test_nothing_is_labelled_twice_or_taken_from_the_heldout():
    pool = new_pool()
    first = pool.unlabelled[:3]
    pool.label(first)
    assert pool.labelled.tolist() == first.tolist() and len(pool.unlabelled) == 87
    for wrong in (first[:1], pool.heldout[:1], pool.unlabelled[:1].repeat(2)):
        with pytest.raises(ValueError, match=rf"labelled twice or not in the pool: \[{wrong[0]}\]"):
            pool.label(wrong)


def test_the_split_of_a_whole_training_set_is_a_permutation_of_its_indices():
    expected = torch.randperm(100, generator=stream(0, "split"))[:10].sort().values
    assert torch.equal(new_pool().heldout, expected)


def test_what_was_thinned_out_is_neither_held_out_nor_labelled():
    kept = torch.arange(100) % 3 == 0
    pool = Pool(kept, 0.25, stream(0, "split"))
    assert (len(pool.heldout), len(pool.unlabelled)) == (8, 26)
    assert sorted([*pool.heldout.tolist(), *pool.unlabelled.tolist()]) == list(range(0, 100, 3))
    with pytest.raises(ValueError, match=r"not in the pool: \[1\]"):
        pool.label(torch.tensor([1]))
    assert kept.sum() == 34


def test_candidates_are_unlabelled_dataset_indices():
    """Guards: indices into a sub-sampled pool taken for pool indices (baal)."""
    pool = new_pool()
    pool.label(pool.unlabelled[::2])
    candidates = pool.candidates(10, stream(0, "candidates"))
    assert len(candidates) == 10 and set(candidates.tolist()) <= set(pool.unlabelled.tolist())
    assert torch.equal(pool.candidates(0, stream(0, "c")), pool.unlabelled)
    assert torch.equal(pool.candidates(1000, stream(0, "c")), pool.unlabelled)


def test_the_view_says_what_the_network_says(view):
    view.net.eval()
    with torch.inference_mode():
        expected = view.net(view.images[5:35]).softmax(1)
    assert torch.allclose(view.probs_N_C, expected, atol=1e-6)
    assert view.embeddings_N_D.shape == (30, 512)
    assert view.labelled_embeddings_M_D.shape == (5, 512)
    assert len(view) == 30


def test_mc_passes_differ_and_leave_batchnorm_alone(view):
    """Guards: the whole network in train mode during MC dropout (deepALplus, DISTIL)."""
    before = {key: value.clone() for key, value in view.net.state_dict().items()}
    probs = view.mc_probs_T_N_C
    assert probs.shape == (6, 30, 10)
    assert torch.allclose(probs.sum(2), torch.ones(6, 30), atol=1e-5)
    assert all(not torch.equal(probs[0], probs[t]) for t in range(1, 6))
    assert all(torch.equal(before[key], value) for key, value in view.net.state_dict().items())
    assert not view.net.training


def test_mc_passes_are_dropout_before_the_last_layer(view):
    again = make_view(view.net, view.images)
    keep = torch.empty(6, 512).bernoulli_(0.5, generator=stream(0, "mc")) * 2
    with torch.inference_mode():
        expected = view.net(view.images[5:35], keep[2].expand(30, 512)).softmax(1)
    assert torch.allclose(again.mc_probs_T_N_C[2], expected, atol=1e-5)


def test_the_mean_is_that_of_the_passes(view):
    first, second = make_view(view.net, view.images), make_view(view.net, view.images)
    mean, passes = first.mc_mean_N_C, second.mc_probs_T_N_C
    assert torch.allclose(mean, passes.mean(0), atol=1e-6)
    assert torch.allclose(first.mc_probs_T_N_C, passes, atol=1e-6)


def test_a_score_of_the_passes_is_taken_chunk_by_chunk(view, monkeypatch):
    """Its values are those of all passes at once, without their being held."""
    monkeypatch.setattr("alutils.learning.scoring.SCORING_BATCH", 7)
    monkeypatch.setattr("alutils.strategies.view.SCORING_BATCH", 7)
    fresh, sizes = make_view(view.net, view.images), []

    def score(probs_T_B_C):
        sizes.append(probs_T_B_C.shape)
        return probs_T_B_C.amax((0, 2))

    maxima = fresh.over_passes(score)
    assert sizes == [(6, 7, 10)] * 4 + [(6, 2, 10)]
    assert "mc_probs_T_N_C" not in fresh.__dict__
    assert torch.equal(maxima, fresh.mc_probs_T_N_C.amax((0, 2)))


def test_one_pass_through_the_trunk_serves_all_quantities(view, monkeypatch):
    runs = count_trunk_runs(view, monkeypatch)
    fresh = make_view(view.net, view.images)
    assert fresh.probs_N_C.shape == fresh.mc_mean_N_C.shape == (30, 10)
    assert fresh.embeddings_N_D.shape == (30, 512)
    assert runs == [30]


def test_a_large_pool_is_scored_without_keeping_its_features(view, monkeypatch):
    monkeypatch.setattr("alutils.strategies.view.KEPT_FEATURES", 29)
    small, large = view, make_view(view.net, view.images)
    runs = count_trunk_runs(view, monkeypatch)
    assert torch.equal(large.probs_N_C, small.probs_N_C)
    assert torch.allclose(large.mc_mean_N_C, make_view(view.net, view.images).mc_mean_N_C)
    assert "embeddings_N_D" not in large.__dict__
    before = len(runs)
    assert large.embeddings_N_D.shape == (30, 512)
    assert torch.equal(large.mc_probs_T_N_C.mean(0).argmax(1), large.mc_mean_N_C.argmax(1))
    assert len(runs) == before + 1


def count_trunk_runs(view, monkeypatch) -> list[int]:
    """Grows by the size of every batch that goes through the trunk."""
    runs, trunk = [], view.net.trunk.forward

    def counted(inputs):
        runs.append(len(inputs))
        return trunk(inputs)

    monkeypatch.setattr(view.net.trunk, "forward", counted)
    return runs


def test_without_dropout_all_passes_are_equal(view):
    probs = make_view(view.net, view.images, dropout=0.0).mc_probs_T_N_C
    assert torch.allclose(probs, probs[:1].expand_as(probs))


def test_nothing_is_computed_before_it_is_asked_for(view):
    lazy = make_view(None, None)
    assert len(lazy) == 30 and not {"probs_N_C", "embeddings_N_D"} & set(vars(lazy))


def test_passes_may_be_taken_of_some_candidates_alone():
    """EPIG keeps those of its targets: as many rows as the function gives, and no others."""
    cell = a_cell("digits", encoder="none")
    net = build(cell, torch.device("cpu"))
    images = torch.randint(0, 256, (1_240, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    view = make_view(net, images.byte(), candidates=torch.arange(5, 1_205))
    whole = view.mc_probs_T_N_C.transpose(0, 1)
    kept = torch.arange(1_200) % 7 == 0
    seen = 0

    def some(probs_T_B_C):
        nonlocal seen
        start, seen = seen, seen + probs_T_B_C.shape[1]
        return probs_T_B_C.transpose(0, 1)[kept[start:seen]]

    assert torch.equal(view.over_passes(some), whole[kept])
    seen, count = 0, int(kept.sum())
    few = view.over_passes(some, rows=count)
    assert torch.equal(few, whole[kept])
    assert few.untyped_storage().nbytes() == 4 * few.numel()  # and no room for the others


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in ORACLES])
def test_given_arrays_are_chosen_from_as_a_network_s(view, name):
    """NumPy's are of float64, and taken as what the network gives."""
    fields = ("probs_N_C", "embeddings_N_D", "labelled_embeddings_M_D", "mc_probs_T_N_C")
    arrays = {field: getattr(view, field).double().numpy() for field in fields}
    given = GivenView(**arrays, clusters=view.clusters)
    expected = STRATEGIES[name](view, 4, stream(0, "picks"))
    assert torch.equal(STRATEGIES[name](given, 4, stream(0, "picks")), expected)


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("coreset", r"embeddings_N_D .*GivenView, an array of shape \(N, D\)"),
        ("bald", r"mc_probs_T_N_C is needed but was not given: .* \(T, N, C\)"),
        ("bayesian", r"mc_probs_T_N_C is needed"),
        ("oracle", r"labels_N is needed|embeddings_N_D is needed"),
    ],
)
def test_a_strategy_that_asks_for_what_was_not_given_says_so(name, lacks):
    given = GivenView([[0.5, 0.5], [0.9, 0.1]])
    with pytest.raises(AttributeError, match=lacks):
        STRATEGIES[name](given, 1, stream(0, "picks"))
    with pytest.raises(AttributeError, match="a GivenView has no 'images'"):
        given.images  # noqa: B018


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("embeddings_N_D", (3, 8)),
        ("embeddings_N_D", (2,)),
        ("mc_probs_T_N_C", (2, 5, 3)),
        ("labels_N", (4,)),
    ],
)
def test_given_arrays_that_do_not_fit_together_are_refused(field, shape):
    with pytest.raises(ValueError, match=rf"{field} has shape .* where N = 2, C = 3 in what was"):
        GivenView(torch.rand(2, 3), **{field: torch.ones(shape)})
