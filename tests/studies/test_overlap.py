"""Which trainings reports share, on cells of which it can be told by hand."""

import pytest

from alutils.protocol.cell import Cell
from alutils.studies import overlap, profiles


def cell(**changes) -> Cell:
    """Margin on MNIST: 540 labels, then 534 of the 53,460 that are left, and so on."""
    fields = {"figure": 4, "dataset": "mnist", "arm": "margin", "seed": 0, "first_labels": 540,
              "acquisition_fraction": 0.01, "rounds": 4}  # fmt: skip
    return Cell(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "trainings"),
    [
        ({"figure": "beyond", "rounds": 3}, 2),
        ({"figure": "beyond", "heldout_every": 10, "diagnostics": True, "rounds": 9}, 3),
        ({"figure": "beyond", "rounds": 1}, 0),
        ({"figure": "beyond", "acquisition_fraction": 0.02}, 0),
        ({"figure": "beyond", "first_labels": 450}, 0),
        ({"figure": "beyond", "epochs": 20}, 0),
        ({"figure": "beyond", "arm": "random"}, 0),
        ({"figure": "beyond", "seed": 1}, 0),
        ({"figure": "beyond", "imbalance": 10.0}, 0),
    ],
)
def test_a_training_is_repeated_where_all_that_decides_it_is_the_same(changes, trainings):
    shared = overlap.common([cell()], [cell(**changes)], "07-x")
    assert shared == overlap.Shared("07-x", 0, int(trainings > 0), trainings)


def test_nested_labels_are_others_than_an_arms():
    nested = cell(arm="random", label_counts=(540, 1074), rounds=2)
    longer = nested.model_copy(update={"label_counts": (540, 1074, 2000), "figure": "reductions"})
    arm = cell(arm="random", figure="beyond")
    assert arm.schedule_of_labels()[:2] == [540, 1074]
    assert overlap.common([nested], [longer], "x") == overlap.Shared("x", 0, 1, 1)
    assert overlap.common([nested], [arm], "x") == overlap.Shared("x", 0, 0, 0)


def test_a_record_of_both_is_no_repeated_training():
    cells = [cell(), cell(seed=1)]
    others = [cell(), cell(seed=1, figure="beyond")]
    assert overlap.common(cells, others, "x") == overlap.Shared("x", 1, 1, 3)


def test_the_reports_of_desktop_tell_what_they_share():
    """5 arms and 3 seeds of 07 up to 2,094 labels: the second to the fourth count of 03."""
    told = {
        name: overlap.sentence(profiles.load_study("desktop", name), name).data
        for name in ("02-cifar10-active-learning", "03-mnist-active-learning", "08-reductions")
    }
    same = "(by the same seed, arm, recipe and label counts, those on the first labels apart)"
    assert list(told.values()) == [
        "No training of 02 is one of the profile's other reports on networks trained from scratch.",
        "Of the 25 cells of 03, 15 repeat 45 trainings of 07 and 9 repeat 27 trainings of 08 "
        f"{same}: these reports are not independent.",
        "Of the 44 cells of 08, 6 are records of 01 too, 9 repeat 27 trainings of 03 and 9 repeat "
        f"27 trainings of 07 {same}: these reports are not independent.",
    ]


def test_a_profile_of_a_users_own_shares_with_no_report():
    study = profiles.load_study("desktop", "03-mnist-active-learning")
    mine = study.model_copy(update={"profile": "mine"})
    assert overlap.shared(mine, "03-mnist-active-learning") == []
