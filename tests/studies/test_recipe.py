import pandas as pd
import pytest

from alutils.paths import ROOT
from alutils.studies.beyond.plan import LADDER
from alutils.studies.choices import recipe
from tests.studies.made_up import heldout


def judged(accuracies: dict[tuple[int, float], tuple[float, float]]) -> pd.DataFrame:
    """Held-out accuracy on MNIST and CIFAR-10 by candidate, the same at every size."""
    candidate = ("epochs", "peak")
    return heldout(candidate, accuracies, dataset=("mnist", "cifar10"), labels=(540, 1490))


def test_the_cheapest_candidate_within_tolerance_is_chosen():
    assert recipe.choose(judged({(10, 1e-3): (96.0, 44.0), (20, 2e-3): (96.2, 44.9)})) == (10, 1e-3)


def test_a_cheap_candidate_that_loses_too_much_on_one_dataset_is_not():
    assert recipe.choose(judged({(10, 1e-3): (96.0, 43.0), (20, 2e-3): (96.2, 44.9)})) == (20, 2e-3)


def test_between_equal_costs_the_more_accurate_one_is_chosen():
    values = {(10, 1e-3): (96.0, 44.5), (10, 2e-3): (96.1, 44.6), (20, 2e-3): (96.2, 44.9)}
    assert recipe.choose(judged(values)) == (10, 2e-3)


def rungs(values: dict[float, tuple[float, float]]) -> pd.DataFrame:
    """Held-out accuracy with 990 and 2,490 labels by SGD's rate, and Adam's, the best of all."""
    pairs = {("sgd", rate): pair for rate, pair in values.items()} | {("adam", 2e-3): (99.0, 99.0)}
    return heldout(("optimiser", "rate"), pairs, labels=(990, 2490))


RUNGS = rungs({0.02: (40.0, 52.0), 0.05: (41.0, 50.0)})


def test_the_rate_of_sgd_is_the_most_accurate_over_both_sizes():
    assert recipe.choose_rate(RUNGS) == 0.02


def test_the_stem_goes_with_the_more_accurate_optimiser():
    assert recipe.choose_optimiser(RUNGS) == "adam"
    worse = RUNGS.assign(accuracy=RUNGS["accuracy"] - 60 * (RUNGS["optimiser"] == "adam"))
    assert recipe.choose_optimiser(worse) == "sgd"


def test_a_rate_at_which_some_training_diverged_is_out():
    lost = (RUNGS["rate"] == 0.02) & (RUNGS["seed"] == 101)
    assert recipe.choose_rate(RUNGS[~lost]) == 0.05


def test_the_ladder_has_the_rate_that_was_chosen():
    text = (ROOT / "docs" / "recipe.md").read_text()
    assert f"**Chosen: rate {LADDER['SGD']['learning_rate']:g} for SGD," in text
    optimiser = {"adam": "Adam", "sgd": "SGD"}[LADDER["3x3 stem"].get("optimiser", "adam")]
    assert f"and {optimiser} for the stem.**" in text


@pytest.mark.parametrize(
    "study", [recipe.candidate_study(10, 1e-3), recipe.rung_study(**LADDER["SGD"])]
)
def test_the_comparisons_use_neither_test_set_nor_seeds_of_kept_runs(study):
    assert not study.test and min(study.seeds) >= 100 and study.heldout_every == study.epochs


def test_the_document_says_what_was_chosen():
    results = judged({(10, 1e-3): (96.0, 44.0), (20, 2e-3): (96.2, 44.9)})
    text = recipe.document(results, RUNGS)
    assert "**Chosen: 10 epochs, peak rate 0.001.**" in text
    assert "quick" not in text
    assert "| epochs | peak rate | CIFAR-10, 540 | CIFAR-10, 1,490 | MNIST, 540 |" in text
    assert "| 20 | 0.002 | 44.90 ± 0.00 |" in text
    assert "| optimiser | rate | 990 labels | 2,490 labels |" in text
    assert "| SGD, cosine | 0.05 | 41.00 ± 0.00 | 50.00 ± 0.00 |" in text
    assert "| Adam, one-cycle | 0.002 | 99.00 ± 0.00 |" in text
    assert "**Chosen: rate 0.02 for SGD, and Adam for the stem.**" in text
    results = judged({(10, 2e-3): (95.0, 44.0), (20, 2e-3): (96.2, 44.9)})
    text = recipe.document(results, RUNGS)
    assert "10 epochs (peak rate 0.002) instead: on average 0.90 points (CIFAR-10)" in text
