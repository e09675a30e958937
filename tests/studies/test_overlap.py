"""Which trainings reports share, on cells of which it can be told by hand."""

import pytest

from alutils.protocol.cell import Cell
from alutils.studies import overlap, profiles
from alutils.studies.recipes import CIFAR10, MNIST, PROFILE_OF_RECIPE


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
    assert shared == overlap.Overlap("07-x", 0, int(trainings > 0), trainings)


def test_nested_labels_are_others_than_an_arms():
    nested = cell(arm="random", label_counts=(540, 1074), rounds=2)
    longer = nested.model_copy(update={"label_counts": (540, 1074, 2000), "figure": "reductions"})
    arm = cell(arm="random", figure="beyond")
    assert arm.schedule_of_labels()[:2] == [540, 1074]
    assert overlap.common([nested], [longer], "x") == overlap.Overlap("x", 0, 1, 1)
    assert overlap.common([nested], [arm], "x") == overlap.Overlap("x", 0, 0, 0)


def test_a_record_of_both_is_no_repeated_training():
    cells = [cell(), cell(seed=1)]
    others = [cell(), cell(seed=1, figure="beyond")]
    assert overlap.common(cells, others, "x") == overlap.Overlap("x", 1, 1, 3)


def test_the_networks_from_scratch_of_09_are_those_of_figure_2():
    study = profiles.load_study("desktop", "08-reductions")
    by_report = {each.notebook: each for each in overlap.overlaps(study, "08-reductions")}
    assert by_report["09"].records == by_report["01"].records > 0


def told(profile: str, notebook: str) -> str:
    return overlap.sentence(profiles.load_study(profile, notebook), notebook).data


def test_figure_4_tells_what_it_shares_under_either_recipe():
    """5 arms and 3 seeds of 07 up to 2,094 labels: the second to the fourth count of 03.

    Whichever profiles these lie in.
    """
    reduced, poster = (told(PROFILE_OF_RECIPE[recipe], MNIST) for recipe in ("reduced", "poster"))
    assert reduced.startswith("15 of 03's 25 runs repeat 45 trainings of 07")
    assert ", 9 repeat 27 trainings of 08" in reduced and reduced.endswith(f": {overlap.REPEATED}.")
    assert poster.startswith("6 of 03's ") and " repeat 18 trainings of 08" in poster
    assert told(PROFILE_OF_RECIPE["reduced"], CIFAR10) == (
        "02 repeats no training of another report on networks trained from scratch."
    )


def test_what_compares_the_recipes_names_the_profile_of_a_figure_that_is_not_its_own():
    (profile,) = (p for p in PROFILE_OF_RECIPE.values() if "08-reductions" in profiles.notebooks(p))
    (other,) = set(PROFILE_OF_RECIPE.values()) - {profile}
    text = told(profile, "08-reductions")
    assert text.startswith("6 of 08's 44 runs are also records of 01, ")
    assert {f" of 03 of `{other}`", " of 03", " of 07"} <= {
        part.partition("trainings")[2] for part in text.partition(": they")[0].split(", ")
    }
    assert "01 of" not in text


def test_a_profile_of_a_users_own_shares_with_no_report():
    study = profiles.load_study("desktop", "03-mnist-active-learning")
    mine = study.model_copy(update={"profile": "mine"})
    assert overlap.overlaps(mine, "03-mnist-active-learning") == []
