import numpy as np
import pytest
import torch

from alutils.learning.streams import stream
from alutils.strategies import dropquery as module
from alutils.strategies.dropquery import central, dropquery, inconsistency
from tests.strategies.views import fake_view, network_view, rays, rng


def one_hot(labels) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), 3).float()


def changing(changed: list[int], features: torch.Tensor | None = None, passes: int = 4):
    """Candidates of class 0, of which so many of the passes say 1 or 2 instead."""
    labels = [[1 + t % 2 if t < count else 0 for count in changed] for t in range(passes)]
    features = torch.randn(len(changed), 3) if features is None else features
    return fake_view(
        mc_probs_T_N_C=one_hot(labels), probs_N_C=one_hot([0] * len(changed)),
        embeddings_N_D=features, labelled_embeddings_M_D=features[:0],
    )  # fmt: skip


def test_inconsistency_is_the_share_of_passes_that_predict_another_class():
    generator = stream(0, "p")
    passes, plain = (torch.rand(*shape, generator=generator) for shape in ((7, 40, 3), (40, 3)))
    expected = []
    for i, row in enumerate(plain.tolist()):
        label = row.index(max(row))
        predictions = [probs_N_C[i].tolist() for probs_N_C in passes]
        expected.append(sum(probs.index(max(probs)) != label for probs in predictions) / 7)
    view = fake_view(mc_probs_T_N_C=passes, probs_N_C=plain)
    assert inconsistency(view).tolist() == pytest.approx(expected)


def test_dropquery_takes_the_middle_of_each_cluster_of_what_dropout_changes():
    features = rays(0, 1, 3, 90, 92, 93, 180, 181, 182)
    view = changing([3, 4, 3, 3, 3, 4, 0, 1, 2], features)
    assert set(dropquery(view, 2, rng()).tolist()) == {1, 4}


def test_half_of_the_passes_are_not_more_than_half():
    features = rays(0, 1, 3, 90, 92, 93)
    assert set(dropquery(changing([3, 3, 3, 2, 2, 2], features), 1, rng()).tolist()) == {1}
    picks = dropquery(changing([3, 3, 3, 2, 2, 2], features), 4, rng()).tolist()
    assert set(picks[:3]) == {0, 1, 2}


def test_the_length_of_features_is_no_matter():
    near, far = rays(0, 1, 2), rays(1, 90, 91, 92, length=50.0)
    view = changing([4] * 7, torch.cat([near, far]))
    for seed in range(5):
        assert set(dropquery(view, 2, rng(seed)).tolist()) in ({1, 5}, {3, 5})


def test_where_few_are_unsure_those_that_most_passes_change_come_next():
    changed = [0, 1, 2, 3, 0, 1, 2, 4, 0]
    picks = dropquery(changing(changed), 7, rng()).tolist()
    assert picks[:2] == [7, 3] and set(picks[2:4]) == {2, 6} and set(picks[4:6]) == {1, 5}
    assert picks[6] in (0, 4, 8)


def test_without_dropout_the_picks_are_random():
    view = changing([0] * 60)
    picks = [frozenset(dropquery(view, 10, rng(seed)).tolist()) for seed in range(3)]
    assert len(set(picks)) == 3 and frozenset(range(10)) not in picks


def test_central_is_the_row_nearest_to_the_mean_of_its_cluster():
    rows = torch.randn(80, 4, generator=stream(0, "rows"))
    cluster = torch.randint(9, (80,), generator=stream(0, "cluster")) * 2
    expected = []
    for k in range(0, 18, 2):
        members = np.flatnonzero(cluster.numpy() == k)
        mean = rows.double().numpy()[members].mean(0)
        expected.append(
            min(members, key=lambda i, mean=mean: np.linalg.norm(rows[i].double().numpy() - mean))
        )
    assert central(rows, cluster, rng()).tolist() == expected


def test_a_tie_for_the_middle_is_drawn():
    rows, cluster = torch.ones(20, 2), torch.zeros(20, dtype=torch.int64)
    assert len({central(rows, cluster, rng(seed)).item() for seed in range(5)}) > 1


def test_the_middles_of_large_and_small_numbers_of_clusters_are_candidates_of_their_own():
    """K-means sees all points up to 50 clusters and a part of them beyond."""
    features = torch.randn(300, 3, generator=stream(0, "rows"))
    view = changing([4] * 200 + [0] * 100, features)
    for budget in (3, 60, 199):
        picks = dropquery(view, budget, rng())
        assert len(picks.unique()) == budget and picks.max() < 200


def test_clusters_left_empty_are_made_up_for_by_the_most_changed():
    """Two different features make no more than two clusters of six."""
    features = rays(0, 90).repeat(10, 1)
    view = changing([3, 3] * 8 + [4, 4] * 2, features)
    for seed in range(5):
        picks = dropquery(view, 6, rng(seed)).tolist()
        assert len(set(picks)) == 6 and len({pick % 2 for pick in picks[:2]}) == 2
        assert {16, 17, 18, 19} <= set(picks)


def test_ties_of_what_dropout_changes_vary_with_the_seed():
    features = rays(0, 90, 180, 270).repeat(15, 1)
    view = changing([4] * 60, features)
    assert len({frozenset(dropquery(view, 8, rng(seed)).tolist()) for seed in range(3)}) == 3


def test_one_pass_tells_changed_from_unchanged_and_no_more():
    view = changing([1, 0, 1, 0, 1, 0], passes=1)
    assert set(dropquery(view, 3, rng()).tolist()) == {0, 2, 4}


def test_features_are_not_asked_for_where_no_clusters_are_made():
    view = changing([4, 0, 0])
    del view.embeddings_N_D
    assert dropquery(view, 2, rng())[0] == 0


def test_what_is_not_finite_is_refused():
    features = torch.randn(9, 2, generator=stream(0, "rows"))
    features[3, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        dropquery(changing([4] * 9, features), 3, rng())


def test_dropquery_takes_what_a_network_is_unsure_of():
    view = network_view()
    unsure = inconsistency(view) > module.UNSURE
    assert 3 < unsure.sum() < 35
    assert unsure[dropquery(view, 3, rng())].all()
