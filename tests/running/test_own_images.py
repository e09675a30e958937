"""Cells on a folder of images: a linear head on their features, as on the built-in datasets."""

import json
import os

import pytest
import torch

from alutils.folders.scan import scan
from alutils.learning import data
from alutils.learning.features import Features, load_features
from alutils.protocol.datasets import DATASETS, Datasets, dataset_title
from alutils.protocol.parameters import ParameterError
from alutils.records.store import Store
from alutils.running.round import run_round
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.training_size.plan import TrainingSizeStudy
from tests.folders.messy import plain_folder

SMALL = {
    "encoder": "efficientnet-lite0", "first_labels": 10, "batch_size": 10, "epochs": 2, "rounds": 2,
    "acquisition_fraction": 0.2, "arms": ["random", "margin"], "seeds": [0],
}  # fmt: skip


@pytest.fixture
def pets(tmp_path, stub_encoder):
    return plain_folder(tmp_path / "Our Pets", each=30)


def study_of(path, **changes) -> ActiveLearningStudy:
    return ActiveLearningStudy.parse(SMALL | {"dataset": str(path)} | changes)


@pytest.mark.parametrize("arm", ["random", "margin", "kmeans", "badge"])
def test_a_cell_runs_on_a_folder_and_its_record_has_no_path(pets, arm, outputs):
    study = study_of(pets, arms=list(dict.fromkeys(["random", "margin", arm])))
    cell = next(cell for cell in study.cells() if cell.arm == arm)
    (done,), _, _ = run_round([cell], [], None, "cpu", {})
    assert done["labels"] == 10 and sum(done["class_counts"]) == 10
    assert len(set(done["picks"])) == cell.schedule_of_labels()[1] - 10
    assert cell.name.startswith(f"{study.dataset}-{arm}-seed0-")
    assert DATASETS[study.dataset].checksum in cell.name
    record = Store(study.profile).load(cell)
    assert str(pets.parent) not in json.dumps([done, record, cell.identity()])


def test_the_features_are_of_the_folder_s_pictures(pets, stub_encoder):
    features = load_features(scan(pets), "efficientnet-lite0")
    assert features.dataset.train_images.shape == (48, 1_280)
    assert features.dataset.test_images.shape == (12, 1_280) and stub_encoder.seen == 60


def damaged(file) -> None:
    """Spoil the last bytes of a file of rows."""
    with file.open("r+b") as rows:
        rows.seek(-4, os.SEEK_END)
        rows.write(b"oops")


def load_anew(name: str) -> Features:
    """The features as a process loads them that has loaded nothing yet."""
    for function in (load_features, data.load, data.labels):
        function.cache_clear()
    return load_features(name, "efficientnet-lite0")


def test_a_training_on_features_reads_and_checks_no_picture(pets, stub_encoder, tmp_path):
    first = load_anew(name := scan(pets))
    labels = data.load(name).train_labels
    pictures = tmp_path / f"{name}-images.npy"
    pictures.unlink()
    stub_encoder.seen = 0
    again = load_anew(name)
    assert again.digest == first.digest and stub_encoder.seen == 0
    assert torch.equal(again.dataset.train_labels, labels)
    cell, *_ = study_of(pets).cells()
    run_round([cell], [], None, "cpu", {})
    assert not pictures.exists()


def test_damaged_pictures_are_mended_before_they_are_encoded(pets, stub_encoder, tmp_path):
    first = load_anew(name := scan(pets))
    for kept in ("images", "efficientnet-lite0"):
        damaged(tmp_path / f"{name}-{kept}.npy")
    again = load_anew(name)
    assert again.digest == first.digest
    for part in ("train_images", "test_images"):
        assert torch.equal(getattr(again.dataset, part), getattr(first.dataset, part))


def test_images_without_labels_have_features(pets):
    features = load_features(scan(pets / "cat"), "efficientnet-lite0")
    assert features.dataset.train_images.shape == (30, 1_280)
    assert features.dataset.test_images.shape == (0, 1_280)
    assert features.dataset.train_labels.tolist() == [-1] * 30


def test_a_worker_needs_the_name_alone(pets):
    study = study_of(pets)
    facts = Datasets()[study.dataset]  # of a process that knows no folder yet
    assert facts == DATASETS[study.dataset]
    assert (facts.train, facts.test, facts.channels, facts.size) == (48, 12, 3, 112)
    assert dataset_title(study.dataset) == "Our Pets"
    assert study_of(study.dataset).cells() == study.cells()


def test_a_changed_folder_gives_other_records(pets):
    names = {cell.name for cell in study_of(pets).cells()}
    (pets / "cat/0.png").unlink()
    assert not names & {cell.name for cell in study_of(pets).cells()}


def test_other_studies_take_folders_too(pets):
    values = {"datasets": [str(pets), "digits"], "label_counts": [10, 20], "batch_size": 10}
    study = TrainingSizeStudy.parse(values)
    assert study.datasets == (scan(pets), "digits")


def test_what_can_not_be_studied_is_refused_in_one_line(pets):
    def refused(path, why: str) -> None:
        with pytest.raises(ParameterError, match=why) as error:
            study_of(path)
        assert "\n" not in str(error.value)

    nowhere = pets / "nowhere"
    refused(nowhere, f"dataset = '{nowhere}' is not allowed: there is no such folder, CSV or")
    refused("cifar11", "'cifar11' is unknown: did you mean 'cifar10'.*or the path of a folder of")
    refused("folder-pets-0123", "folder-pets-0123 is not known in .*: give the folder's path once")
    refused(
        pets / "dog",
        "dataset = 'folder-dog-.*' has no labels, which a study needs: give them",
    )
    with pytest.raises(
        ParameterError, match="first_labels = 500 is more than the pool of folder-our-"
    ):
        study_of(pets, first_labels=500)
    with pytest.raises(ParameterError, match="augmentation = 'crop-flip' is not for folder-our-"):
        study_of(pets, encoder="none", augmentation="crop-flip")
