"""The trainings of ``python -m alutils ceiling``: on every label of the pool, by either recipe.

Kept apart from what reports read about them, so that no report depends on this module.
"""

from alutils.running import run
from alutils.studies.profiles import protocol_of
from alutils.studies.recipes import CIFAR10, PROFILE_OF_RECIPE
from alutils.studies.training_size.ceiling import CeilingStudy


def studies() -> list[CeilingStudy]:
    """A study for each recipe of 02, which 03 shares."""
    recipes = (protocol_of(name, CIFAR10) for name in PROFILE_OF_RECIPE.values())
    return [CeilingStudy.parse(recipe, "ceiling") for recipe in recipes]


def main() -> None:
    """Run what is missing."""
    run.run_all(studies())
