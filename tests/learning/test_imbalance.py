"""Training sets with rare classes: profiles, and which images stay."""

import pytest
import torch

from alutils.learning import data
from alutils.learning.imbalance import kept_mask, long_tail_mask
from alutils.protocol.datasets import DATASETS
from tests.cells import a_cell

LABELS = data.load("digits").train_labels


def test_cifar10_has_the_published_long_tails():
    """Totals and sizes of CIFAR-10-LT as made by the code of Cui et al. (arXiv 1901.05555)."""
    facts = DATASETS["cifar10"]
    assert facts.long_tail(100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert [facts.kept_count(imbalance) for imbalance in (1, 10, 100)] == [50_000, 20_431, 12_406]
    thinned_cell = a_cell("cifar10", imbalance=100)
    sizes = thinned_cell.heldout_size("cifar10"), thinned_cell.pool_size("cifar10")
    assert sizes == (1_240, 11_166)


def test_the_rarest_class_is_never_one_image_short_of_its_share():
    for imbalance in range(1, 142):
        counts = DATASETS["digits"].long_tail(imbalance)
        assert (counts[0], counts[-1]) == (141, 141 // imbalance)
        assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("counts", [[40, 40, 40], [40, 12, 4], [40, 4, 0]])
def test_a_made_up_dataset_keeps_the_asked_counts(counts):
    labels = torch.arange(3).repeat(40)
    left = long_tail_mask(labels, counts, seed=0)
    by_class = labels[left].bincount(minlength=3)
    assert sorted(by_class.tolist(), reverse=True) == counts
    assert left.sum() == sum(counts)


@pytest.mark.parametrize("imbalance", [10.0, 100.0])
def test_digits_have_the_exact_profile(imbalance):
    left = kept_mask(a_cell("digits", imbalance=imbalance), LABELS)
    counts = sorted(LABELS[left].bincount().tolist(), reverse=True)
    expected = [int(141 * imbalance ** (-k / 9) + 1e-9) for k in range(10)]
    assert counts == expected and sum(counts) == DATASETS["digits"].kept_count(imbalance)


def test_without_imbalance_all_images_stay_and_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr("alutils.learning.imbalance.stream", None)
    assert kept_mask(a_cell("digits"), LABELS).tolist() == [True] * len(LABELS)


def test_over_seeds_every_class_is_the_rarest_and_the_images_differ():
    masks = [kept_mask(a_cell("digits", seed, imbalance=20.0), LABELS) for seed in range(60)]
    rarest = [int(LABELS[mask].bincount().argmin()) for mask in masks]
    assert set(rarest) == set(range(10))
    again = kept_mask(a_cell("digits", 0, imbalance=20.0), LABELS)
    assert torch.equal(masks[0], again) and not torch.equal(masks[0], masks[1])


def test_arms_share_the_training_set_and_a_larger_imbalance_keeps_part_of_it():
    random, margin = (
        kept_mask(a_cell("digits", arm=arm, imbalance=10.0), LABELS) for arm in ("random", "margin")
    )
    rarer = kept_mask(a_cell("digits", imbalance=50.0), LABELS)
    assert torch.equal(random, margin)
    assert not (rarer & ~random).any() and rarer.sum() < random.sum()
