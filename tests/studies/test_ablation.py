import numpy as np
import pandas as pd
import pytest

from alutils.studies.claims import ablation, ablation_page
from alutils.studies.claims.ablation import VARIANTS, AblationStudy

EFFECT = {
    ("random", "random"): 0.0,
    ("margin", "margin"): 1.0,
    ("bayesian", "bayesian"): 0.8,
    ("random without dropout", "random"): -0.3,
    ("bayesian without dropout", "bayesian"): 0.4,
    ("random, Adam carried", "random"): 0.5,
    ("arms in sequence", "margin"): 1.7,
    ("arms in sequence", "uncertainty"): 2.0,
}
"""Points over the random variant on the test set."""


def made_up(seeds: int = 3, best: float = 0.6, heldout: float = 0.25) -> pd.DataFrame:
    """Records in which every switch has a known effect, the same in every seed."""
    rows = [
        {
            "dataset": "mnist", "seed": seed, "labels": labels, "variant": variant, "arm": arm,
            "test_accuracy": (90 + seed + effect) / 100,
            "heldout_last": (90 + seed + effect + heldout) / 100,
            "heldout_best": (90 + seed + effect + heldout + best * (1 + (effect > 1.5))) / 100,
        }
        for labels in (540, 1490)
        for (variant, arm), effect in EFFECT.items()
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_switch_has_the_effect_that_was_put_in():
    effects = {(e.labels, e.what): e.estimate for e in ablation.effects(made_up())}
    assert {effect.seeds for effect in effects.values()} == {3}
    means = {key: effect.mean for key, effect in effects.items()}
    assert means == pytest.approx(
        {
            (540, "no dropout"): -0.3,
            (540, "Adam carried from another arm"): 2.0,
            (1490, "no dropout"): -0.3,
            (1490, "Adam carried from the round before"): 0.5,
            (1490, "choosing by margin"): 1.0,
            (1490, "choosing by margin, Adam carried"): 1.2,
            (1490, "choosing by MC-dropout entropy"): 0.8,
            (1490, "choosing by a score that is only rounding noise"): 0.7,
        }
    )


def test_the_evaluation_is_described_by_seed():
    best, heldout = ablation.evaluation(made_up(), "mnist")
    assert best.tolist() == pytest.approx([0.6] * 3)
    assert heldout.tolist() == pytest.approx([0.25] * 3)
    text = ablation_page.answer(made_up()).data
    assert "minus its last is +0.60 points (+0.60 to +0.60 by seed, 3 seeds);" in text
    assert "which has other images, is +0.25 points (+0.25 to +0.25 by seed, 3 seeds)." in text
    assert "is +0.60 points (one seed)" in ablation_page.answer(made_up(seeds=1)).data


def test_the_parts_add_up_to_the_difference_as_the_authors_measure_it():
    noisy = made_up()
    rng = np.random.default_rng(0)
    for column in ("test_accuracy", "heldout_best"):
        noisy[column] += rng.normal(0, 0.01, len(noisy))
    whole, *shares = (part.mean for part in ablation.contributions(noisy, "mnist").values())
    assert whole == pytest.approx(sum(shares))
    parts = ablation.contributions(made_up(), "mnist")
    exact = {what: part.mean for what, part in parts.items()}
    assert exact == pytest.approx(
        {
            "as the authors measure it": 2.3,
            "choosing labels": 1.0,
            "optimiser state": 0.7,
            "evaluation": 0.6,
        }
    )


def test_every_variant_is_one_switch_away_from_the_posters_protocol():
    study = AblationStudy(datasets=("mnist",), seeds=(0,))
    cells = {key.split("/")[0]: cell for key, cell in study.variants().items()}
    assert set(cells) == set(VARIANTS) and len(study.cells()) == len(VARIANTS)
    base = cells["random"]
    assert base.epochs == 100 and base.schedule == "constant" and base.heldout_every == 10
    assert all(cell.schedule_of_labels() == [540, 1490] for cell in cells.values())
    for name, (arm, changes) in VARIANTS.items():
        assert cells[name] == base.model_copy(update={"arm": arm} | changes)


def test_what_is_said_is_what_was_found():
    results = made_up()
    random = results["variant"] == "random"
    results.loc[random, "test_accuracy"] *= 1 + results["seed"] / 100
    assert "standard deviation of 1.00 points" in ablation_page.answer(results).data
    text = ablation_page.answer(made_up()).data
    assert "Of these, shown to differ from zero, not corrected: choosing labels, optimiser" in text
    assert "Of the 8 effects of a single change, by label count, 8 have an interval that" in text
    assert "excludes zero: no dropout at 540 labels -0.30" in text
    assert "one or more intervals would exclude zero by chance in up to about 34 % of" in text
    assert "evaluation (what judging both by their best adds to the difference) +0.60 (" in text
    assert "**MNIST** at 1,490 labels" in text
    assert "is +2.30 points (+2.30 to +2.30, 3 seeds)" in text
    assert "choosing labels +1.00 (+1.00 to +1.00, 3 seeds)" in text
    assert (
        "margin 98.38 % at 1,485 labels, random labels (Figure 2) 97.25 % at 1,490, a difference "
        "of +1.13 points."
    ) in text
    cifar10 = ablation_page.answer(made_up().assign(dataset="cifar10")).data
    assert "margin 44.70 % at 1,495 labels" in cifar10 and "difference of +0.46 points." in cifar10
    moved = made_up().assign(labels=lambda rows: rows["labels"] + 300)
    assert "Published" not in ablation_page.answer(moved).data  # nothing was published there
    page = ablation_page.figure(made_up()).data
    assert "MNIST at 540 labels, Adam carried from another arm: +2.00 points" in page
    assert "rounding noise" in ablation_page.table(made_up()).data


def test_two_seeds_are_told_without_a_test():
    two = made_up(seeds=2)
    text = ablation_page.answer(two).data
    assert "is +2.30 points (2 seeds, no interval)" in text
    assert "shown to differ" not in text and "by chance" not in text
    for page in (ablation_page.figure(two).data, ablation_page.table(two).data):
        assert "(2 seeds, no interval)" in page and "2 seeds)" not in page


def test_without_runs_it_says_how_to_make_them(outputs):
    nothing = ablation.results(AblationStudy())
    for show in (ablation_page.answer, ablation_page.figure, ablation_page.table):
        assert "`.venv/bin/python -m alutils ablation`" in show(nothing).data
