"""Trainings on every label of the pool, and the lines that they are in the figures."""

import json

import pandas as pd
import pytest

from alutils.commands import fingerprints
from alutils.paths import NOTEBOOKS
from alutils.records.store import Store
from alutils.reporting import captions, charts, figures
from alutils.running.round import new_pool, run_round
from alutils.studies.profiles import FIGURES, load_study
from alutils.studies.recipes import DATASET_OF, PROFILE_OF_RECIPE
from alutils.studies.training_size import ceiling, ceiling_runs
from alutils.studies.training_size.ceiling import CeilingStudy
from tests.studies.made_up import save_finished

SMOKE = [("smoke", "01-training-size"), ("smoke", "02-cifar10-active-learning")]
KEPT = [
    ("desktop", "01-training-size"),
    *((profile, name) for profile in PROFILE_OF_RECIPE.values() for name in DATASET_OF),
]  # fmt: skip


def test_the_ceiling_is_trained_on_every_label_of_the_pool():
    (cell,) = CeilingStudy(datasets=("digits",), epochs=1, learning_rate=2e-3).cells()
    (done,), _, _ = run_round([cell], [], None, "cpu", {})
    assert done["labelled"] == new_pool(cell).unlabelled.tolist() and done["labels"] == 1294
    assert done["steps"] == 1294 // 64 and done["picks"] == []


@pytest.mark.parametrize(("profile", "notebook"), KEPT)
def test_every_kept_figure_has_a_ceiling_of_its_recipe(profile, notebook):
    cells = ceiling.cells_of_recipe(study := load_study(profile, notebook))
    planned = {cell.name for each in ceiling_runs.studies() for cell in each.cells()}
    assert {cell.dataset for cell in cells} == {cell.dataset for cell in study.cells()}
    assert {cell.name for cell in cells} <= planned
    assert {cell.epochs for cell in cells} == {study.epochs}


def test_the_reports_of_the_figures_are_not_made_from_what_runs_the_ceiling():
    for notebook in FIGURES:
        names = {file.name for file in fingerprints.imported_files(NOTEBOOKS / f"{notebook}.ipynb")}
        assert "ceiling.py" in names and "ceiling_runs.py" not in names


@pytest.mark.parametrize(
    "changes", [{"reported": "heldout-last", "heldout_every": 1}, {"start": "warm"}]
)
def test_other_accuracies_and_trainings_that_go_on_have_no_ceiling(changes):
    study = load_study(*SMOKE[0]).model_copy(update=changes)
    assert ceiling.cells_of_recipe(study) == []


@pytest.mark.parametrize(("profile", "notebook"), SMOKE)
def test_a_ceiling_is_read_once_it_is_finished(outputs, profile, notebook):
    study, store = load_study(profile, notebook), Store("ceiling")
    assert ceiling.of_recipe(study).empty
    store.prepare()
    (cell,) = ceiling.cells_of_recipe(study)
    save_finished(store, cell, lambda cell, labels: {"test_accuracy": 0.9876})
    (row,) = ceiling.of_recipe(study).itertuples()
    assert (row.dataset, row.labels, row.accuracy) == ("digits", 1294, pytest.approx(98.76))
    assert ceiling.of_recipe(study.model_copy(update={"epochs": study.epochs + 1})).empty


def curves(**columns) -> pd.DataFrame:
    rows = {
        "labels": [100, 200],
        "accuracy": [50.0, 60.0],
        "seed": 0,
        "epochs": 9,
        "reported": "test",
    }
    return pd.DataFrame(rows | {"dataset": "mnist", "arm": "random", "figure": 4} | columns)


def test_a_ceiling_is_a_line_that_caption_text_and_chart_tell():
    top = curves()[:1].assign(labels=54_000, accuracy=98.765)
    said = "Dotted: 98.77 % on MNIST with all 54,000 labels, one training with the same recipe"
    for draw, show in (
        (figures.learning_curves, lambda *given: captions.learning_curves(*given).static),
        (figures.training_size, captions.training_size),
    ):
        for given, lines, times in (((curves(),), 0, 0), ((curves(), top), 1, 2)):
            axes = draw(*given).axes[0]
            drawn = [line for line in axes.lines if line.get_linestyle() == ":"]
            assert [line.get_ydata()[0] for line in drawn] == [98.765] * lines
            assert axes.get_ylim()[1] > 98.765 if lines else axes.get_ylim()[1] < 70
            labels = [text.get_text() for text in axes.get_legend().get_texts()]
            assert labels.count("all 54,000 labels\n(one training)") == lines
            assert show(*given).data.count(said) == times
    (rule,) = (
        one
        for one in charts.learning_curves(curves(), top)["layer"]
        if one["mark"]["type"] == "rule"
    )
    assert [each["field"] for each in rule["encoding"]["tooltip"]] == ["what", "labels", "accuracy"]
    assert "98.765" in json.dumps(charts.learning_curves(curves(), top)["datasets"])
    other = figures.training_size(curves(), top.assign(dataset="cifar10")).axes[0]
    assert not [line for line in other.lines if line.get_linestyle() == ":"]
