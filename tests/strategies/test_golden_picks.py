"""What every arm picks from one made-up pool, written down."""

from functools import cache

import pytest
import torch

from alutils.learning.streams import stream
from alutils.strategies import typiclust
from alutils.strategies.own import STRATEGIES
from alutils.strategies.view import GivenView
from tests.strategies.views import fake_view, rng

PICKS = """
random           205 1387 2739 1972 2979 160 2084 1200 2729 2394 1764 455 2719 60
uncertainty      328 1792 1718 1749 2363 2647 452 2790 103 744 2543 2367 722 2705
margin           2991 925 660 2841 1197 223 328 1886 1947 1354 1057 989 2543 2760
kmeans           650 612 1920 1170 1412 2970 532 1342 2760 1970 2652 12 1532 992
bayesian         2623 1792 1749 452 2833 1718 2544 328 186 792 1159 2430 2143 2933
entropy          1749 2623 1792 452 2544 1718 328 2790 2833 2543 1568 1474 1608 2842
bald             2692 98 2357 1345 1401 844 211 2384 836 1252 1420 1601 1822 2141
power-bald       1401 274 2326 792 2718 2505 2198 790 2296 1468 157 2646 1749 1759
batchbald        2692 98 1345 1401 2384 1601 836
variation-ratios 2430 2806 2322 1748 22 2032 1273 1364 861 2367 1166 1833 722 1864
coreset          469 1827 2905 2097 791 198 407 1099 251 1089 815 1988 2821 103
badge            1585 1883 384 821 1551 1415 2462 2193 813 1097 1489 1112 1 1865
probcover        1691 2665 1387 1975 1820 2893 358 312 1753 614 1168 2029 2031 390
typiclust        614 2209 1941 2932 77 2033 150 358 1575 236 1490 1031 1967 388
cluster-margin   135 348 1426 2476 1670 2647 223 1792 1496 1947 1000 1354 2513 809
kmeans-centre    1387 2707 1667 2326 1787 2766 1686 1606 907 1427 1926 2566 1726 107
epig             2692 98 1345 844 2357 836 1420 211 2384 553 1252 222 2410 1918
dropquery        1414 2133 132 582 1279 2038 940 785 218 1924 2806 1387 2575 1450
max-herding      794 2909 1997 2831 180 2417 628 2345 2775 2006 426 1387 649 1819
uherding         794 1997 2831 2909 180 2417 628 2775 2345 366 1387 2462 1104 2426
oracle           819 1821 1626 1201 2482 604 459 2579 191 2321 2681 921 2179 619
"""
PICKED = {
    arm: [int(pick) for pick in picks] for arm, *picks in map(str.split, PICKS.strip().split("\n"))
}
"""Positions by arm, in the order in which they are picked."""


@cache
def pool() -> GivenView:
    """3,000 candidates in 40 groups, more than any strategy looks at where it draws some.

    Noise of 1e-6 of every value changes no pick, so that no processor's last bits do.
    """
    drawn, group = stream(0, "golden"), torch.arange(3006) % 40
    features = 3 * torch.randn(40, 16, generator=drawn)[group]
    features += torch.randn(3006, 16, generator=drawn)
    logits = 2 * torch.randn(3000, 10, generator=drawn)
    passes = logits + 0.7 * torch.randn(10, 3000, 10, generator=drawn)
    return fake_view(
        3000, clusters=12, probs_N_C=logits.softmax(1), mc_probs_T_N_C=passes.softmax(2),
        embeddings_N_D=features[:3000], labelled_embeddings_M_D=features[3000:],
        labels_N=group[:3000] % 10, labelled_labels_M=group[3000:] % 10,
    )  # fmt: skip


def test_every_arm_has_its_picks_written_down():
    assert PICKED.keys() == STRATEGIES.keys()


@pytest.mark.parametrize("arm", PICKED)
def test_golden_picks(arm):
    """A change of these picks means other records: raise PROTOCOL_VERSION."""
    assert STRATEGIES[arm](pool(), len(PICKED[arm]), rng()).tolist() == PICKED[arm]


@pytest.mark.parametrize(("labels", "asked"), [(493, 499), (494, 500), (594, 500)])
def test_typiclust_asks_for_a_cluster_a_label_up_to_500(labels, asked, monkeypatch):
    """A change of this bound means other records: raise PROTOCOL_VERSION."""
    counts = []

    def noted(features, count, rng):
        counts.append(count)
        return torch.arange(len(features)) % count

    monkeypatch.setattr(typiclust, "clusters", noted)
    assert len(STRATEGIES["typiclust"](pool(), labels, rng()).unique()) == labels
    assert counts == [asked]
