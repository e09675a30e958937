import pandas as pd

from alutils import recipe


def judged(values: dict[tuple[int, float], tuple[float, float]]) -> pd.DataFrame:
    """Held-out accuracy on MNIST and CIFAR-10 by candidate, the same at every size and seed."""
    rows = [
        {"dataset": dataset, "epochs": epochs, "peak": peak, "labels": labels, "seed": seed,
         "accuracy": accuracy}
        for (epochs, peak), pair in values.items()
        for dataset, accuracy in zip(("mnist", "cifar10"), pair, strict=True)
        for labels in (540, 1490)
        for seed in (100, 101)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_cheapest_candidate_within_tolerance_is_chosen():
    assert recipe.choose(judged({(10, 1e-3): (96.0, 44.0), (20, 2e-3): (96.2, 44.9)})) == (10, 1e-3)


def test_a_cheap_candidate_that_loses_too_much_on_one_dataset_is_not():
    assert recipe.choose(judged({(10, 1e-3): (96.0, 43.0), (20, 2e-3): (96.2, 44.9)})) == (20, 2e-3)


def test_between_equal_costs_the_more_accurate_one_is_chosen():
    values = {(10, 1e-3): (96.0, 44.5), (10, 2e-3): (96.1, 44.6), (20, 2e-3): (96.2, 44.9)}
    assert recipe.choose(judged(values)) == (10, 2e-3)


def test_the_comparison_uses_neither_test_set_nor_seeds_of_kept_runs():
    plan = recipe.candidate(10, 1e-3)
    assert not plan.test and min(plan.seeds) >= 100 and plan.heldout_every == plan.epochs


def test_the_document_says_what_was_chosen():
    text = recipe.document(judged({(10, 1e-3): (96.0, 44.0), (20, 2e-3): (96.2, 44.9)}))
    assert "**Chosen: 10 epochs, peak rate 0.001.**" in text
    assert "quick" not in text
    text = recipe.document(judged({(10, 2e-3): (95.0, 44.0), (20, 2e-3): (96.2, 44.9)}))
    assert "10 epochs (peak rate 0.002) instead: on average 0.90 points (CIFAR-10)" in text
    assert "| 20 | 0.002 | 44.90 ± 0.00 |" in text
