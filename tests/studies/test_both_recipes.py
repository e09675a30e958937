import pandas as pd
import pytest

from alutils.records.store import Store
from alutils.reporting.arm_comparison import compare_with_random
from alutils.reporting.prose import points
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CIFAR10, DATASET_OF, MNIST, PROFILE_OF_RECIPE
from alutils.studies.reductions import both_recipes
from tests.studies.made_up import save_finished
from tests.studies.test_other_profiles import save

ABOVE = {"uncertainty": 1.5, "margin": 1.5, "kmeans": 1.5, "bayesian": 1.5}
CLEAR = dict.fromkeys(ABOVE, 2.0)
"""Points over random by arm; the second are shown with three seeds, too."""


def run(notebook: str, seeds: int = 99, **gains: dict[str, float]) -> None:
    """Finished records under either recipe: points over random by arm, the reduced first."""
    for recipe, profile in PROFILE_OF_RECIPE.items():
        save(profile, notebook, gains.get(recipe, {}), seeds if recipe == "poster" else 99)


def test_the_same_under_both_recipes_is_told_once(outputs):
    run(CIFAR10, reduced=ABOVE, poster=ABOVE)
    line, normal = both_recipes.sentences(both_recipes.read()).data.split("\n\n")
    assert line == (
        "- **CIFAR-10**, 5 paired seeds under both recipes: the same is shown of every arm under "
        "both: uncertainty, margin, K-means and Bayesian lie above random."
    )
    assert normal.startswith("With 5 seeds a sign-flip test")


def test_arms_of_which_each_recipe_shows_something_else_are_named(outputs):
    run(CIFAR10, reduced=ABOVE, poster=ABOVE | {"margin": -1.6, "kmeans": 0.0})
    text = both_recipes.compared(both_recipes.read(), CIFAR10)
    assert text.startswith(
        "the tests come out differently for margin and K-means: under the poster's recipe, "
    )
    assert "margin lies below random" in text.split("; under the reduced recipe, ")[0]
    assert "uncertainty, margin, K-means and Bayesian lie above random. The difference" in text
    assert text.endswith(
        "the poster's recipe minus that under the reduced one, paired and not corrected: margin "
        "-3.10 points (-3.10 to -3.10, 5 seeds) and K-means -1.50 points (-1.50 to -1.50, 5 seeds)"
    )


def test_a_difference_that_one_recipe_alone_shows_need_be_none_between_them(outputs):
    """Of K-means 0.9 points show a difference, and 0.2 neither that nor equivalence."""
    kmeans = {"reduced": [0.8, 0.9, 0.9, 1.0], "poster": [-1.2, 1.4, 1.4, 0.4]}
    rows = {
        name: pd.DataFrame(
            {"seed": seed, "arm": arm, "labels": 540, "accuracy": accuracy}
            for arm, values in (("random", [0.0] * 4), ("kmeans", gains))
            for seed, accuracy in enumerate(values)
        )
        for name, gains in kmeans.items()
    }
    told = both_recipes.compared(both_recipes.BothRecipes({MNIST: rows}, {}), MNIST)
    assert "come out differently for K-means" in told
    assert told.endswith("the recipes are thus not shown to differ for K-means")


def test_only_the_seeds_of_both_are_compared_and_the_rest_is_interim(outputs):
    run(CIFAR10, seeds=4, reduced=ABOVE, poster=ABOVE)
    told = both_recipes.sentences(both_recipes.read()).data
    assert "**CIFAR-10**, 4 paired seeds under both recipes: the same" in told
    assert told.splitlines()[0].count("Interim, with 20 of 25 runs finished") == 1
    table = both_recipes.table(both_recipes.read()).data
    assert "4 seeds)" in table and "5 seeds)" not in table
    for seed in (1, 2, 3):
        for cell in load_study(PROFILE_OF_RECIPE["poster"], CIFAR10).cells():
            if cell.seed == seed:
                Store(PROFILE_OF_RECIPE["poster"]).path(cell).unlink()
    assert (
        "1 seed under both recipes: nothing is tested with"
        in both_recipes.sentences(both_recipes.read()).data
    )
    assert both_recipes.compared(both_recipes.read(), CIFAR10) == ""
    assert "simultaneous" not in both_recipes.figure(both_recipes.read()).caption
    assert "above" not in both_recipes.table(both_recipes.read()).data


def test_the_paired_difference_of_the_recipes_is_by_seed(outputs):
    """Both spread over seeds alike, so that their difference has no spread."""
    run(CIFAR10, reduced={"margin": 0.5}, poster={"margin": 0.9})
    page = both_recipes.table(both_recipes.read()).data
    assert "+0.40 (+0.40 to +0.40, 5 seeds)" in page


def test_the_figure_has_an_interval_an_arm_and_recipe_of_every_dataset_with_seeds(outputs):
    run(CIFAR10, seeds=4, reduced={"margin": 0.5}, poster={"margin": 0.9})
    both = both_recipes.read()
    shown = both_recipes.figure(both)
    assert "interval over 4 paired seeds, simultaneous" in shown.caption
    for name, title in (("poster", "the poster's recipe"), ("reduced", "the reduced recipe")):
        margin = compare_with_random(both.areas(CIFAR10)[name], "cifar10")["margin"].difference
        assert f"CIFAR-10, margin, {title}: {points(margin)}; " in shown.alt
    assert shown.alt.count("4 seeds)") == 8 and "MNIST" not in shown.alt
    run(MNIST, seeds=3, reduced=ABOVE, poster=ABOVE)
    shown = both_recipes.figure(both_recipes.read())
    assert "3 to 4 paired seeds" in shown.caption and shown.alt.count("MNIST") == 8


@pytest.mark.parametrize(
    ("poster", "c3"), [(CLEAR, "supported"), (CLEAR | {"kmeans": -2.0}, "not supported")]
)
def test_claims_are_judged_under_either_recipe_on_the_same_seeds(outputs, poster, c3):
    for notebook in DATASET_OF:
        run(notebook, seeds=3, reduced=CLEAR, poster=poster)
    both = both_recipes.read()
    rows = both_recipes.verdict_rows(both)
    assert rows["claim"].tolist() == ["C3", "C4", "C5", "C6"] and set(rows["seeds"]) == {"3"}
    verdicts = rows.filter(like="under").iloc[0]
    assert [text.partition(":")[0] for text in verdicts] == [c3, "supported"]
    assert all(" points, p " in text and "for 8 tests (simultaneous" in text for text in verdicts)
    told, _ = both_recipes.verdicts(both)
    other = "C3 is not supported under the poster's recipe and supported under the reduced recipe"
    assert (f"On the seeds of both, {other}; " in told.data) == (c3 != "supported")
    assert told.data.endswith("the same under both.")


def test_a_claim_whose_runs_are_lacking_is_not_judged(outputs):
    """MNIST alone has three seeds under both recipes, and CIFAR-10 two."""
    run(MNIST, seeds=3, reduced=CLEAR, poster=CLEAR)
    run(CIFAR10, seeds=2, reduced=CLEAR, poster=CLEAR)
    both = both_recipes.read()
    under = both_recipes.verdict_rows(both).filter(like="under")
    told = [[text.partition(":")[0] for text in row] for row in under.to_numpy()]
    assert told == [*3 * [2 * ["not judged"]], 2 * ["undecided"]]
    _, _, line = both_recipes.verdicts(both)
    assert line.data == "Missing under both: CIFAR-10 with at least 3 seeds (C3, C4 and C5)."


def test_no_verdict_is_shown_while_no_dataset_has_the_seeds(outputs):
    for notebook in DATASET_OF:
        run(notebook, seeds=2, reduced=CLEAR, poster=CLEAR)
    assert both_recipes.verdicts(both_recipes.read()) == []
    assert len(both_recipes.parts()) == 3


def test_a_verdict_that_all_seeds_of_a_recipe_change_is_told_beside_it(outputs):
    """Seed 3 of the reduced recipe has K-means far below random."""
    for notebook in DATASET_OF:
        run(notebook, seeds=3, reduced=CLEAR, poster=CLEAR)
    profile = PROFILE_OF_RECIPE["reduced"]
    for cell in load_study(profile, MNIST).cells():
        if (cell.arm, cell.seed) == ("kmeans", 3):
            save_finished(Store(profile), cell, lambda *_: {"test_accuracy": 0.3})
    rows = both_recipes.verdict_rows(both_recipes.read()).filter(like="under")
    told = [text.partition(":")[0] for text in rows.iloc[0]]
    assert told == ["supported", "supported (undecided on all its seeds, 5)"]


def test_without_a_seed_of_both_there_is_nothing(outputs):
    for notebook in DATASET_OF:
        save(PROFILE_OF_RECIPE["reduced"], notebook, ABOVE)
    assert both_recipes.parts() == []
