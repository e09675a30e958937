"""The poster's recipe and the reduced one: two, each where it is said to lie."""

import pytest

from alutils.studies import recipes
from alutils.studies.profiles import load_study, protocol_of


@pytest.mark.parametrize("notebook", recipes.DATASET_OF)
def test_the_profiles_of_the_two_recipes_differ_in_the_recipe_alone(notebook):
    """So that no comparison of the two is one of a recipe with itself."""
    poster, reduced = (
        protocol_of(recipes.PROFILE_OF_RECIPE[name], notebook) for name in ("poster", "reduced")
    )
    fields = load_study("desktop", "08-reductions").reduced_recipe
    assert {key: value for key, value in reduced.items() if value != poster[key]} == fields
    (full,) = {load_study("poster", notebook).epochs}
    assert poster["epochs"] == full != reduced["epochs"]


def test_a_profile_s_recipe_is_told_by_its_name():
    assert [recipes.recipe_of(name) for name in recipes.PROFILE_OF_RECIPE.values()] == list(
        recipes.PROFILE_OF_RECIPE
    )
    assert recipes.recipe_of("quick") == ""
