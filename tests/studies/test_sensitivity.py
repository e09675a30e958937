import pandas as pd
import pytest

from alutils.protocol.cell import Cell
from alutils.records import tidy
from alutils.studies.sensitivity import effects
from alutils.studies.sensitivity.plan import SensitivityStudy
from tests.studies.made_up import made_up

STUDY = SensitivityStudy(
    profile="smoke", datasets=("digits",), seeds=(0, 1, 2), dropouts=(0.25, 0.5), passes=(1, 20),
    cluster_counts=(6, 12), acquisition_fractions=(0.1, 0.05), acquisition_fraction=0.05,
    first_labels=128, last_labels=230, epochs=1,
)  # fmt: skip
GAIN = {"random": 0.0, "bayesian": 2.0, "entropy": 1.5, "margin": 3.0, "kmeans": 1.0}


def accuracy(cell: Cell, seed: int, labels: int) -> float:
    """Share; K-means is the better for more clusters, Bayesian for more passes and dropout."""
    gain = GAIN[cell.arm] * (labels > 128)
    gain += 0.1 * (cell.clusters - 12) * (cell.arm == "kmeans") * (labels > 128)
    return (50 + seed + gain + 0.01 * (labels - 128)) / 100


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> pd.DataFrame:
    """The table of made-up records; a test that changes it takes a copy."""
    return made_up(
        STUDY,
        tmp_path_factory,
        lambda cell, labels: {"test_accuracy": accuracy(cell, cell.seed, labels)},
    )


def test_a_cell_stands_under_every_setting_that_it_serves(results):
    served = results.groupby(["factor", "arm", "level"])["seed"].nunique()
    assert (served == 3).all()
    assert set(served.index.get_level_values("factor")) == set(effects.FACTORS)
    assert {("clusters", "random", ""), ("passes", "random", "")} <= set(served.index)


def test_gains_are_paired_with_random_at_the_same_level(results):
    by_factor = {
        factor: {(arm, level): gain for _, arm, level, gain in effects.gains(results, factor)}
        for factor in effects.FACTORS
    }
    assert set(by_factor["dropout"]) == {("bayesian", 0.25), ("bayesian", 0.5)}
    assert set(by_factor["passes"]) == {
        ("bayesian", 1), ("bayesian", 20), ("entropy", "no dropout when scoring"),
    }  # fmt: skip
    assert set(by_factor["acquisition"]) == {("margin", 0.1), ("margin", 0.05)}
    few, many = by_factor["clusters"]["kmeans", 6], by_factor["clusters"]["kmeans", 12]
    assert few.index.tolist() == many.index.tolist() == [0, 1, 2]
    assert (many - few).to_numpy() == pytest.approx(0.6 * many.to_numpy() / 1.0)


def test_areas_end_where_the_shortest_curve_does(results):
    """All curves rise by 0.01 a label: with equal ends, random's areas are equal in any steps."""
    areas = effects.areas(results, "acquisition")
    assert areas["random", 0.1].to_numpy() == pytest.approx(areas["random", 0.05].to_numpy())
    assert areas["random", 0.1].to_numpy() == pytest.approx([50.565, 51.565, 52.565], abs=0.05)


def test_what_is_said_is_what_was_found(results):
    text = effects.sentences(results, "clusters").data
    assert "**digits**: the largest mean difference from random is that of 12, +" in text
    page = effects.figure(results, "acquisition").data
    assert "share of the remaining pool labelled at a time" in page and "3 seeds" in page
    assert "clusters: 2 of 2" in effects.answer(results).data
    few = results[results["seed"] < 2].assign(dataset="mnist")
    both = effects.answer(pd.concat([results, few])).data
    assert both == effects.answer(results).data and "MNIST" not in both


@pytest.mark.parametrize(("lost", "told"), [(1, "2 seeds have"), (2, "1 seed has")])
def test_below_three_seeds_no_level_is_compared_and_figure_and_text_have_the_same(
    results, lost, told
):
    """One level lacks seeds, so that these count at no level."""
    gone = (results["arm"] == "kmeans") & (results["level"] == 6) & (results["seed"] < lost)
    short = results[~gone]
    text = effects.sentences(short, "clusters").data
    assert text == f"- **digits**: {told} every level, and a comparison needs 3."
    page = effects.figure(short, "clusters").data
    few = "of 2 paired seeds, hollow: fewer than 3 seeds, no interval; beside it one dot per seed"
    assert (few in page) == (lost == 1) == ("(2 seeds, no interval)" in page)
    assert "t interval" not in page
    assert "clusters" not in effects.answer(short).data
    assert "dropout rate: 2 of 2" in effects.answer(short).data


def test_the_poster_level_is_compared_with_the_best(results):
    better = results.copy()
    better.loc[(better["arm"] == "kmeans") & (better["level"] == 6), "accuracy"] += 5
    text = effects.sentences(better, "clusters").data
    assert "that of 6, +" in text and "6 minus 12: +4.55" in text


def test_every_level_is_compared_with_the_poster_even_where_that_is_the_best(results):
    text = effects.sentences(results, "clusters").data
    assert "that of 12, +" in text and "6 minus 12: -0.45" in text


def test_levels_of_passes_and_of_steps_are_held_against_the_poster_s_too(results):
    assert "; 1 minus 20: " in effects.sentences(results, "passes").data
    steps = results[results["factor"] == "acquisition"].replace({"level": {0.1: 0.01, 0.05: 0.001}})
    assert "; 1 % minus 0.1 %: " in effects.sentences(steps, "acquisition").data


def test_steps_are_told_arm_by_arm(results):
    text = effects.sentences(results, "acquisition").data
    assert text.startswith(
        "- **digits, margin**: the largest mean difference from random is that of "
    )
    assert "margin," not in text


def test_areas_are_on_the_same_label_counts():
    """A curve that bends has another area in larger steps, which says nothing of the steps."""
    curve = {100: 90.0, 150: 99.0, 200: 100.0}
    rows = [
        {"factor": "acquisition", "dataset": "digits", "record": level, "seed": 0, "arm": "random",
         "level": level, "labels": labels, "accuracy": curve[labels]}
        for level, step in ((0.1, 100), (0.05, 50))
        for labels in range(100, 201, step)
    ]  # fmt: skip
    areas = effects.areas(pd.DataFrame(rows), "acquisition")
    assert areas["random", 0.1].item() == areas["random", 0.05].item() == pytest.approx(95)


def test_without_runs_it_says_so(outputs):
    nothing = tidy.read_settings(STUDY)
    assert "No setting has 3 seeds yet" in effects.answer(nothing).data
    assert "No seed has every level yet (clusters)." == effects.figure(nothing, "clusters").data
    assert "yet (dropout rate)" in effects.sentences(nothing, "dropout").data
