import csv
import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alutils.folders import pictures
from alutils.labelling import export, saved_head
from alutils.labelling.answers import answer_from
from alutils.labelling.batches import Head
from alutils.labelling.entries import Answers, Entry
from alutils.labelling.saved_head import HeadDamaged, load_head, save_head
from alutils.learning.head import FeatureNet
from alutils.learning.scoring import predict
from alutils.protocol import encoders
from alutils.protocol.encoders import ENCODERS
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from alutils.records.store import ABANDONED_S
from tests.labelling.blobs import a_session, blobs

CLASSES = ["ant", "bee/fly", ".cat", 'çà, "q" <x>']
LABELS = {
    "a/one two.png": "bee/fly", "b/ü,\"1\".png": "ant", "c#1.png": "çà, \"q\" <x>", "d.png": "ant",
}  # fmt: skip


@pytest.fixture
def answers():
    """Four labels, one of which was changed, a skip, an image of no class, and an undo."""
    lines = [
        *({"action": "label", "image": image, "label": "ant"} for image in LABELS),
        {"action": "skip", "image": "skipped.png"},
        {"action": "none-of-these", "image": "none.png"},
        {"action": "label", "image": "undone.png", "label": "ant"},
        {"action": "undo", "image": "undone.png"},
        *({"action": "label", "image": i, "label": label, "asked": "change"}
          for i, label in LABELS.items()),
    ]  # fmt: skip
    start = Entry(1, "t", "start", facts={"classes": CLASSES})
    return Answers([start, *(Entry(i, f"t{i}", **line) for i, line in enumerate(lines, 2))])


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_the_answers_that_hold(answers, tmp_path):
    export.write_csv(tmp_path / "labels.csv", answers)
    read = rows(tmp_path / "labels.csv")
    assert [(row["image"], row["action"], row["label"]) for row in read] == [
        *((image, "label", label) for image, label in LABELS.items()),
        ("skipped.png", "skip", ""), ("none.png", "none-of-these", ""),
    ]  # fmt: skip
    assert read[0]["time"] == "t10" and read[0]["asked"] == "change"


def test_coco_read_back_gives_the_labels(answers, tmp_path):
    path = tmp_path / "coco.json"
    export.write_coco(path, answers, {"d.png": (64, 48)})
    coco = json.loads(path.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    assert list(names) == [1, 2, 3]
    assert list(names.values()) == [name for name in CLASSES if name in LABELS.values()]
    assert len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"]) == 4
    assert {files[a["image_id"]]: names[a["category_id"]] for a in coco["annotations"]} == LABELS
    sizes = [(image.get("width"), image.get("height")) for image in coco["images"]]
    assert sizes == [(None, None)] * 3 + [(64, 48)]
    export.write_coco(path, answers, without={"d.png"})
    coco = json.loads(path.read_text(encoding="utf-8"))
    assert [image["file_name"] for image in coco["images"]] == list(LABELS)[:3]
    assert len(coco["annotations"]) == 3


def test_label_studio_read_back_gives_the_labels_that_its_interface_offers(answers, tmp_path):
    from urllib.parse import parse_qs, urlparse

    path = tmp_path / "tasks.json"
    export.write_label_studio(path, answers, tmp_path / "my pictures")
    tasks = json.loads(path.read_text(encoding="utf-8"))
    view = ElementTree.fromstring(export.label_studio_interface(answers.classes))
    choices, image = view.find("Choices"), view.find("Image")
    assert image.get("value") == "$image" and choices.get("toName") == image.get("name")
    assert [choice.get("value") for choice in choices] == CLASSES
    read = {}
    for task in tasks:
        [result] = task["annotations"][0]["result"]
        assert result["from_name"] == choices.get("name") and result["type"] == "choices"
        assert result["to_name"] == image.get("name")
        address = urlparse(task["data"]["image"])
        assert address.path == "/data/local-files/" and not address.fragment
        [read[parse_qs(address.query)["d"][0]]] = [result["value"]["choices"]]
    assert {image: choices[0] for image, choices in read.items()} == {
        f"my pictures/{image}": label for image, label in LABELS.items()
    }
    export.write_label_studio(path, answers, tmp_path, without=LABELS.keys() - {"d.png"})
    [task] = json.loads(path.read_text(encoding="utf-8"))
    assert task["meta"] == {"name": "d.png"}


def test_predictions_are_of_the_rest_of_the_pool(answers, tmp_path):
    names = [*LABELS, "skipped.png", "none.png", "undone.png", "new.png"]
    probs = np.linspace(0, 1, 8 * 2).reshape(8, 2)
    export.write_predictions(tmp_path / "p.csv", answers, names, ["ant", "bee/fly"], probs)
    read = rows(tmp_path / "p.csv")
    assert [row["image"] for row in read] == ["skipped.png", "undone.png", "new.png"]
    assert {row["guess"] for row in read} == {"bee/fly"}
    for row, at in zip(read, (4, 6, 7), strict=True):
        given = [float(row["probability of ant"]), float(row["probability of bee/fly"])]
        assert given == pytest.approx(probs[at], rel=1e-5)


def test_a_name_with_a_line_break_is_one_row(tmp_path):
    names = ["a\rb.png", "c\nd.png", "e\r\n", "\r"]
    start = Entry(1, "", "start", facts={"classes": ["ant"]})
    answers = Answers([start, *(Entry(i, "", "label", n, "ant") for i, n in enumerate(names, 2))])
    export.write_csv(tmp_path / "labels.csv", answers)
    assert [row["image"] for row in rows(tmp_path / "labels.csv")] == names
    export.write_predictions(tmp_path / "p.csv", Answers(), names, ["ant"], np.ones((4, 1)))
    assert [row["image"] for row in rows(tmp_path / "p.csv")] == names
    assert (tmp_path / "p.csv").read_bytes().startswith(b"image,guess,probability of ant\n")


def test_predictions_are_written_row_by_row(tmp_path):
    names, classes = [f"{i}.png" for i in range(1000)], [f"class {i}" for i in range(100)]
    probs = np.random.default_rng(0).random((1000, 100))
    tracemalloc.start()
    export.write_predictions(tmp_path / "p.csv", Answers(), names, classes, probs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / "p.csv").stat().st_size / 2
    assert len(rows(tmp_path / "p.csv")) == 1000


def test_a_saved_head_says_what_the_head_said_and_its_example_runs(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 12)
        head = session.head()
    folder = tmp_path / "head"
    save_head(folder, head, "stub")
    saved = load_head(folder)
    assert (saved.head.classes, saved.head.labels, saved.encoder) == (head.classes, 12, "stub")
    assert torch.equal(predict(saved.head.net, pool.rows), predict(head.net, pool.rows))
    tensors = load_file(folder / "head.safetensors")
    by_hand = (pool.rows.float() - tensors["mean"]) / tensors["std"]
    by_hand = (by_hand @ tensors["weight"].T + tensors["bias"]).softmax(1)
    assert torch.allclose(by_hand, predict(head.net, pool.rows), atol=1e-6)
    example = (folder / "example.txt").read_text()
    assert len(example.splitlines()) == 12
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True
    )
    zeros = predict(head.net, torch.zeros(1, 8)).argmax()
    assert done.stdout == f"['{head.classes[zeros]}']\n" and not done.stderr
    with pytest.raises(ParameterError, match="head already exists"):
        save_head(folder, head, "stub")
    facts = json.loads((folder / "head.json").read_text())
    others = (["ant", "bee"], ["ant"], ["ant", "bee", "cat", "dog"], "abc", None, 3)
    for wrong in (*({"classes": classes} for classes in others), {"encoder": "resnet18"}):
        (folder / "head.json").write_text(json.dumps(facts | wrong))
        with pytest.raises(HeadDamaged, match="does not fit head.safetensors, which is for 3 clas"):
            load_head(folder)
    (folder / "head.json").write_text(json.dumps(facts))
    weights = folder / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(HeadDamaged, match="is not the file that head.json describes"):
        load_head(folder)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_head_of_features_that_are_made_otherwise_by_now_is_refused(tmp_path, monkeypatch, name):
    count = ENCODERS[name].features
    net = FeatureNet(torch.zeros(count), torch.ones(count), 2)
    folder = tmp_path / "head"
    save_head(folder, Head(net, ("ant", "bee"), 9), name)
    facts = json.loads((folder / "head.json").read_text())
    assert facts["prepared"] == [*ENCODERS[name].identity, pictures.PREPARATION]
    for known in ({"prepared": facts.pop("prepared")}, {}):  # without: saved before it was kept
        (folder / "head.json").write_text(json.dumps(facts | known))
        load_head(folder)
        with monkeypatch.context() as later:
            later.setitem(ENCODERS, name, replace(ENCODERS[name], sha256="of other weights"))
            with pytest.raises(HeadDamaged, match=f"on other features of {name} .*: export it ag"):
                load_head(folder)
        with monkeypatch.context() as later:
            later.setattr(encoders, "FEATURES_VERSION", 2)
            with pytest.raises(HeadDamaged, match="112, 1, 'rgb.* then, .*112, 2, 'rgb.* now"):
                load_head(folder)


def test_an_export_that_fails_leaves_what_was_there(answers, tmp_path, monkeypatch):
    pool, labels = blobs()
    path = tmp_path / "labels.csv"
    export.write_csv(path, answers)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(CanNotWrite, match="make room"):
            export.write_csv(path, Answers())
    assert path.read_bytes() == before

    def fails(path, content):
        raise OSError(28, "No space left on device")

    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 6)
        monkeypatch.setattr(saved_head, "write_file", fails)
        with pytest.raises(CanNotWrite, match="nothing of it is kept; make room"):
            save_head(tmp_path / "head", session.head(), "")
    assert not (tmp_path / "head").exists() and not list(tmp_path.glob("*.part"))


def test_a_table_that_fails_amid_its_rows_leaves_what_was_there(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("before")
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        export.write_predictions(path, Answers(), ["a.png", "b.png"], ["ant"], np.ones((1, 1)))
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]
    assert path.read_text() == "before"


def test_what_a_killed_export_left_goes_with_the_next_one_once_it_is_old(answers, tmp_path):
    old = time.time() - ABANDONED_S - 1
    for name in ("labels.csv.1.part", "labels.csv.2.part", "other.csv.1.part"):
        (tmp_path / name).touch()
    (tmp_path / "head.1.part").mkdir()
    for name in ("labels.csv.1.part", "other.csv.1.part", "head.1.part"):
        os.utime(tmp_path / name, (old, old))
    export.write_csv(tmp_path / "labels.csv", answers)
    with export.atomic_folder(tmp_path / "head"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "head", "labels.csv", "labels.csv.2.part", "other.csv.1.part",
    ]  # fmt: skip
