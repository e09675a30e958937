"""Notebook 10 on folders of 2 and 37 classes that really run, with a stub for an encoder."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from alutils.commands import verify
from alutils.learning import data, features
from alutils.running import cluster, run
from alutils.studies import parameter_files
from alutils.studies.active_learning import diagnosed_rounds, evidence, picks
from alutils.studies.own_images import class_shares, contents, mistakes
from alutils.studies.own_images.plan import OwnImagesStudy
from tests.cells import StubEncoder
from tests.folders.messy import plain_folder

EACH = {2: 20, 37: 4}
"""Images of each class, by the number of classes."""
Finished = tuple[OwnImagesStudy, pd.DataFrame]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[dict[int, Finished]]:
    """Studies with their results, by the number of classes."""
    folder, studies = tmp_path_factory.mktemp("own"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALUTILS_DATA", str(folder / "data"))
        patch.setenv("ALUTILS_OUTPUTS", str(folder / "outputs"))
        patch.setattr(features, "load_encoder", lambda name: StubEncoder())
        for classes, each in EACH.items():
            names = tuple(f"kind {i:02}" for i in range(classes))
            path = plain_folder(folder / f"of-{classes}", names, each)
            studies[classes] = OwnImagesStudy.parse(
                parameter_files.defaults("10-your-own-images")
                | {"dataset": str(path), "profile": path.name, "seeds": [0, 1], "workers": 1}
                | {"arms": ["random", "margin", "typiclust"], "first_labels": 10, "epochs": 2}
                | {"acquisition_size": 5, "rounds": 2}
            )
        with cluster.shared(run.placement_of(studies[2])):
            yield {classes: (study, run.run(study)) for classes, study in studies.items()}
        features.load_features.cache_clear()


@pytest.mark.parametrize("classes", EACH)
def test_every_cell_ends_and_its_record_is_verified(finished, classes, monkeypatch, capsys):
    study, results = finished[classes]
    assert len(results) == 2 * 3 * 2 and set(results["labels"]) == {10, 15}
    monkeypatch.setattr(verify, "studies_of", lambda profile: [study])
    verify.verify(study.profile)
    told = capsys.readouterr().out
    assert "6 of 6 records, 12 rounds: 0 problems" in told and "5 of 5 picks equal" in told


@pytest.mark.parametrize("classes", EACH)
def test_what_the_notebook_shows_is_of_its_classes(finished, classes, unpainted):
    study, results = finished[classes]
    images, diagnosed = data.load(study.dataset), diagnosed_rounds.read(study, results)
    total = classes * EACH[classes]
    assert f"{total} usable images in {classes} classes" in contents.sentence(images).data
    assert contents.classes(images).data == "All classes have the same number of images."
    assert contents.left_out(study.dataset).data == "Every file of the folder is used."
    shares = class_shares.shares(study, results, images)
    assert list(shares) == ["random", "margin", "typiclust"]
    assert all(each.picks.shape == (2, classes) for each in shares.values())
    assert np.allclose(shares["margin"].picks.sum(axis=1), 100)
    assert class_shares.table(shares).data.count("<tr>") == 3
    assert mistakes.table(diagnosed, images.classes).data.count("<td>margin</td>") >= 1
    assert "Selected at 10 labels" in picks.gallery(diagnosed, images).data
    assert "taken for kind" in evidence.confusion(diagnosed, images.classes).data
