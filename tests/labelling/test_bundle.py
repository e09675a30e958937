"""Everything that is exported of a folder whose files are not what they were."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from alutils.folders.listing import NO_IMAGES
from alutils.folders.scan import scan
from alutils.labelling.answers import answer_from
from alutils.labelling.bundle import FILES, write_all
from alutils.labelling.images import FolderImages
from alutils.labelling.saved_head import load_head
from alutils.labelling.session import Session
from alutils.labelling.settings import Settings
from alutils.learning.scoring import predict
from alutils.studies.own_labels.by_hand import without_links
from tests.folders.messy import noise, plain_folder
from tests.labelling.blobs import quiet


@pytest.fixture
def labelled(tmp_path, stub_encoder):
    """A session with twelve answers from the folders of ``pictures``, and its images."""
    images = FolderImages(scan(plain_folder(tmp_path / "pictures")), "efficientnet-lite0")
    ledger = tmp_path / "ledger.jsonl"
    with Session(ledger, images.pool, images.classes, Settings(batch=5), quiet) as session:
        answer_from(images.labels, session, 12)
        session.wait()
        yield session, images


def read(folder: Path, name: str):
    """Names of the images in an exported file."""
    if name == "coco.json":
        return [image["file_name"] for image in json.loads((folder / name).read_text())["images"]]
    if name == "label-studio.json":
        return [task["meta"]["name"] for task in json.loads((folder / name).read_text())]
    with (folder / name).open(newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


def links(folder: Path) -> list[str]:
    """Names of the images that are linked: their paths below a class's folder."""
    classes = (folder / "classes").iterdir()
    return sorted(str(p.relative_to(c)) for c in classes for p in c.rglob("*.png"))


def test_an_image_whose_file_is_another_one_has_its_label_alone(labelled, tmp_path):
    session, images = labelled
    answers = list(session.answers.labels)
    first, second, gone, *others = answers
    os.rename(images.folder / first, tmp_path / "kept.png")
    os.rename(images.folder / second, images.folder / first)
    os.rename(tmp_path / "kept.png", images.folder / second)
    (images.folder / gone).unlink()
    export = write_all(tmp_path, session, images)
    folder = export.folder
    assert export.without == [first, second, gone]
    assert links(folder) == sorted(others)
    assert read(folder, "labels.csv") == answers
    assert read(folder, "coco.json") == read(folder, "label-studio.json") == [gone, *others]
    coco = json.loads((folder / "coco.json").read_text())
    assert ["width" in image for image in coco["images"]] == [False, *(True for _ in others)]


def test_all_but_the_links_is_exported_where_the_folder_was_moved(labelled, tmp_path):
    session, images = labelled
    images.folder.rename(tmp_path / "elsewhere")
    export = write_all(tmp_path, session, images)
    folder, answers = export.folder, list(session.answers.labels)
    assert export.without == answers and not export.unlinked
    assert {path.name for path in folder.iterdir()} == {*FILES, NO_IMAGES}
    assert not list((folder / "classes").iterdir())
    for name in ("labels.csv", "coco.json", "label-studio.json"):
        assert read(folder, name) == answers


def test_all_but_the_links_is_exported_to_a_disk_that_has_none(labelled, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    session, images = labelled
    monkeypatch.setattr(os, "symlink", refused)
    export = write_all(tmp_path, session, images)
    assert {path.name for path in export.folder.iterdir()} == {*FILES, NO_IMAGES} - {"classes"}
    assert read(export.folder, "labels.csv") == list(session.answers.labels)
    assert (export.without, export.unlinked) == ([], "Operation not permitted")
    assert without_links(export) == (
        "; without classes, as links can't be created there (Operation not permitted): to get "
        "them, keep the ledger on a disk that supports links"
    )


def test_a_class_without_a_label_is_in_nothing_that_is_exported(labelled, tmp_path):
    session, images = labelled
    session.add_class("ct")
    whole = predict(session.head().net, images.pool.rows[:5])
    folder = write_all(tmp_path, session, images).folder
    assert sorted(path.name for path in (folder / "classes").iterdir()) == ["cat", "dog"]
    for name in ("coco.json", "label-studio.xml", "predictions.csv", "head/head.json"):
        assert "ct" not in re.findall(r"\w+", (folder / name).read_text())
    head = load_head(folder / "head").head
    assert head.classes == ("cat", "dog")
    ours = predict(head.net, images.pool.rows[:5])
    assert torch.allclose(ours, whole[:, :2] / whole[:, :2].sum(1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("classes", ["in folders", "none"])
def test_an_export_beside_the_images_is_no_part_of_them(tmp_path, stub_encoder, classes):
    root = tmp_path / "pictures"
    if classes == "none":
        root.mkdir()
        for i in range(12):
            Image.fromarray(noise(i)).save(root / f"{i}.png")
    else:
        plain_folder(root)
    images = FolderImages(scan(root), "efficientnet-lite0")
    with Session(root / "a.jsonl", images.pool, ["cat", "dog"], Settings(), quiet) as session:
        for i, question in enumerate(session.ask(4)):
            session.label(question.image, session.classes[i % 2])
        export = write_all(root, session, images)
    assert export.folder.parent == root and scan(root) == images.dataset
    assert scan(export.folder / "classes")  # which can be studied all the same
