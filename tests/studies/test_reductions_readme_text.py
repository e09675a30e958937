"""What README and the guide tell of both recipes, from records that were never trained."""

import pytest

from alutils.protocol.cell import Cell
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CIFAR10, DATASET_OF, MNIST, PROFILE_OF_RECIPE
from alutils.studies.reductions import both_recipes, readme_text
from alutils.studies.reductions.plan import ReductionsStudy
from tests.studies.test_both_recipes import ABOVE, CLEAR, run


@pytest.fixture
def study() -> ReductionsStudy:
    """As if 08 were of the profile that has the reduced recipe."""
    reduced = {"profile": PROFILE_OF_RECIPE["reduced"]}
    return load_study("desktop", "08-reductions").model_copy(update=reduced)


def arms(recipe: str) -> list[Cell]:
    return load_study(PROFILE_OF_RECIPE[recipe], CIFAR10).cells()


def run_both(seeds: int, poster: dict[str, float]) -> None:
    for notebook in DATASET_OF:
        run(notebook, seeds=seeds, reduced=CLEAR, poster=poster)


def test_without_runs_under_the_poster_s_recipe_the_verdicts_are_open(outputs, study):
    (told,) = readme_text.recipe_paragraphs(study)
    assert told.startswith("02 and 03, on which C3 to C6 are judged, use the reduced")
    open_ = "verdicts on C3, C4, C5 and C6 depend on the recipe is open until 3 seeds are complete"
    assert f"{open_} under both on CIFAR-10 and MNIST ([plan]" in told
    assert readme_text.on_recipe(arms("reduced")) == (
        "All verdicts rest on bf16 (poster: fp32), C3 to C6 also on 20 epochs per training with a "
        "one-cycle schedule (poster: 100, constant) and 16 trainings per arm (poster: 150)."
    )
    in_fp32 = [cell.model_copy(update={"precision": "fp32"}) for cell in arms("reduced")]
    assert readme_text.on_recipe(in_fp32).startswith("C3 to C6 rest on 20 epochs")
    assert readme_text.recipe_paragraphs(study.model_copy(update={"profile": "quick"})) == []
    (told,) = readme_text.recipe_paragraphs(
        study.model_copy(update={"profile": PROFILE_OF_RECIPE["poster"]})
    )
    assert told.startswith("02 and 03, on which C3 to C6 are judged, use the poster's r")


def test_one_dataset_alone_tells_of_its_curves_and_of_no_verdict(outputs, study):
    run(MNIST, seeds=3, reduced=ABOVE, poster=ABOVE)
    (told,) = readme_text.recipe_paragraphs(study)
    assert "on MNIST, on the 3 seeds that are complete under both, the same is shown of" in told
    assert "complete under both on CIFAR-10 ([plan]" in told and "Does a verdict" not in told
    assert "Whether the verdicts on C3, C4 and C5 depend on the recipe is open" in told


@pytest.mark.parametrize(
    ("poster", "differ", "c3"),
    [
        (CLEAR, "none depends on", "supported"),
        (CLEAR | {"kmeans": -2.0}, "that on C3, C4 and C6 depends on", "not supported"),
    ],
)
def test_verdicts_stand_side_by_side_from_three_seeds_on(outputs, study, poster, differ, c3):
    run_both(3, poster)
    _, sentence, table = readme_text.recipe_paragraphs(study)
    agree = both_recipes.agreement(both_recipes.read())
    assert f"complete under both, {agree}. C1 and C2 rest on 01" in sentence
    assert sentence.endswith(readme_text.INTERIM)  # CIFAR-10 ends with five seeds
    head, _, first, *_ = table.splitlines()
    assert head == "| claim | under the poster's recipe | seeds | under the reduced recipe |"
    assert first.startswith(f"| C3 | {c3}: CIFAR-10, ")
    assert " points, p " in first and "| 3 | supported: CIFAR-10, " in first
    assert readme_text.on_recipe(arms("reduced")).endswith(
        f"; on the seeds of both recipes {differ} the recipe so far ([results](docs/results.md))."
    )


def test_at_the_planned_end_nothing_is_interim(outputs, study):
    """Which is five seeds on CIFAR-10 and three on MNIST."""
    run_both(5, CLEAR)
    told = readme_text.recipe_paragraphs(study)
    assert readme_text.INTERIM not in " ".join(told)
    assert readme_text.on_recipe(arms("reduced")).endswith(
        "; on the seeds of both recipes none depends on the recipe ([results](docs/results.md))."
    )


def test_the_seeds_on_which_the_recipes_are_compared_are_told(outputs, study):
    """Three of the five that the reduced recipe has: a guide quotes all of these elsewhere."""
    run_both(3, CLEAR)
    for told in ("CIFAR-10", "MNIST"):
        start = (
            f"Over the whole range of labels on {told}, on the 3 seeds that are complete under both"
        )
        assert f"{start}, the same is shown" in readme_text.recipe_paragraphs(study)[0]
    assert "; on the seeds of both recipes" in readme_text.on_recipe(arms("reduced"))


def test_two_seeds_judge_nothing(outputs, study):
    run_both(2, CLEAR)
    assert len(readme_text.recipe_paragraphs(study)) == 1


def test_what_the_runs_have_less_than_the_poster_s_is_computed(outputs, study):
    (bullet,) = readme_text.scope_bullets(study, arms("reduced")).splitlines()
    assert bullet == (
        "- Scope of C3 to C6: 02 and 03 have 20 epochs per training with a one-cycle schedule "
        "(poster: 100, constant), 16 trainings per arm (poster: 150), bf16 (poster: fp32) and "
        "0.98 % of the remaining pool labelled per round (poster: 0.1 %)."
    )
    assert "epochs" not in readme_text.scope_bullets(study, arms("poster"))
    whole = load_study("poster", CIFAR10).cells()
    assert readme_text.scope_bullets(study, whole) == readme_text.on_recipe(whole) == ""
