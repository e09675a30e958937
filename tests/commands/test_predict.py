"""Classes of new images by an exported head, on the command line."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from alutils.__main__ import main
from alutils.commands.predict import NothingPredicted, predict
from alutils.labelling import predictions
from alutils.labelling.saved_head import HeadDamaged, load_head
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from alutils.studies.own_labels import by_hand
from alutils.studies.own_labels.plan import OwnLabelsStudy
from tests.folders.messy import plain_folder

pytestmark = pytest.mark.usefixtures("outputs")


@pytest.fixture
def pets(tmp_path) -> Path:
    return plain_folder(tmp_path / "pets", each=50)


@pytest.fixture
def export(pets, stub_encoder, monkeypatch) -> Path:
    """What 11 exported of the folder after 20 answers."""
    monkeypatch.setattr(predictions, "load_encoder", lambda name: stub_encoder)
    study = OwnLabelsStudy.parse({"dataset": str(pets), "answers": "labels", "answer_count": 20})
    labelling = by_hand.open_ledger(study)
    by_hand.label(labelling)
    labelling.page.export()
    labelling.page.close()
    return study.folder / "export"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_new_files_get_what_the_export_says_of_the_same_images(export, pets, capfd):
    exported = rows((export / "predictions.csv").read_text())
    shutil.move(pets, new := pets.with_name("new"))
    (new / "notes.txt").write_text("no image")
    capfd.readouterr()
    predict(str(export / "head"), [str(new / "cat"), str(new)])
    out, told = capfd.readouterr()
    said = {row["image"]: row for row in rows(out)}
    assert len(rows(out)) == 150 and len(said) == 100  # cat's fifty are there twice
    assert list(rows(out)[0]) == list(exported[0])
    for row in exported:
        mine = said[str(new / row["image"])]
        assert mine["guess"] == row["guess"]
        for name in ("probability of cat", "probability of dog"):
            assert float(mine[name]) == pytest.approx(float(row[name]), abs=1e-3)
    assert (
        told.startswith(f"{new / 'notes.txt'} is left out: not an image") and "\n" not in told[:-1]
    )


def test_a_file_s_name_with_a_line_break_is_one_row(export, pets, capfd):
    names = ["a\rb.png", "c\nd.png"]
    for i, name in enumerate(names):
        shutil.copy(pets / f"cat/{i}.png", pets.parent / name)
    capfd.readouterr()
    predict(str(export / "head"), [str(pets.parent / name) for name in names])
    out = capfd.readouterr().out
    read = csv.DictReader(io.StringIO(out, newline=""))
    assert [row["image"] for row in read] == [str(pets.parent / name) for name in names]


def test_batches_of_files_change_nothing(export, pets, monkeypatch):
    saved = load_head(export / "head")
    files = sorted(pets.glob("*/*.png"))
    whole = [one.probs_C for one in predictions.predictions(saved, files)]
    monkeypatch.setattr(predictions, "FILES_AT_ONCE", 7)
    threads = torch.get_num_threads()
    parts = [one.probs_C for one in predictions.predictions(saved, files)]
    assert len(parts) == 100
    whole, parts = torch.stack(whole), torch.stack(parts)
    assert torch.allclose(whole, parts, atol=1e-3)  # a feature may round to another float16
    assert torch.get_num_threads() == threads


def test_a_reader_that_has_enough_ends_it_quietly(export, pets, monkeypatch):
    reads, writes = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writes, "w"))
    os.close(reads)
    predict(str(export / "head"), [str(pets)])
    sys.stdout.close()


def test_a_full_disk_is_told_in_a_line(export, pets, monkeypatch):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))
    with pytest.raises(CanNotWrite, match="^the table can't be written .No space left on device"):
        predict(str(export / "head"), [str(pets)])
    sys.stdout.close()


def test_an_encoder_that_can_not_be_had_is_no_full_disk(export, pets, monkeypatch):
    monkeypatch.setattr(predictions, "load_encoder", Mock(side_effect=NotADirectoryError))
    with pytest.raises(NotADirectoryError):
        predict(str(export / "head"), [str(pets)])


def test_what_can_not_be_predicted_is_told_in_a_line(export, pets, tmp_path, monkeypatch, capfd):
    head = str(export / "head")
    with pytest.raises(ParameterError, match="IMAGES = 'nowhere': it is not there: give image"):
        predict(head, ["nowhere"])
    with pytest.raises(HeadDamaged, match="holds no exported head .* give the folder head of an"):
        predict(str(pets), [str(pets)])
    (pets / "empty").mkdir()
    with pytest.raises(ParameterError, match="IMAGES = .*empty has no file: give other paths"):
        predict(head, [str(pets / "empty")])
    with pytest.raises(ParameterError, match="IMAGES = '~nosuchuser/x': it can't be read"):
        predict(head, ["~nosuchuser/x"])
    for content in ("[]", "{}", "no JSON"):
        shutil.copytree(head, tmp_path / "bad", dirs_exist_ok=True)
        (tmp_path / "bad" / "head.json").write_text(content)
        with pytest.raises(HeadDamaged, match="holds no exported head"):
            predict(str(tmp_path / "bad"), [str(pets)])
    facts = json.loads((export / "head" / "head.json").read_text()) | {"encoder": "resnet"}
    (tmp_path / "bad" / "head.json").write_text(json.dumps(facts))
    with pytest.raises(ParameterError, match="encoder of the head = 'resnet' is unknown"):
        predict(str(tmp_path / "bad"), [str(pets)])
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(NothingPredicted):
        predict(head, [str(tmp_path / "pipe.png")])
    (broken := tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(NothingPredicted, match="none of 1 files is an image"):
        predict(head, [str(broken)])
    monkeypatch.setattr(sys, "argv", ["alutils", "predict", head, str(tmp_path / "nowhere")])
    capfd.readouterr()
    assert main() == 2
    assert capfd.readouterr().err.startswith("error: IMAGES = ")
