"""The table of results and the index, where kept reports are shown and their records are not."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from alutils.commands import fingerprints, notebooks, overview
from alutils.learning import data, devices, encoders, features
from alutils.learning.encoders import EncoderUnavailable
from alutils.paths import PARAMS
from alutils.protocol.parameters import StudyError
from alutils.protocol.study import Study
from alutils.records.store import Store
from alutils.reporting import page
from alutils.running import cluster
from alutils.studies import parameter_files, profiles
from alutils.studies.beyond.plan import BeyondStudy
from alutils.studies.recipes import CIFAR10, PROFILE_OF_RECIPE
from tests.processes import ARMS_NOTEBOOK, NOTEBOOK
from tests.studies.made_up import save_finished

LABELLING, FEATURES = "11-label-your-own", "09-pretrained-features"


def finish(notebook: str) -> dict:
    """The study of one of smoke's notebooks by its name, with a finished record of every cell."""
    study, store = profiles.load_study("smoke", notebook), Store("smoke")
    store.prepare()
    for cell in study.cells():
        save_finished(store, cell, lambda _, n: {"test_accuracy": 0.5})
    return {notebook: study}


def kept(outputs: Path) -> list[bytes]:
    return [(outputs / "smoke" / name).read_bytes() for name in ("results.csv", "index.html")]


def test_a_table_whose_records_are_elsewhere_is_left_as_it_is_and_so_are_the_index_s_facts(
    outputs, capsys
):
    studies = finish(NOTEBOOK)
    overview.write("smoke", studies)
    before, told = kept(outputs), page.facts_of((outputs / "smoke/index.html").read_text())
    assert told.startswith("2 finished runs, 0.0 hours of one worker on")
    assert capsys.readouterr().out == ""
    runs = outputs / "smoke" / "runs"
    runs.rename(outputs / "away")
    overview.write("smoke", studies)
    assert kept(outputs) == before
    assert "are left as they are: 2 of the cells there have no" in capsys.readouterr().out
    overview.write("smoke", studies | finish(ARMS_NOTEBOOK))
    assert kept(outputs)[0] == before[0]
    (outputs / "smoke" / "results.csv").unlink()
    overview.write("smoke", studies)
    assert len(kept(outputs)[0].splitlines()) == 1 and b"No run is finished yet" in kept(outputs)[1]


def test_records_that_went_to_another_profile_are_not_lost(outputs, capsys):
    """As where two profiles exchange their recipes: the table is made of what is here now."""
    overview.write("smoke", finish(NOTEBOOK))
    (outputs / "other").mkdir()
    runs = (outputs / "smoke" / "runs").rename(outputs / "other" / "runs")
    (record,) = runs.glob("*seed1*.json")
    whole, studies = record.read_text(), finish(ARMS_NOTEBOOK)
    record.write_text("{")
    overview.write("smoke", studies)
    assert "are left as they are: 1 of the cells there have no" in capsys.readouterr().out
    record.write_text(whole)
    overview.write("smoke", studies)
    assert capsys.readouterr().out == "" and b"margin" in kept(outputs)[0]


def test_cells_of_other_parameters_leave_the_table_as_their_records_stay(outputs, capsys):
    overview.write("smoke", finish(NOTEBOOK))
    overview.write("smoke", finish(ARMS_NOTEBOOK))
    assert capsys.readouterr().out == "" and b"margin" in kept(outputs)[0]
    assert b"\n2,digits" not in kept(outputs)[0]


def columns(results: pd.DataFrame, record: str, *keys: str) -> list[str]:
    """The fields of a record's first row."""
    return results[results["record"] == record].iloc[0][list(keys)].tolist()


def test_label_counts_tell_nested_random_labels_from_the_random_arm(outputs, digits_cell):
    """Of the same recipe; what a round would ask for says nothing where the counts are given."""
    store, cells = Store("smoke"), [digits_cell(label_counts=(128, 300, 500)), digits_cell()]
    store.prepare()
    for cell in cells:
        save_finished(store, cell, lambda _, n: {"test_accuracy": 0.5})
    study = profiles.load_study("smoke", NOTEBOOK)
    of_these = type("OfThese", (type(study),), {"cells": lambda self: cells})
    overview.write("smoke", {NOTEBOOK: of_these.model_construct(**dict(study))})
    results = pd.read_csv(outputs / "smoke" / "results.csv", dtype=str, keep_default_na=False)
    keys = "label_counts", "acquisition_fraction", "acquisition_size"
    assert columns(results, cells[0].name, *keys) == ["128 300 500", "", ""]
    assert columns(results, cells[1].name, *keys) == ["", "0.02", "0"]


def test_a_table_that_says_the_same_is_not_written_again(outputs):
    studies = finish(NOTEBOOK)
    overview.write("smoke", studies)
    os.utime(outputs / "smoke" / "results.csv", (0, 0))
    overview.write("smoke", studies)
    assert (outputs / "smoke" / "results.csv").stat().st_mtime == 0
    overview.write("smoke", studies | finish(ARMS_NOTEBOOK))
    assert (outputs / "smoke" / "results.csv").stat().st_mtime > 0


def test_without_training_a_notebook_that_trains_by_itself_is_left_out(
    outputs, monkeypatch, capsys
):
    executed = []
    monkeypatch.setattr(notebooks, "execute", lambda name, *_: executed.append(name))
    finish(NOTEBOOK)
    notebooks.make_reports("smoke", train="no")
    assert f"{LABELLING}: left out, as it trains whenever it runs" in capsys.readouterr().out
    assert NOTEBOOK in executed and LABELLING not in executed
    with pytest.raises(StudyError, match=f"can be shown: {LABELLING}: it trains whenever"):
        notebooks.make_reports("smoke", LABELLING, train="no")


@pytest.mark.parametrize("notebook", [FEATURES, LABELLING])
def test_weights_are_looked_for_before_anything_runs_where_features_are_missing(
    outputs, monkeypatch, notebook
):
    def not_there(name: str) -> Path:
        raise EncoderUnavailable(f"encoder = {name!r}: not there")

    executed = []
    monkeypatch.setattr(encoders, "weights_file", not_there)
    monkeypatch.setattr(notebooks, "execute", lambda name, *_: executed.append(name))
    monkeypatch.setattr(features, "is_cached", lambda *_: False)
    with pytest.raises(EncoderUnavailable, match="encoder = 'efficientnet-lite0': not there"):
        notebooks.make_reports("smoke", notebook)
    assert executed == []
    monkeypatch.setattr(features, "is_cached", lambda *_: True)
    study = profiles.load_study("smoke", notebook)
    notebooks._check_encoders([study] if isinstance(study, Study) else [], [study])


def test_weights_are_looked_for_for_what_is_to_be_trained_here_alone(outputs, monkeypatch):
    monkeypatch.setattr(encoders, "weights_file", pytest.fail)
    monkeypatch.setattr(features, "is_cached", lambda *_: False)
    study = profiles.load_study("smoke", FEATURES)
    for studies in ([study.model_copy(update={"scheduler": "tcp://elsewhere:8786"})],
                    finish(FEATURES).values()):  # fmt: skip
        notebooks._check_encoders(studies, studies)


def test_what_is_only_shown_needs_no_device_data_workers_or_weights(outputs, monkeypatch):
    executed = []
    for module, name in ((devices, "pick_device"), (data, "load"), (cluster, "shared"),
                         (encoders, "weights_file")):  # fmt: skip
        monkeypatch.setattr(module, name, pytest.fail)
    monkeypatch.setattr(features, "is_cached", lambda *_: False)
    monkeypatch.setattr(notebooks, "execute", lambda name, *_: executed.append(name))
    cells = finish(FEATURES)[FEATURES].cells()
    Store("smoke").path([cell for cell in cells if cell.seed == 1][-1]).unlink()
    notebooks.make_reports("smoke", FEATURES, train="no")
    assert executed == [FEATURES]


def test_training_can_be_asked_for_where_the_parameters_have_none():
    assert notebooks._overrides("", "", "yes") == {"train": True}
    assert notebooks._overrides("", "", "no") == {"train": False}
    assert notebooks._overrides("2", "", "") == {"workers": 2}


def test_a_report_is_out_of_date_once_parameters_change_that_it_tells_of(tmp_path, monkeypatch):
    """Of the audit's figures, of notebooks that share trainings, and of 08's other profiles."""
    shutil.copytree(PARAMS, tmp_path / "params")
    monkeypatch.setattr(parameter_files.paths, "PARAMS", tmp_path / "params")
    names = ["04-claims", ARMS_NOTEBOOK, "08-reductions", FEATURES]

    def changed_by(profile: str, notebook: str, text: str) -> list[str]:
        before = hashes()
        with (tmp_path / "params" / profile / f"{notebook}.yaml").open("a") as file:
            file.write(text)
        after = hashes()
        return [name for name in names if before[name] != after[name]]

    def hashes() -> dict[str, str]:
        return {n: fingerprints.sources(n, profiles.load_study("smoke", n)) for n in names}

    by_heldout = "reported: heldout-last\nheldout_every: 1\n"
    assert changed_by("smoke", NOTEBOOK, by_heldout) == names[:3]
    assert changed_by(PROFILE_OF_RECIPE["reduced"], CIFAR10, by_heldout) == ["08-reductions"]
    assert changed_by("smoke", FEATURES, "mc_passes: 10\n") == [FEATURES]


def test_a_report_is_out_of_date_once_a_study_runs_other_cells_that_it_is_compared_with(
    monkeypatch,
):
    """Whose plan the notebook does not import."""
    cells, names = BeyondStudy.cells, ("08-reductions", FEATURES)

    def hashes() -> list[str]:
        return [fingerprints.sources(n, profiles.load_study("smoke", n)) for n in names]

    before = hashes()
    monkeypatch.setattr(BeyondStudy, "cells", lambda self: cells(self)[1:])
    assert [a != b for a, b in zip(before, hashes(), strict=True)] == [True, False]
