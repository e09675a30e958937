"""The two recipes under which the poster's Figures 3 and 4 are run, and where their records lie."""

CIFAR10, MNIST = "02-cifar10-active-learning", "03-mnist-active-learning"
DATASET_OF = {CIFAR10: "cifar10", MNIST: "mnist"}
"""By notebook of these figures, its dataset."""
RECIPES = ("poster", "reduced")
"""The two recipes, in the order in which reports show them."""
PROFILE_OF_RECIPE = {"reduced": "desktop", "poster": "poster-recipe"}
"""By recipe, the profile whose arms chose under it; all comparisons of the two use this."""
STRONG_PROFILE, ROUNDS_PROFILE = "strong-recipe", "poster-rounds"
"""The profiles of a stronger recipe, and of the poster's 150 rounds."""
TITLES = {
    "poster": "the poster's recipe",
    "reduced": "the reduced recipe",
    "strong": "the strong recipe",
    "head": "the head on pretrained features",
}
"""By recipe, its name in texts; the last two train only on labels of the others."""


def recipe_of(profile: str) -> str:
    """The recipe of a profile's Figures 3 and 4; empty if it is neither of the two."""
    return next((recipe for recipe, name in PROFILE_OF_RECIPE.items() if name == profile), "")
