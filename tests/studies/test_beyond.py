import re

import pandas as pd
import pytest

from alutils.protocol.arms import CUSTOM_ARMS
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError
from alutils.records import tidy
from alutils.reporting import arm_comparison, statistics
from alutils.reporting.prose import points
from alutils.studies.beyond import ladder, ranking, readme_text
from alutils.studies.beyond.plan import LADDER, BeyondStudy
from tests.studies.made_up import made_up

STUDY = BeyondStudy(
    profile="smoke", datasets=("cifar10",), seeds=(0, 1, 2),
    arms=("random", "margin", "uncertainty"),
    last_labels=1500, recipe_counts=(990,), own_counts=(540, 990, 2490), recipe_epochs=3,
    start_arms=("random", "typiclust"), start_last=60, start_epochs=1, epochs=2,
)  # fmt: skip
GAIN = {"random": 0.0, "margin": 0.02, "uncertainty": 1.0, "typiclust": -1.0}


def accuracy(cell: Cell, labels: int) -> float:
    """Percent; 10 points a thousand labels, and what arm and recipe are worth."""
    at = 40 + labels / 100 + cell.seed
    if labels > cell.first_labels:
        at += GAIN[cell.arm] * (1 + 0.1 * cell.seed * (cell.arm != "margin"))
        at += 0.3 * (cell.arm == "margin") * (-1) ** cell.seed
    rungs = [cell.epochs == 3, cell.augmentation != "none", cell.optimiser == "sgd"]
    return at + 2 * sum(rungs) + 22 * (cell.stem == "3x3")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> pd.DataFrame:
    """The table of made-up records; a test that changes it takes a copy."""
    return made_up(
        STUDY,
        tmp_path_factory,
        lambda cell, labels: {"test_accuracy": accuracy(cell, labels) / 100},
    )


def test_each_rung_has_what_the_rungs_before_it_have_and_none_builds_on_sgd():
    rungs = [s.cell for s in STUDY._recipes(0)]
    own, longer, crops, sgd, stem = rungs
    changes = [
        {k: v for k, v in cell.model_dump().items() if v != getattr(longer, k)} for cell in rungs
    ]
    assert changes[2] == {"augmentation": "crop-flip"}
    assert changes[3] == changes[2] | LADDER["SGD"]
    assert changes[4] == changes[2] | {"stem": "3x3"}
    assert (own.epochs, longer.epochs, own.label_counts) == (2, 3, (540, 990, 2490))


def test_crops_are_left_out_where_images_must_not_be_cut():
    rungs = STUDY.model_copy(update={"recipes_dataset": "mnist"})._recipes(0)
    assert [rung.level for rung in rungs] == ["own", "longer", "SGD", "3x3 stem"]
    assert {rung.cell.augmentation for rung in rungs} == {"none"}


def test_a_strategy_of_ones_own_is_ranked_under_its_source(monkeypatch):
    monkeypatch.setitem(CUSTOM_ARMS, "mine", "0123456789ab")
    study = BeyondStudy.parse(STUDY.model_dump() | {"arms": ["random", "mine"]})
    sources = {each.cell.arm: each.cell.strategy_source for each in study.settings()}
    assert sources["mine"] == "0123456789ab" and sources["random"] == ""


def test_recipes_have_seeds_of_their_own():
    study = STUDY.model_copy(update={"recipe_seeds": (0, 5)})
    seeds = {
        factor: {each.cell.seed for each in study.settings() if each.factor == factor}
        for factor in ("ranking", "recipe", "start")
    }
    assert seeds == {"ranking": {0, 1, 2}, "recipe": {0, 5}, "start": {0, 1, 2}}


def test_the_start_has_the_labels_it_asks_for():
    for setting in STUDY.settings():
        if setting.factor == "start":
            assert setting.cell.schedule_of_labels() == [20, 40, 60]
            assert (setting.cell.batch_size, setting.cell.epochs) == (10, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe_counts": [990, 1000]}, "recipe_counts = .* has 1000, which own_counts lacks"),
        ({"arms": ["margin", "badge"]}, "arms = .* must have random"),
        ({"arms": ["random"]}, "and a strategy to hold against it"),
        ({"arms": ["random", "oracle"]}, "and a strategy to hold against it"),
        ({"start_arms": ["random", "badg"]}, "did you mean 'badge'"),
        ({"start_batch_size": 40}, "start_batch_size = 40 is larger than start_first = 20"),
        ({"start_last": 30}, "start_last = 30 is not start_step = 20 or more above"),
        ({"arms": ["random", "batchbald"]}, "at most 100"),
        ({"start_step": 200, "start_last": 1000}, "start_step = 200 can't be kept up"),
        ({"recipe_epochs": 100}, "recipe_epochs = 100 is not more than epochs = 100"),
        ({"stem": "3x3"}, "stem = '3x3' is what one of the other recipes adds"),
        (
            {"augmentation": "crop-flip", "datasets": ["cifar10"], "start_dataset": "cifar10"},
            "augmentation = 'crop-flip' is what one of",
        ),
        ({"recipe_seeds": [1, 1]}, "recipe_seeds = .*1"),
        ({"start_last": 60000}, "start_last = 60000 is more than the pool of mnist"),
        ({"heldout_every": 2, "start_epochs": 1}, "heldout_every = 2 is more than epochs = 1"),
        ({"reported": "heldout-best", "heldout_every": 1}, "use test or heldout-last"),
    ],
)
def test_what_can_not_be_compared_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        BeyondStudy.parse(values)


def test_the_ranking_goes_by_area_and_is_corrected(results):
    rows = ranking.ranked_rows(results, "ranking", "cifar10")
    assert list(dict.fromkeys(rows["arm"])) == ["uncertainty", "margin", "random"]
    page = ranking.table(results, "ranking", "cifar10").data
    rows = page.split("<tr>")[1:]
    assert "uncertainty" in rows[0] and "<td>2</td>" in rows[0].split("uncertainty")[1]
    assert "baseline" in rows[2]
    assert [row.rsplit("<td>", 1)[1][0] for row in rows] == ["0", "1", "1"]
    text = ranking.sentences(results).data
    assert "540 to 1,406 labels, 3 paired seeds" in text
    assert (
        "margin is equivalent to random within 1 point" in text and "uncertainty lies above" in text
    )
    assert "Holm-corrected for 2 arms" in text and "it is shown to beat margin" in text


def test_an_oracle_is_drawn_last_and_takes_no_part_in_the_ranking(results):
    seeing = results[results["arm"] == "uncertainty"].assign(arm="oracle")
    seeing["accuracy"] += 20
    both = pd.concat([seeing, results])
    rows = ranking.ranked_rows(both, "ranking", "cifar10")
    assert list(dict.fromkeys(rows["arm"])) == ["uncertainty", "margin", "random", "oracle"]
    assert ranking.table(both, "ranking", "cifar10").data == (
        ranking.table(results, "ranking", "cifar10").data
    )
    assert ranking.sentences(both).data == ranking.sentences(results).data


def test_each_dataset_has_a_ranking_of_its_own(results):
    """On the second one the order is turned round."""
    turned = results[results["factor"] == "ranking"].assign(dataset="mnist")
    turned["accuracy"] = 100 - turned["accuracy"]
    both = pd.concat([results, turned])
    for dataset, order in (
        ("cifar10", ["uncertainty", "margin", "random"]),
        ("mnist", ["random", "margin", "uncertainty"]),
    ):
        rows = ranking.ranked_rows(both, "ranking", dataset)
        assert list(dict.fromkeys(rows["arm"])) == order and set(rows["dataset"]) == {dataset}
    lines = ranking.sentences(both, interim=" Interim.").data.splitlines()
    assert "**CIFAR-10**" in lines[0] and "uncertainty lies above random" in lines[0]
    assert "**MNIST**" in lines[1] and "uncertainty lies below random" in lines[1]
    assert lines[2] == lines[4] == "" and lines[5:] == ["Interim."]
    assert lines[3].startswith("With 3 seeds a sign-flip test")
    assert "no p below 0.25 (2/2^3) for a difference or 0.125 (1/2^3) for equi" in lines[3]


def test_what_tests_of_few_seeds_rest_on_is_told_beside_the_largest_family(results):
    assert "sign-flip" in ranking.sentences(results).data
    assert "sign-flip" not in ranking.sentences(results, "start").data
    start = results[(results["factor"] == "start") | (results["arm"] == "random")]
    assert "sign-flip" in ranking.sentences(start, "start").data


def test_what_could_have_been_shown_of_undecided_arms_is_told(results):
    """Of those neither different nor equivalent; corrected for all that are not different."""
    assert "80 % power" not in ranking.sentences(results).data  # margin is shown to be equivalent
    wider = results.copy()
    margin = wider["arm"] == "margin"
    wider.loc[margin, "accuracy"] += 2 * (wider.loc[margin, "seed"] - 1)
    areas = statistics.areas(ranking.ranked_rows(wider, "ranking", "cifar10"))
    expected = statistics.detectable_difference((areas["margin"] - areas["random"]).std(), 3)
    text = ranking.sentences(wider).data
    assert "uncertainty lies above random" in text  # so that one test is left
    assert (
        "neither a difference nor equivalence within 1 point is shown for margin. For these, with "
        f"3 seeds, 80 % power needs a true difference of {expected:.2f} points."
    ) in text


@pytest.mark.parametrize(
    "arms, sentence",
    [
        (("margin",), f"true difference of {statistics.detectable_difference(0.5, 3):.2f} points."),
        (("margin", "coreset"), " to over 100 points, by arm."),
        (("coreset",), "For these, 3 seeds can hardly show any difference."),
    ],
)
def test_a_difference_that_no_accuracy_can_have_is_not_told(arms, sentence):
    """With three seeds a spread of some points asks for more than accuracies can differ."""
    spread = {"random": 0.0, "margin": 0.5, "coreset": 40.0}
    rows = [
        {
            "factor": "ranking", "dataset": "mnist", "arm": arm, "seed": seed,
            "labels": labels, "accuracy": 50.0 + (seed - 1) * spread[arm],
        }
        for arm in ("random", *arms)
        for seed in (0, 1, 2)
        for labels in (540, 980)
    ]  # fmt: skip
    text = ranking.sentences(pd.DataFrame(rows)).data
    assert sentence in text


def test_the_poster_s_arms_stand_beside_their_controls():
    areas = pd.DataFrame({
        "bayesian": [51.0, 52.0, 53.0], "entropy": [50.0, 51.5, 51.5], "kmeans": [50.0, 51.0, 52.0],
        "random": [50.0, 50.0, 50.0],
    })  # fmt: skip
    assert ranking._controls(areas) == (
        "arms compared with their controls, not corrected and deciding nothing: Bayesian minus "
        f"entropy {points(statistics.estimate([1.0, 0.5, 1.5]), '')}."
    )
    assert "K-means minus K-means centres +1.00" in ranking._controls(
        areas.assign(**{"kmeans-centre": [49.0, 50.0, 51.0]})
    )
    assert ranking._controls(areas[["random", "bayesian"]]) == ""


def test_what_decides_nothing_stands_apart_from_what_is_shown(results):
    entropy = results[results["arm"] == "uncertainty"].assign(arm="entropy")
    bayesian = entropy.assign(arm="bayesian", accuracy=lambda rows: rows["accuracy"] + 1)
    text = ranking.secondary(pd.concat([results, entropy, bayesian])).data
    assert text.startswith(
        "In addition to these tests:\n\n- **CIFAR-10**: arms compared with their controls, not "
        "corrected and deciding nothing: Bayesian minus entropy +1.00 ("
    )
    assert "With a spread pooled over all 5 arms" in text
    assert "spread pooled" not in ranking.sentences(results).data
    assert ranking.secondary(results[results["seed"] < 2]).data == ""


def test_without_a_finished_cell_nothing_ranks(results):
    none = tidy.complete_seeds(results.iloc[:0], [])
    assert none.empty and "A test needs 3 seeds" in ranking.sentences(none).data


def test_an_arm_below_random_is_said_to_be(results):
    text = ranking.sentences(results, "start").data
    assert "TypiClust lies below random" in text
    assert "(paired t tests and two one-sided tests of equivalence at 5 %)" in text


def test_an_arm_that_is_asked_for_and_nowhere_finished_leaves_no_ranking(results):
    """The ladder and the start stay, as they lack nothing."""
    there = results[~((results["factor"] == "ranking") & (results["arm"] == "margin"))]
    kept = tidy.complete_seeds(there, STUDY.settings())
    assert set(kept["factor"]) == {"recipe", "start"}
    partly = results[~((results["arm"] == "typiclust") & (results["seed"] == 1))]
    kept = tidy.complete_seeds(partly, STUDY.settings())
    assert set(kept.loc[kept["factor"] == "start", "seed"]) == {0, 2}
    assert set(kept.loc[kept["factor"] == "ranking", "seed"]) == {0, 1, 2}


def test_the_ranking_in_short_says_where_arms_are_shown_to_lie_and_no_more(results, monkeypatch):
    monkeypatch.setattr(tidy, "read_settings", lambda study: results)
    monkeypatch.setattr(readme_text, "interim", lambda study: " Interim.")
    first, _, *lines = readme_text.text(STUDY).split("\n")
    assert "[Its report](../outputs/smoke/07-beyond-the-poster.ipynb)" in first
    assert first.endswith(". Interim.")
    expected = [
        f"- **{title}, 3 paired seeds: {arm_comparison.sentence(statistics.areas(rows), name)}."
        for title, name, rows in (
            ("CIFAR-10**, 540 to 1,406 labels", "cifar10", results[results["factor"] == "ranking"]),
            (
                "MNIST, a start with few labels**, 20 to 60 labels",
                "mnist",
                results[results["factor"] == "start"],
            ),
        )
    ]
    assert lines == expected
    monkeypatch.setattr(tidy, "read_settings", lambda study: results[results["seed"] == 0])
    assert readme_text.text(STUDY).endswith("\nA test needs 3 seeds with every arm.")


def test_seeds_without_every_arm_are_left_out(results):
    short = results[~((results["arm"] == "uncertainty") & (results["seed"] == 2))]
    kept = tidy.complete_seeds(short, STUDY.settings())
    assert set(ranking.ranked_rows(kept, "ranking", "cifar10")["seed"]) == {0, 1}
    assert set(ranking.ranked_rows(kept, "start", "mnist")["seed"]) == {0, 1, 2}


def test_a_rung_is_worth_points_and_labels(results):
    gains = ladder.gains_of(results)
    assert [gain[990].mean() for gain in gains.values()] == pytest.approx([2, 4, 6, 26])
    needed = ladder.labels_of(results, "SGD", 990)
    assert needed.tolist() == pytest.approx([1590.0] * 3)
    assert ladder.labels_of(results, "3x3 stem", 990).isna().all()
    page = ladder.table(results).data
    assert "1,590" in page and "more than 2,490" in page


def test_the_ladder_stands_beside_what_choosing_is_worth(results):
    text = ladder.sentences(results).data
    assert "is worth +26.00 points" in text and "to match it: more than 2,490, on mono" in text
    assert "with uncertainty, the arm with the largest mean there of 2 (" in text
    needed = text.split("that uncertainty needs to match random labels there: ")[1].split()[0]
    assert 540 < int(needed.replace(",", "")) < 1406
    within = results[~results["level"].isin(["3x3 stem"])]
    text = ladder.sentences(within).data
    best = "(“more epochs, crops and flips, SGD”; picked after seeing the results)"
    assert (
        best in text
        and "to match it: 1,590 (" in text
        and text.startswith("On CIFAR-10, 3 of 3 other recipes have a")
    )
    worse = within.copy()
    worse.loc[worse["level"] == "SGD", "accuracy"] -= 30
    chosen = "(“more epochs, crops and flips”; picked after seeing the results)"
    assert chosen in ladder.sentences(worse).data
    assert "On CIFAR-10, 2 of 3 other recipes have a larger mean" in ladder.sentences(worse).data
    worse.loc[worse["level"].isin(["longer", "augmentation"]), "accuracy"] -= 30
    none = "none of 3 other recipes have a larger mean accuracy than this report's at"
    assert none in ladder.sentences(worse).data


def test_a_recipe_that_lacks_a_seed_is_not_chosen(results):
    short = results[~((results["level"] == "3x3 stem") & (results["seed"] == 2))]
    assert "+26.00" in ladder.sentences(results).data
    assert "+6.00" in ladder.sentences(short).data


def test_a_recipe_names_crops_only_where_there_are_any(results):
    for dataset, title in (("cifar10", "more epochs, crops and flips, SGD"),
                           ("mnist", "more epochs, SGD")):  # fmt: skip
        assert ladder.titles(results.assign(dataset=dataset))["SGD"] == title


def test_recipes_are_compared_with_choosing_where_the_ranking_ends(results):
    further = results[(results["factor"] == "recipe") & (results["labels"] == 990)]
    for labels, nearest in ((5000, "990"), (1500, "1,500")):
        text = ladder.sentences(pd.concat([results, further.assign(labels=labels)])).data
        assert f"at {nearest} random labels" in text


def test_a_rung_below_the_smallest_size_is_bounded_from_above(results):
    worse = results.copy()
    worse.loc[worse["level"] == "longer", "accuracy"] -= 30
    assert "at most 540" in ladder.table(worse).data


def costly(results: pd.DataFrame) -> pd.DataFrame:
    """Steps by epochs, and a second a step, but four with the stem."""
    steps = results["labels"] // 64 * results["level"].map({"own": 2}).fillna(3)
    seconds = steps * results["level"].map({"3x3 stem": 4}).fillna(1)
    return results.assign(steps=steps, seconds_train=seconds)


def test_a_recipe_stands_beside_what_it_costs(results):
    """15 steps an epoch at 990 labels: 30 by its own recipe of 2 epochs, 45 by one of 3."""
    table = ladder.table(costly(results), timed=True).data
    (stem,) = (row for row in table.split("<tr>") if "3x3 stem" in row)
    (longer,) = (row for row in table.split("<tr>") if "<td>more epochs</td>" in row)
    assert "<td>45 (1.5)</td>" in stem and "<td>180 (6.0)</td>" in stem
    assert longer.count("<td>45 (1.5)</td>") == 2
    assert "at 1.5 times the steps and 6.0 times the seconds of one worker." in (
        ladder.sentences(costly(results), timed=True).data
    )


def test_times_of_unlike_processors_are_not_compared(results):
    assert "seconds" not in ladder.table(costly(results)).data
    assert "at 1.5 times the steps." in ladder.sentences(costly(results)).data
    untimed = costly(results).assign(seconds_train=float("nan"))
    assert "seconds" not in ladder.table(untimed, timed=True).data


def test_random_may_be_the_best(results):
    worse = results.copy()
    worse.loc[worse["arm"].isin(["margin", "uncertainty"]), "accuracy"] -= worse["seed"] + 1
    text = ranking.sentences(worse).data
    poster = "of the poster's arms, it isn't shown to beat any (corrected for 2 tests"
    assert re.search(
        rf"Random has the largest mean, .* seeds\) above \w+, not corrected; {re.escape(poster)}",
        text,
    )


@pytest.mark.parametrize("kept", ["random", "margin", "typiclust", "own", "longer", "3x3 stem"])
def test_what_is_half_finished_is_told_as_far_as_it_goes(unpainted, results, kept):
    """One arm or rung alone, all but one of them, and all but the last seed of it."""
    here = (results["arm"] == kept) | (results["level"] == kept)
    for some in (results[here], results[~here], results[~(here & (results["seed"] == 2))]):
        rows = tidy.complete_seeds(some, STUDY.settings())
        for show in (
            ladder.figure,
            ladder.table,
            ladder.sentences,
            ranking.sentences,
            ranking.secondary,
        ):
            assert "nan" not in show(rows).data
        shown = [show(rows, "ranking", "cifar10") for show in (ranking.figure, ranking.table)]
        assert not any("nan" in view.data for view in shown)
        ranking.curves(rows, "start", "mnist")


def test_one_seed_has_neither_p_values_nor_wins(results):
    page = ranking.table(results[results["seed"] == 0], "ranking", "cifar10").data
    assert "p (Holm)" not in page and "pairs won" not in page and "one seed, no interval" in page


def test_figures_say_what_they_show(results):
    pages = [ladder.figure(results).data, ranking.figure(results, "ranking", "cifar10").data]
    assert all("<figcaption>" in page and 'alt="' in page for page in pages)
    assert "Learning curves" in ranking.curves(results, "start", "mnist").static.data


def test_equivalence_out_of_reach_of_every_arm_is_a_sentence_and_no_column(results):
    assert "<th>equivalent within 1 point (p)</th>" in (
        ranking.table(results, "ranking", "cifar10").data
    )
    wider = results.copy()
    chosen = wider["arm"].isin(["margin", "uncertainty"])
    wider.loc[chosen, "accuracy"] += 4 * (wider.loc[chosen, "seed"] - 1)
    areas = statistics.areas(ranking.ranked_rows(wider, "ranking", "cifar10"))
    halves = [
        each.high - each.mean for each in statistics.paired_differences(areas, tests=2).values()
    ]
    page = ranking.table(wider, "ranking", "cifar10").data
    assert "equivalent within" not in page and "<th>different (p)</th>" in page
    assert page.startswith(
        "<p>Equivalence to random within 1 point is shown for no arm: the narrowest simultaneous "
        f"interval is ± {min(halves):.2f} points.</p>"
    )


def test_without_runs_it_says_so(outputs):
    nothing = tidy.read_settings(STUDY)
    for show in (ladder.figure, ladder.sentences, ladder.table):
        assert show(nothing).data == ladder.NOTHING
    for show in (ranking.figure, ranking.curves, ranking.table):
        assert show(nothing, "start", "mnist").data == "On MNIST no seed has every arm yet."
    assert "needs 3 seeds" in ranking.sentences(nothing).data
    assert ranking.secondary(nothing).data == ""
