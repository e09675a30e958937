import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge, RidgeClassifier

from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.strategies import oracle as module
from alutils.strategies.oracle import oracle
from alutils.strategies.simple import margin, random
from alutils.strategies.view import LabelledView, PoolView, PrivateView
from tests.cells import a_cell
from tests.strategies.views import fake_view, rng


def labelled_view(count: int = 40, labelled: int = 5, seed: int = 0):
    """Three classes of candidates in 6 dimensions, overlapping."""
    labels = torch.randint(3, (count + labelled,), generator=stream(seed, "labels"))
    noise = torch.randn(count + labelled, 6, generator=stream(seed, "noise"))
    rows = 2 * F.one_hot(labels, 6) + noise
    return fake_view(
        count, embeddings_N_D=rows[:count], labels_N=labels[:count],
        labelled_embeddings_M_D=rows[count:], labelled_labels_M=labels[count:],
    )  # fmt: skip


def error_of(view, picks: list[int], sample: list[int]) -> float:
    """Squared error on ``sample`` of a ridge regression that is fitted with ``picks``, afresh."""
    mean = view.embeddings_N_D.mean(0)
    scale = (view.embeddings_N_D - mean).square().sum(1).mean().sqrt()

    def rows(features):
        return F.pad((features - mean) / scale, (0, 1), value=1.0).double().numpy()

    labels = torch.cat([view.labelled_labels_M, view.labels_N[picks]])
    fitted = Ridge(alpha=0.1, fit_intercept=False).fit(
        rows(torch.cat([view.labelled_embeddings_M_D, view.embeddings_N_D[picks]])),
        F.one_hot(labels, 3).numpy(),
    )
    lacks = F.one_hot(view.labels_N[sample], 3).numpy() - fitted.predict(
        rows(view.embeddings_N_D[sample])
    )
    return float((lacks**2).sum())


@pytest.mark.parametrize(("labelled", "looked_at", "sampled"), [(5, 40, 40), (30, 12, 25)])
def test_every_pick_leaves_the_least_error_of_all_refitted_regressions(
    labelled, looked_at, sampled, monkeypatch
):
    monkeypatch.setattr(module, "CANDIDATE_SAMPLE", looked_at)
    monkeypatch.setattr(module, "SAMPLE", sampled)
    view, drawn = labelled_view(labelled=labelled), rng()
    looked_at = torch.randperm(40, generator=drawn)[:looked_at].tolist()
    sample = torch.randperm(40, generator=drawn)[:sampled].tolist()
    picks = oracle(view, 8, rng()).tolist()
    for done in range(8):
        left = [position for position in looked_at if position not in picks[:done]]
        errors = {one: error_of(view, [*picks[:done], one], sample) for one in left}
        assert picks[done] == min(errors, key=errors.get)


def test_it_reaches_no_error_with_one_label_of_each_cluster():
    """Two clusters of 30, one of which nothing is labelled of, and where margin looks in vain."""
    noise = torch.randn(61, 4, generator=stream(0, "noise")) * 0.1
    labels = torch.tensor([0] * 30 + [1] * 30 + [0])
    rows = noise + 3 * labels.unsqueeze(1) * torch.eye(4)[0]
    probs = torch.full((60, 2), 0.5)
    probs[30:] = torch.tensor([0.99, 0.01])
    view = fake_view(
        embeddings_N_D=rows[:60], probs_N_C=probs, labels_N=labels[:60],
        labelled_embeddings_M_D=rows[60:], labelled_labels_M=labels[60:],
    )  # fmt: skip

    def wrong(picks) -> int:
        seen = torch.cat([torch.tensor([60]), picks])
        if len(labels[seen].unique()) < 2:
            return int((labels[:60] != labels[seen[0]]).sum())
        fitted = RidgeClassifier(0.1).fit(rows[seen].numpy(), labels[seen].numpy())
        return int((fitted.predict(rows[:60].numpy()) != labels[:60].numpy()).sum())

    assert wrong(oracle(view, 1, rng())) == 0
    assert wrong(margin(view, 1, rng())) == 30
    assert max(wrong(random(view, 1, rng(seed))) for seed in range(5)) == 30


def test_the_same_generator_gives_the_same_picks_and_another_looks_elsewhere(monkeypatch):
    view = labelled_view(200)
    monkeypatch.setattr(module, "CANDIDATE_SAMPLE", 20)
    assert torch.equal(oracle(view, 6, rng()), oracle(view, 6, rng()))
    assert set(oracle(view, 6, rng(1)).tolist()) != set(oracle(view, 6, rng()).tolist())
    assert len(oracle(view, 30, rng()).unique()) == 30


@pytest.mark.parametrize("count", [1, 50])
def test_candidates_that_do_not_differ_are_drawn_whatever_is_labelled(count):
    view = labelled_view(count)
    view.embeddings_N_D, view.labels_N = view.embeddings_N_D[:1].repeat(count, 1), view.labels_N * 0
    picks = [oracle(view, 1, rng(seed)).item() for seed in range(3)]
    assert len(set(picks)) == min(count, 3)


def test_a_feature_that_is_not_finite_is_refused():
    view = labelled_view()
    view.embeddings_N_D[3, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        oracle(view, 3, rng())


def test_only_a_labelled_view_has_labels():
    net = build(a_cell("mnist"), torch.device("cpu"))
    images = torch.randint(256, (20, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    labels = torch.arange(20) % 10
    view = PoolView(net, images, torch.arange(5, 20), torch.arange(5), 2, 0.5, 3, stream(0, "mc"))
    seeing = LabelledView(view, labels)
    assert seeing.labels_N.tolist() == labels[5:].tolist() and len(seeing) == 15
    assert seeing.labelled_labels_M.tolist() == labels[:5].tolist()
    assert seeing.embeddings_N_D is view.embeddings_N_D
    for blind in (view, PrivateView(view)):
        for name in ("labels_N", "labelled_labels_M", "labels"):
            assert not hasattr(blind, name)
