"""Figures of datasets with other numbers of classes than ten."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alutils.reporting import figures
from alutils.studies.active_learning import evidence, picks
from alutils.studies.active_learning.diagnosed_rounds import DiagnosedRound, abbreviated

NUMBERS = [2, 3, 37, 200]


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"kind {i:03}" for i in range(count))


@pytest.mark.parametrize(("classes", "rows"), [(2, 1), (3, 1), (10, 1), (37, 4), (200, 4)])
def test_an_image_of_every_class_is_shown_up_to_forty(classes, rows):
    images = torch.zeros(classes, 3, 12, 12, dtype=torch.uint8)
    figure = figures.samples(images, torch.arange(classes), names_of(classes))
    titles = [panel.get_title() for panel in figure.axes]
    assert [title for title in titles if title] == list(names_of(classes)[:40])
    assert figure.get_size_inches().tolist() == [9, 1.25 * rows]


def test_short_names_of_classes_differ():
    assert abbreviated(["airplane", "automobile", "bird"]) == ["air", "aut", "bir"]
    assert abbreviated(["kind 001", "kind 002"]) == ["1", "2"]
    assert abbreviated(["cat", "cattle"]) == ["0", "1"]
    assert abbreviated(["redstart", "redwing", "red kite", "redstarts"]) == ["0", "1", "2", "3"]


def rounds_of(classes: int) -> list[DiagnosedRound]:
    rng = np.random.default_rng(0)
    closing = {"confusion": rng.integers(0, 9, (classes, classes)).tolist()}
    first, last = ({"class_counts": [n] * classes, "closing": closing} for n in (1, 3))
    return [
        DiagnosedRound(arm, 0, number, labels, entries)
        for arm in ("random", "margin")
        for number, labels, entries in ((1, classes, first), (2, 3 * classes, last))
    ]


@pytest.mark.parametrize("classes", NUMBERS)
def test_what_arms_asked_for_and_took_for_another_is_drawn(classes, unpainted):
    share = f"({100 / classes:.0f} %)"
    assert share in picks.asked_for(rounds_of(classes), names_of(classes)).data
    assert "taken for kind" in evidence.confusion(rounds_of(classes), names_of(classes)).data


@pytest.mark.parametrize("classes", NUMBERS)
def test_the_map_has_a_colour_a_class(classes):
    colours = picks._class_colours(SimpleNamespace(classes=names_of(classes)))
    assert len(set(colours)) == classes


def test_of_many_classes_those_are_shown_in_which_arms_differ_most(unpainted):
    """Random asked evenly for 37 classes, margin for the last 20 less or more than that."""
    *rounds, last = rounds_of(37)
    counts = [1 + 4] * 17 + [1 + 1, 1 + 7] * 10
    rounds.append(replace(last, entries=last.entries | {"class_counts": counts}))
    caption = picks.asked_for(rounds, names_of(37)).data
    assert "acquired, the 20 of 37 in which arms differ most: 1 seed. Most" in caption
    means = [mean for mean, _ in picks._shares_by_arm(rounds).values()]
    assert picks._most_unequal(means, 37) == list(range(17, 37))
    assert picks._most_unequal(means, 20) == list(range(20))


def test_the_spread_over_seeds_is_drawn_where_there_are_several(unpainted):
    (spread,) = {spread for _, spread in picks._shares_by_arm(rounds_of(2)).values()}
    assert spread is None
    caption = picks.asked_for(rounds_of(2), names_of(2)).data
    assert "each arm acquired: 1 seed." in caption and "standard deviation" not in caption
    counts = {0: [1, 3], 1: [3, 1]}
    rounds = [
        DiagnosedRound("margin", seed, number, labels, {"class_counts": classes})
        for seed in (0, 1)
        for number, labels, classes in ((1, 2, [1, 1]), (2, 4, counts[seed]))
    ]
    ((mean, spread),) = picks._shares_by_arm(rounds).values()
    assert mean.tolist() == [50, 50] and spread == pytest.approx([np.sqrt(5000)] * 2)
    caption = picks.asked_for(rounds, names_of(2)).data
    assert "mean over seeds, error bars of one standard deviation." in caption


def test_networks_that_make_no_mistake_take_nothing_for_another(unpainted):
    closing = {"confusion": [[4, 0], [0, 3]]}
    right = [DiagnosedRound("margin", 0, 2, 9, {"class_counts": [1, 1], "closing": closing})]
    assert "Most often: margin: none." in evidence.confusion(right, ("cat", "dog")).data


def test_a_picture_in_the_gallery_is_made_of_means():
    image = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)
    assert picks.smaller(image, 1) is image
    halved = picks.smaller(image, 2)
    assert halved.shape == (2, 2, 3)
    assert halved[1, 0].tolist() == [(30 + 33 + 45 + 48) / 4 + c for c in range(3)]
    grey = picks.smaller(image[..., :1], 2)
    assert grey.shape == (2, 2, 1) and grey[..., 0].tolist() == halved[..., 0].tolist()
