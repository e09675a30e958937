import pandas as pd
import pytest

from alutils.reporting import published
from alutils.studies.active_learning import best_evaluation


def of_arm(arm: str, labels: tuple[int, ...], best: float, last: float, seed: int = 0):
    """A training at every label count, with its best and last held-out accuracy (share)."""
    return [
        {"dataset": "mnist", "arm": arm, "seed": seed, "labels": count, "heldout_best": best,
         "heldout_last": last, "encoder": "none"}
        for count in labels
    ]  # fmt: skip


def test_a_dip_is_more_than_a_point_below_the_best():
    rows = pd.DataFrame(of_arm("random", (1,), 0.90, 0.895) + of_arm("random", (2,), 0.9, 0.88))
    assert best_evaluation.dips(rows) == 1
    text = best_evaluation.sentences(rows).data
    assert text.startswith("1 of 2 trainings (50 %) end more than 1 point below their best eval")


def test_arms_are_held_against_published_points_at_nearly_the_same_labels():
    """540 and 1,063 labels are near 540 and 1,069; 800 and 1,090 are near to none."""
    theirs = published.active_learning("mnist").query("arm == 'margin'")["accuracy"].tolist()
    rows = [*of_arm("margin", (540, 800, 1063), 0.95, 0.95), *of_arm("random", (540,), 0.9, 0.9)]
    rows += of_arm("margin", (540, 800, 1063), 0.96, 0.96, seed=1)
    rows += of_arm("margin", (1090,), 0.5, 0.5) + of_arm("margin", (1090,), 0.5, 0.5, seed=1)
    apart = best_evaluation.beside_published(pd.DataFrame(rows))
    mean = (theirs[0] + theirs[1]) / 2
    assert list(apart) == ["margin"]
    assert apart["margin"].tolist() == pytest.approx([95 - mean, 96 - mean])
    text = best_evaluation.sentences(pd.DataFrame(rows)).data
    assert f"on MNIST: margin {95.5 - mean:+.2f} points (" in text
    assert "0 of 8 trainings (0 %)" in text  # margin and random share the first of seed 0


def test_of_figure_2_dips_and_the_published_curve_are_told_by_dataset():
    """540 labels are published with 91.48 and 33.54 %; 541 with nothing."""
    mnist = [row for seed in (0, 1) for row in of_arm("random", (540,), 0.93, 0.90, seed)]
    mnist += of_arm("random", (541,), 0.93, 0.93)
    cifar = [row | {"dataset": "cifar10"} for row in of_arm("random", (540,), 0.30, 0.30)]
    rows = pd.DataFrame(mnist + cifar)
    assert best_evaluation.on_sizes(rows).data.splitlines() == [
        "- **MNIST**: 2 of 3 trainings (67 %) end more than 1 point below their best evaluation on "
        "held-out images; best minus published evaluation, mean over 1 size: +1.52 points "
        "(2 seeds, no interval).",
        "- **CIFAR-10**: 0 of 1 training end more than 1 point below their best evaluation "
        "on held-out images; best minus published evaluation, mean over 1 size: -3.54 points "
        "(one seed, no interval).",
    ]
    assert "published" not in best_evaluation.on_sizes(rows.assign(dataset="digits")).data
    assert best_evaluation.on_sizes(rows.drop(columns="heldout_best")).data == ""


def test_without_points_nearby_or_evaluations_nothing_is_compared():
    rows = pd.DataFrame(of_arm("margin", (800,), 0.95, 0.95))
    assert best_evaluation.beside_published(rows) == {}
    assert "published" not in best_evaluation.sentences(rows).data
    never = rows.assign(heldout_best=float("nan"))
    for unjudged in (never, rows.drop(columns=["heldout_best"])):
        assert "set `heldout_every`" in best_evaluation.sentences(unjudged).data
