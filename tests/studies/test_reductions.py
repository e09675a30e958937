import pandas as pd
import pytest

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError
from alutils.records import tidy
from alutils.reporting import published
from alutils.reporting.statistics import Estimate
from alutils.studies.profiles import load_study
from alutils.studies.reductions import comparisons, published_curves
from alutils.studies.reductions.plan import ReductionsStudy
from alutils.studies.sensitivity import effects
from tests.studies.made_up import made_up

STUDY = ReductionsStudy(
    profile="smoke", datasets=("mnist",), seeds=(0, 1, 2), label_counts=(540, 1240, 1990),
    arms_dataset="mnist", last_labels=1600, epochs=2, heldout_every=1, reduced_epochs=1,
)  # fmt: skip
THEIRS = published.training_size().set_index(["dataset", "labels"])["accuracy"]


def accuracy(cell: Cell, labels: int) -> float:
    """Test accuracy in percent, by rules that the tests below know."""
    at = 90 + labels / 1000 + 0.1 * cell.seed
    if cell.schedule == "one-cycle":
        at -= 0.5 * (labels > 540)
    if cell.arm != "random" and labels > 540:
        at += {"margin": 2.0, "uncertainty": 1.0}[cell.arm]
        at -= 0.5 * (cell.schedule == "one-cycle")
    return at


def heldout(cell: Cell, labels: int) -> float:
    """Best held-out accuracy: the published one plus 0.2, and 0.4 where Adam is carried.

    Margin is worth 1.2 more, and half of that with the reduced recipe.
    """
    theirs = THEIRS.get(("mnist", labels), 96.0)
    margin = 1.2 if cell.arm == "margin" and labels > 540 else 0.0
    margin /= 1 + (cell.schedule == "one-cycle")
    return theirs + 0.2 + 0.1 * cell.seed + 0.4 * (cell.adam_state == "rounds") + margin


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> pd.DataFrame:
    """The table of made-up records; a test that changes it takes a copy."""
    return made_up(
        STUDY,
        tmp_path_factory,
        lambda cell, labels: {
            "heldout_accuracy": [heldout(cell, labels) / 100, 0.5],
            "test_accuracy": accuracy(cell, labels) / 100,
        },
    )


def test_the_poster_s_own_trainings_are_those_of_the_first_notebook():
    """So that the two notebooks of a profile share them."""
    study, first = load_study("desktop", "08-reductions"), load_study("desktop", "01-training-size")
    shared = {s.cell.name for s in study.settings()
           if s.level in ("fresh", "poster") and s.factor != "picks"}  # fmt: skip
    assert shared == {cell.name for cell in first.cells() if cell.seed in study.seeds}


def test_a_cell_differs_from_its_counterpart_in_what_is_varied_alone():
    cells: dict = {}
    for setting in STUDY.settings():
        cell = setting.cell
        key = (setting.factor, cell.dataset, cell.arm, cell.seed)
        cells.setdefault(key, []).append(cell.model_dump())
    reduced = {"epochs", "schedule", "learning_rate"}
    varied = {
        "optimiser": {"adam_state", "figure"},
        "recipe": reduced | {"figure"},
        "picks": reduced,
        "acquisition": {"acquisition_fraction", "rounds"},
    }
    for (factor, *_), pair in cells.items():
        if factor in varied:
            first, second = pair
            assert {key for key in first if first[key] != second[key]} == varied[factor]


def test_the_piece_of_the_authors_protocol_departs_as_their_code_does():
    pieces = [s.cell for s in STUDY.settings() if s.factor == "replica"]
    assert {cell.arm for cell in pieces} == {"uncertainty", "random"}
    for cell in pieces:
        assert (cell.seed, cell.adam_state, cell.dropout) == (42, "rounds", 0.0)
        assert cell.schedule_of_labels()[:3] == [540, 593, 646]


def test_the_guide_has_nearness_in_half_a_sentence(results):
    short = published_curves.short(results)
    assert "(near: a mean within 0.5 on MNIST): on MNIST +0.30 points" in short
    assert "with fresh Adam (near by the mean) and" in short
    assert short.endswith("with carried Adam (not near by the mean)")
    assert published_curves.short(results[:0]) == ""


def test_nearness_is_the_mean_signed_difference_by_their_rule_from_the_settled_sizes(results):
    means = {level: mean for _, level, _, mean in published_curves.nearness(results)}
    assert means["fresh"].mean == pytest.approx(0.3) and means["fresh"].seeds == 3
    assert means["carried"].mean == pytest.approx(0.7)
    text = published_curves.sentences(results).data
    assert "fixed beforehand: 0.5 on MNIST" in text
    fresh, carried = (line for line in text.splitlines() if line.startswith("- "))
    assert fresh.startswith("- **MNIST, fresh Adam**: +0.30 points")
    more = "mean within 0.5, interval only in part"
    assert f"labels: {more}" in fresh
    assert carried.startswith("- **MNIST, carried Adam**: +0.70 points")
    less = "mean not within 0.5, interval only in part"
    assert f"labels: {less}" in carried
    assert published_curves._nearness_in_words(
        Estimate(-2.23, -3.47, -0.99, 3), 1.0
    ) == less.replace("0.5", "1")
    assert published_curves._nearness_in_words(Estimate(0.1, -0.57, 0.77, 3), 0.5) == more
    assert (
        published_curves._nearness_in_words(Estimate(0.1, -0.4, 0.5, 3), 0.5)
        == "near, with the entire interval"
    )
    assert published_curves._nearness_in_words(Estimate(-0.9, -1.2, -0.6, 3), 0.5).startswith(
        "not near, with the entire"
    )
    assert "carried minus fresh is +0.40 points" in published_curves.state_sentences(results).data
    assert "interval only in part; at 540 labels +0.30" in text


def test_nearness_is_judged_from_the_second_size_by_the_line_of_each_dataset(results):
    far = results.copy()
    far.loc[far["labels"] == 1240, "heldout_best"] += 0.03
    means = {level: mean for _, level, _, mean in published_curves.nearness(far)}
    assert means["fresh"].mean == pytest.approx(0.3 + 3 / 2)
    text = published_curves.sentences(pd.concat([far, far.assign(dataset="cifar10")])).data
    assert "fixed beforehand: 0.5 on MNIST and 1 on CIFAR-10" in text
    assert text.count("mean over 2 sizes from 1,240 to 1,990 labels") == 4
    assert text.count("; at 540 labels") == 4


def test_the_recipe_is_worth_what_it_changes_at_equal_sizes(results):
    gains = comparisons.recipe_gains(results, "mnist")
    assert gains.shape == (3, 3)
    assert gains.mean().tolist() == pytest.approx([0.0, -0.5, -0.5])
    text = comparisons.recipe_sentences(results).data
    assert "-0.33 points" in text and "excludes zero at 1,240 and 1,990 labels" in text
    assert text.startswith("The recipe matters on random labels of MNIST, judged by the mean over")


@pytest.mark.parametrize(("seeds", "told"), [(1, "one seed"), (2, "2 seeds")])
def test_what_one_or_two_seeds_show_is_told_without_a_test(results, seeds, told):
    few = results[results["seed"] < seeds]
    text = comparisons.recipe_sentences(few).data
    assert text.startswith("Nothing is tested with fewer than 3 seeds.")
    assert f"({told}, no interval) on average over 3 sizes from" in text and "exclude" not in text
    text = comparisons.picks_sentences(few).data
    assert f"a difference of -0.50 points ({told}, no interval)" in text and "undecided" not in text
    for figure in (comparisons.recipe_figure(few).data, comparisons.picks_figure(few).data):
        assert f"({told}, no interval)" in figure and " to +" not in figure


def test_what_margin_is_worth_is_compared_between_recipes(results, monkeypatch):
    gains = comparisons.pick_gains(results, "mnist")
    assert gains["poster"].mean().tolist() == pytest.approx([2.0, 2.0])
    assert gains["reduced"].mean().tolist() == pytest.approx([1.5, 1.5])
    text = comparisons.picks_sentences(results).data
    means = "- On MNIST, margin minus random (mean over 2 label counts from 1,063 to 1,581) is +2."
    assert text.startswith(means) and "At 1,581 labels it is +2.00 points" in text
    assert text.count("a difference of -0.50 points") == 2 and "undecided" not in text
    monkeypatch.setattr(comparisons, "QUOTED_LABELS", 1000)
    assert "At 1,063 labels it is" in comparisons.picks_sentences(results).data


def test_trainings_that_end_in_a_dip_are_counted(results):
    """Of the poster's recipe, and of the label counts and seeds that the gain is of."""
    dipped = results.assign(heldout_last=results["heldout_best"])
    picks = (results["factor"] == "picks") & (results["seed"] == 0)
    for labels, level, depth in (
        (1581, "poster", 0.011), (1063, "poster", 0.009), (540, "poster", 0.02),
        (1581, "reduced", 0.02), (1063, "reduced", 0.02),
    ):  # fmt: skip
        here = picks & (results["labels"] == labels) & (results["level"] == level)
        dipped.loc[here, "heldout_last"] -= depth
    text = comparisons.picks_sentences(dipped).data
    dips = (
        "2 of 12 trainings under the poster's recipe and 4 of 12 under the reduced recipe end more "
        "than 1 point below their best"
    )
    assert dips in text
    best = "by that evaluation, margin minus random over the same label counts is +1.20 points"
    assert f"{best} (+1.20 to +1.20, 3 seeds) under the poster's recipe and " in text
    short = dipped[~((dipped["level"] == "reduced") & (dipped["seed"] == 0))]
    assert "0 of 8 trainings under the poster's recipe" in comparisons.picks_sentences(short).data


def test_the_replica_stands_beside_the_published_curve_where_both_have_labels(results):
    text = published_curves.replica_sentences(results).data
    assert text.count("\n") == 0 and "**MNIST, uncertainty**" in text
    assert "against 91.83 % at 540" in text and "against 97.77 % at 1,069" in text
    ours = comparisons.by_size(results, "heldout_best", factor="replica", arm="uncertainty")
    theirs = published.active_learning("mnist")
    theirs = theirs[theirs["arm"] == "uncertainty"].set_index("labels")["accuracy"]
    apart = (ours - theirs).dropna(axis=1).iloc[0].mean()
    assert f"labels; {apart:+.2f} points" in text


def test_figures_say_what_they_show(results):
    for page in (
        published_curves.figure(results),
        published_curves.replica_figure(results),
        comparisons.recipe_figure(results),
        comparisons.picks_figure(results),
    ):
        assert "<figcaption>" in page.data and 'alt="' in page.data


def test_without_runs_it_says_so(outputs):
    nothing = tidy.read_settings(STUDY)
    assert "both states yet" in published_curves.state_sentences(nothing).data
    for show in (
        published_curves.figure, published_curves.sentences,
        published_curves.replica_figure, published_curves.replica_sentences,
        comparisons.recipe_figure, comparisons.recipe_sentences,
        comparisons.picks_figure, comparisons.picks_sentences,
    ):  # fmt: skip
        assert "yet." in show(nothing).data


@pytest.mark.parametrize(
    ("level", "arm"), sorted({(each.level, each.cell.arm) for each in STUDY.settings()}, key=str)
)
def test_any_part_alone_is_told_as_far_as_it_goes(unpainted, results, level, arm):
    """One part alone, all but one, and all but one seed of it."""
    here = (results["level"] == level) & (results["arm"] == arm)
    assert here.any()
    for rows in (results[here], results[~here], results[~(here & (results["seed"] == 1))]):
        for show in (
            published_curves.figure, published_curves.sentences,
            published_curves.replica_figure, published_curves.replica_sentences,
            comparisons.recipe_figure, comparisons.recipe_sentences,
            comparisons.picks_figure, comparisons.picks_sentences,
        ):  # fmt: skip
            assert "nan" not in show(rows).data
        for show in (effects.figure, effects.sentences):
            assert "nan" not in show(rows, "acquisition").data


def test_recipes_are_compared_over_the_seeds_that_both_have(results):
    other = (results["factor"] == "picks") & (results["level"] == "reduced")
    apart = results[~(other & (results["seed"] == 0)) & ~(~other & (results["seed"] == 2))]
    assert {tuple(g.index) for g in comparisons.pick_gains(apart, "mnist").values()} == {(1,)}
    disjoint = results[~(other & (results["seed"] < 2)) & ~(~other & (results["seed"] == 2))]
    assert "under both recipes yet" in comparisons.picks_sentences(disjoint).data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heldout_every": 0}, "heldout_every = 0 judges nothing"),
        ({"reduced_epochs": 5}, "heldout_every = 10 is more than epochs = 5"),
        ({"adam_state": "rounds"}, "adam_state = 'rounds' leaves nothing to compare"),
        ({"optimiser": "sgd"}, "optimiser = 'sgd' leaves nothing to compare"),
        ({"fine_fraction": 0.0098}, "fine_fraction = 0.0098 is not below"),
        ({"reported": "heldout-best"}, "use test or heldout-last"),
    ],
)
def test_what_can_not_be_compared_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        ReductionsStudy.parse(values)


def test_what_is_half_finished_is_compared_as_far_as_it_goes(results):
    only = results[(results["level"] != "reduced") & (results["factor"] != "replica")]
    assert comparisons.recipe_gains(only, "mnist").empty
    assert "under both recipes yet" in comparisons.picks_sentences(only).data
    assert "fresh Adam" in published_curves.sentences(only[only["level"] == "fresh"]).data
