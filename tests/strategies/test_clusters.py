import numpy as np
import pytest
import torch
from skactiveml.pool import TypiClust
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_info, threadpool_limits

from alutils.learning.streams import stream
from alutils.strategies import cluster_margin, clusters, typiclust
from alutils.strategies.own import STRATEGIES
from tests import skactive
from tests.strategies.views import rng, view_of


def blobs(*sizes: int, seed: int = 0) -> torch.Tensor:
    """Groups of points, far from each other."""
    centres = 100 * torch.eye(len(sizes))
    spread = torch.randn(sum(sizes), len(sizes), generator=stream(seed, "blobs"))
    return torch.repeat_interleave(centres, torch.tensor(sizes), dim=0) + spread


def groups(picks: torch.Tensor, *sizes: int) -> list[int]:
    ends = torch.tensor(sizes).cumsum(0)
    return torch.searchsorted(ends, picks, right=True).tolist()


def test_centres_are_the_opposite_of_boundary_points():
    spread = torch.randn(40, 2, generator=stream(0, "s")) * 0.1
    two = torch.tensor([[0.0, 0.0], [10.0, 0.0]]).repeat_interleave(20, dim=0) + spread
    points = torch.cat([two, torch.tensor([[4.9, 0.0], [6.5, 0.0]])])
    view = view_of(points, clusters=2)
    order = STRATEGIES["kmeans-centre"](view, 42, rng()).tolist()
    assert set(order[-2:]) == set(STRATEGIES["kmeans"](view, 2, rng()).tolist()) == {40, 41}


def test_typiclust_takes_the_middle_of_the_largest_cluster_without_labels():
    """Guards: positions among candidates and labelled images taken for those of candidates."""
    sizes = (40, 30, 20)
    features = blobs(*sizes)
    labelled = features[[0]]
    picks = STRATEGIES["typiclust"](view_of(features, labelled), 2, rng())
    assert groups(picks, *sizes) == [1, 2]
    middle = features[40:70] - features[40:70].mean(0)
    typical = middle.norm(dim=1).argsort()
    assert int(picks[0]) - 40 in typical[:10].tolist()


def test_typiclust_goes_round_the_clusters_and_comes_to_small_ones_last(monkeypatch):
    monkeypatch.setattr(typiclust, "MOST_CLUSTERS", 3)
    sizes = (20, 12, 4)
    picks = STRATEGIES["typiclust"](view_of(blobs(*sizes)), 36, rng())
    assert groups(picks, *sizes) == [0, 1] * 12 + [0] * 8 + [2] * 4


@pytest.mark.parametrize(("small", "first"), [(5, False), (6, True)])
def test_a_cluster_of_five_is_small_for_typiclust_and_one_of_six_is_not(small, first):
    """The small one, without labels, comes before the labelled large one, or after it."""
    features = blobs(30, small)
    picks = STRATEGIES["typiclust"](view_of(features, features[:1]), 1, rng())
    assert (picks.item() >= 30) == first


def test_typiclust_is_that_of_scikit_activeml():
    """Of the candidates' own cluster, ranked by the same typicality."""
    sizes = (40, 30, 25, 20, 15)
    features, labelled = blobs(*sizes), blobs(1, 1, 1, 1, 1, seed=1)[:2]
    state = int(torch.randint(2**31 - 1, (), generator=rng()))
    reference = TypiClust(k=20, cluster_algo_dict={"n_init": 1}, random_state=state)
    picks, utilities = reference.query(
        *skactive.pool(features, labelled), batch_size=3, return_utilities=True
    )
    assert STRATEGIES["typiclust"](view_of(features, labelled), 3, rng()).tolist() == picks.tolist()
    for utility in utilities:
        members = np.isfinite(utility[: len(features)])
        typicality = 1 / typiclust.mean_distance(features[members])
        expected = utility[: len(features)][members]
        assert typicality.numpy() == pytest.approx(expected, rel=1e-3)


def test_the_most_typical_is_nearest_to_its_neighbours():
    features = torch.randn(50, 4, generator=stream(0, "points")) + 100
    distances = (
        torch.cdist(features.double(), features.double()).sort(dim=1).values[:, 1:21].mean(1)
    )
    assert torch.allclose(typiclust.mean_distance(features), distances, atol=1e-4)
    assert typiclust.mean_distance(features[:1]).tolist() == [0]


def test_many_clusters_are_made_in_mini_batches(monkeypatch):
    fits, fit = [], MiniBatchKMeans.fit
    monkeypatch.setattr(MiniBatchKMeans, "fit", lambda self, x: fits.append(1) or fit(self, x))
    features = blobs(100, 100)
    assert clusters.clusters(features, 50, rng()).max() < 50 and not fits
    assert clusters.clusters(features, 51, rng()).max() < 51 and fits


def test_cluster_margin_takes_small_margins_from_clusters_in_turn():
    """Thirty small margins in groups of 20, 8 and 2, and as many large ones in a fourth."""
    sizes = (20, 8, 2, 30)
    margin = torch.cat([torch.full((30,), 0.1), torch.full((30,), 0.9)])
    probs = torch.stack([0.5 + margin / 2, 0.5 - margin / 2], dim=1)
    view = view_of(blobs(*sizes), probs=probs)
    for seed in range(5):
        picks = STRATEGIES["cluster-margin"](view, 3, rng(seed))
        assert groups(picks, *sizes) == [2, 1, 0]
    assert picks.tolist() != STRATEGIES["cluster-margin"](view, 3, rng(0)).tolist()


def test_cluster_margin_skips_clusters_that_are_used_up(monkeypatch):
    monkeypatch.setattr(cluster_margin, "MARGIN_SHARE", 1)
    monkeypatch.setattr(
        cluster_margin, "clusters", lambda features, count, rng: (features[:, 0] > 50).long()
    )
    view = view_of(blobs(9, 3))
    picks = STRATEGIES["cluster-margin"](view, 12, rng())
    assert groups(picks, 9, 3) == [1, 0] * 3 + [0] * 6


@pytest.mark.parametrize("arm", ["kmeans", "typiclust", "probcover"])
def test_clusters_are_taken_on_one_thread_whatever_the_process_has(arm, monkeypatch):
    """Two threads add up centroids in another order: the last bits would be others."""
    threads = []

    def noted(fit):
        def wrapped(*args, **options):
            threads.extend(pool["num_threads"] for pool in threadpool_info())
            return fit(*args, **options)

        return wrapped

    for kind in (KMeans, MiniBatchKMeans):
        monkeypatch.setattr(kind, "fit", noted(kind.fit))
    features = blobs(20, 20)
    view = view_of(features, features[:2], clusters=2)
    with threadpool_limits(2):
        STRATEGIES[arm](view, 4, rng())
    assert set(threads) == {1}
