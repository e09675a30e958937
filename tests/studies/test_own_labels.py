"""11: labelling a folder, in batch and by a person, as the notebook does it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from IPython.display import HTML, Markdown

from alutils.commands.fingerprints import fingerprint
from alutils.labelling import estimate, hash_chain
from alutils.labelling.entries import LABEL, NONE, Answers
from alutils.labelling.estimate import wilson
from alutils.labelling.ledger import LedgerLocked
from alutils.labelling.widget import LabellingWidget
from alutils.learning.scoring import predict
from alutils.paths import ROOT
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from alutils.studies.own_labels import by_hand, exports, galleries, plan, progress
from alutils.studies.own_labels.plan import OwnLabelsStudy
from tests.folders.messy import plain_folder

GUIDE = ROOT / "docs" / "labelling.md"

pytestmark = pytest.mark.usefixtures("stub_encoder", "unpainted")


@pytest.fixture
def pets(tmp_path, outputs) -> Path:
    return plain_folder(tmp_path / "pets", each=20)


@pytest.fixture
def opened():
    """Factory of open ledgers, which are closed at the end."""
    every = []

    def made(**values):
        every.append(by_hand.open_ledger(study_of(**values)))
        return every[-1]

    yield made
    for labelling in every:
        labelling.page.close()
    by_hand._open.clear()


def study_of(**values) -> OwnLabelsStudy:
    return OwnLabelsStudy.parse({"batch": 5} | values)


def table(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def test_the_folder_s_labels_answer_in_batch(pets, opened):
    labelling = opened(dataset=str(pets), answers="labels", answer_count=25)
    text = by_hand.label(labelling).data
    assert text.startswith("25 answers came from the folder's own labels")
    labels = labelling.session.answers.labels
    assert len(labels) == 25 and all(Path(image).parts[0] == labels[image] for image in labels)
    assert labelling.study.ledger_path.parts[-4:] == ("quick", "labels", "batch", "ledger.jsonl")
    lines = progress.sentences(labelling).data.splitlines()
    assert lines[0] == "- Of 32 images: 25 labels, 0 skipped, 0 of no class."
    (test,) = [line for line in lines if "keeps for testing" in line]
    assert "on the 8 images" in test and "the head trained on 25 labels" in test
    accuracy = labelling.images.test_accuracy(labelling.session.trainings()[-1].head)
    low, high = wilson(round(8 * accuracy / 100), 8)
    assert f"has an accuracy of {accuracy:.1f} % ({low:.1f} to {high:.1f}) on the 8" in test
    for shown in (progress.curve, progress.asked_for, galleries.asked_for, galleries.unsure):
        assert isinstance(shown(labelling), HTML)


def test_a_class_that_is_never_guessed_shows_beside_the_classes(pets, opened, monkeypatch):
    guesses = [estimate.Guess(True, 1, 5, False, "cat")] * 9
    guesses += [estimate.Guess(False, 1, 5, False, "dog")]
    monkeypatch.setattr(estimate, "guesses", lambda *_: guesses)
    labelling = opened(dataset=str(pets), answers="labels", answer_count=5)
    by_hand.label(labelling)
    cat, dog = re.findall(r">(\d+ of \d+)<", progress.asked_for(labelling).data)
    assert (cat, dog) == ("9 of 9", "0 of 1")


def test_a_long_class_is_cut_in_the_picture_and_whole_in_its_text(tmp_path, outputs, opened):
    long = ("a very long name of a cat", "a very long name of a dog")
    labelling = opened(
        dataset=str(plain_folder(tmp_path / "pets", long, each=20)), answers="labels",
        answer_count=12,
    )  # fmt: skip
    by_hand.label(labelling)
    shown = galleries.asked_for(labelling).data
    assert all(f"{name}, " in shown for name in long)


def test_a_batch_run_begins_anew_and_asks_for_the_same(pets, opened):
    def asked() -> list[str]:
        labelling = opened(dataset=str(pets), answers="labels", answer_count=12)
        by_hand.label(labelling)
        return list(labelling.session.answers.labels)

    assert asked() == asked()


def test_a_person_gets_the_widget_and_goes_on_where_the_ledger_stands(pets, opened, capsys):
    first = opened(dataset=str(pets))
    widget = by_hand.label(first)
    assert isinstance(widget, LabellingWidget) and len(widget.state["tiles"]) == 12
    for shown in (
        progress.sentences, progress.curve, progress.asked_for, galleries.asked_for,
        galleries.unsure, exports.overview,
    ):  # fmt: skip
        with patch.object(first.page, "lock") as lock:  # no answer comes amid a report
            assert isinstance(shown(first), Markdown)
        assert lock.__enter__.called and lock.__exit__.called
    image = widget.state["tiles"][0]["image"]
    widget._received(widget, {"do": LABEL, "image": image, "label": "cat", "id": "1"}, [])
    assert widget.state["labels"] == 1
    assert "press *Export* under the images" in exports.overview(first).data
    (code,) = re.findall(r"```python\n(answers = .*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    none = widget.state["tiles"][1]["image"]
    widget._received(widget, {"do": NONE, "image": none, "id": "n"}, [])
    exec(code, {"labelling": first, "by_hand": by_hand})
    assert [tile["image"] for tile in first.page.state["tiles"]] == [none]
    first.session.undo()
    second = opened(dataset=str(pets))  # the cell runs again, in the same kernel
    assert "continuing ledger.jsonl: 1 label, 0 skipped, 0 of no class" in capsys.readouterr().out
    assert second.session.answers.labels == {image: "cat"}
    widget._received(widget, {"do": LABEL, "image": image, "label": "dog", "id": "2"}, [])
    assert "is closed: open it again" in widget.state["problem"]
    told = "continuing ledger.jsonl: 1 label, 0 skipped, 0 of no class"
    assert second.page.state["notes"][-1] == told


def test_folders_that_are_no_classes_are_told_of_and_a_table_asks_for_all(
    tmp_path, outputs, opened, monkeypatch, capsys
):
    photos = plain_folder(tmp_path / "photos", ("2019", "2020", "2021", "2022"))
    opened(dataset=str(photos), classes=["cat", "dog"])
    told = "own classes (2019, 2020, 2021, ...) is one of yours, and 8 images of them are kept"
    assert told in capsys.readouterr().out
    opened(dataset=str(photos), classes=["2019", "dog"], ledger=str(tmp_path / "a.jsonl"))
    assert "is one of yours" not in capsys.readouterr().out

    monkeypatch.setenv("HOME", str(tmp_path))
    (code,) = re.findall(r"```python\n(import csv.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    exec(code, {})
    labelling = opened(dataset=str(tmp_path / "photos-files.csv"), classes=["cat", "dog"])
    assert len(labelling.session.pool) == 40 and not labelling.images.classes


def test_classes_that_differ_in_case_or_form_of_unicode_are_those_of_the_folder(
    tmp_path, outputs, opened
):
    folder = plain_folder(tmp_path / "pets", ("Cat", "Ka\u0308fer", "dog"), each=20)
    accuracies = []
    for classes in ((), ("cat", "K\xe4fer", "dog")):
        given = {"answers": "labels", "answer_count": 30, "profile": f"own-{len(classes)}"}
        labelling = opened(dataset=str(folder), classes=classes, **given)
        by_hand.label(labelling)
        labels = labelling.session.answers.labels.values()
        assert len(labels) == 30 and set(labels) == set(classes or labelling.images.classes)
        accuracies.append(progress.test_curve(labelling))
    assert accuracies[0] == accuracies[1] != []


def test_classes_of_the_folder_that_differ_in_case_alone_are_one_in_a_ledger(
    tmp_path, outputs, opened
):
    folder = plain_folder(tmp_path / "letters", ("A", "B", "a"), each=20)
    given = {"classes": ("A", "B"), "answers": "labels", "answer_count": 48}
    labelling = opened(dataset=str(folder), **given)
    by_hand.label(labelling)
    head = labelling.session.trainings()[-1].head
    images = labelling.images
    guessed = predict(head.net, images.test_rows).argmax(1)
    names = [head.classes[i] for i in guessed]
    truth = [images.classes[i].upper() for i in images.test_labels]
    right = sum(a == b for a, b in zip(names, truth, strict=True))
    assert images.test_accuracy(head) == 100 * right / len(truth)


def test_a_ledger_s_new_folder_is_no_class_of_the_folder_that_it_lies_in(pets, opened):
    ledger = pets / "labels" / "anna" / "pets.jsonl"
    first = opened(dataset=str(pets), ledger=str(ledger))
    first.session.label(first.session.ask(1)[0].image, "cat")
    first.page.close()
    again = opened(dataset=str(pets), ledger=str(ledger))
    assert len(again.session.answers.labels) == 1
    assert again.images.classes == ("cat", "dog")


def test_the_test_part_is_left_out_where_its_classes_are_others(pets, opened):
    labelling = opened(dataset=str(pets), classes=["indoors", "outdoors"])
    for i, question in enumerate(labelling.session.ask(10)):
        labelling.session.label(question.image, labelling.session.classes[i % 2])
    labelling.session.wait()
    assert "10 labels" in progress.sentences(labelling).data
    assert "keeps for testing" not in progress.sentences(labelling).data


def test_two_runs_in_batch_do_not_share_their_folder(pets, opened, monkeypatch):
    first = opened(dataset=str(pets), answers="labels")
    monkeypatch.setattr(by_hand, "_open", {})  # as another process sees it
    with pytest.raises(
        LedgerLocked, match="another batch run is using .*batch .*is being written by process"
    ):
        opened(dataset=str(pets), answers="labels")
    assert first.study.ledger_path.exists()


def test_a_run_in_batch_that_is_just_opening_keeps_its_folder(pets, opened, monkeypatch):
    """What another process does between the making of the folder and the ledger's lock."""
    values, real = {"dataset": str(pets), "answers": "labels"}, by_hand.Session

    def session(path: Path, *rest) -> by_hand.Session:
        monkeypatch.setattr(by_hand, "Session", real)
        (path.parent / "mine").touch()
        with pytest.raises(LedgerLocked, match="another batch run is using .*/batch .*by process"):
            by_hand.open_ledger(study_of(**values))
        assert (path.parent / "mine").exists()
        return real(path, *rest)

    monkeypatch.setattr(by_hand, "Session", session)
    assert opened(**values).session.answers.labels == {}


def test_an_interrupt_while_a_ledger_opens_leaves_it_free(pets, opened):
    with patch.object(by_hand, "LabellingPage", side_effect=KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            opened(dataset=str(pets))
    assert opened(dataset=str(pets)).session.answers.labels == {}


def test_outputs_that_can_not_be_written_are_told_of_in_a_line(pets, opened, outputs):
    (outputs / "quick").parent.mkdir(parents=True, exist_ok=True)
    (outputs / "quick").write_text("no folder")
    with pytest.raises(CanNotWrite, match="can't be created for the answers") as caught:
        opened(dataset=str(pets))
    assert "\n" not in str(caught.value)


def test_an_empty_recorded_ledger_is_refused(pets, opened, tmp_path):
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(ParameterError, match="the recorded ledger is empty"):
        opened(dataset=str(pets), answers=str(tmp_path / "none.jsonl"))


def test_another_process_s_ledger_is_refused(pets, opened, tmp_path):
    ledger = tmp_path / "mine" / "ledger.jsonl"
    opened(dataset=str(pets), ledger=str(ledger))
    code = "import sys, pathlib; from alutils.labelling.ledger import Ledger; "
    code += "Ledger(pathlib.Path(sys.argv[1]), ['cat', 'dog'])"
    other = subprocess.run([sys.executable, "-c", code, ledger], capture_output=True, text=True)
    *_, told = other.stderr.splitlines()
    assert (
        "LedgerLocked: ledger.jsonl is being written by process" in told and other.returncode == 1
    )


def test_a_recorded_ledger_answers(pets, opened, tmp_path):
    recorded = opened(dataset=str(pets), answers="labels", answer_count=12, seed=3)
    by_hand.label(recorded)
    kept = tmp_path / "kept.jsonl"
    kept.write_bytes(recorded.study.ledger_path.read_bytes())
    again = opened(dataset=str(pets), answers=str(kept))
    assert "with the same images asked for as then: 12 labels" in by_hand.label(again).data
    said = [[(e.image, e.label, e.asked, e.guess) for e in hash_chain.read(path)]
            for path in (kept, again.study.ledger_path)]  # fmt: skip
    assert said[0] == said[1] and again.session.settings.seed == 3


def test_a_ledger_that_can_not_be_replayed_gives_its_labels(pets, opened, tmp_path):
    recorded = opened(dataset=str(pets), answers="labels", answer_count=12)
    by_hand.label(recorded)
    kept = tmp_path / "kept.jsonl"
    kept.write_bytes(recorded.study.ledger_path.read_bytes())
    (pets / "cat/0.png").unlink()
    again = opened(dataset=str(pets), answers=str(kept))
    text = by_hand.label(again).data
    labels = Answers(hash_chain.read(kept)).labels
    given = again.session.answers
    assert f"{len(given.labels)} of its {len(labels)} labels, as other images are asked" in text
    assert given.labels and given.labels == {image: labels[image] for image in given.labels}


def test_everything_is_exported_into_a_folder_of_its_own(pets, opened):
    labelling = opened(dataset=str(pets), answers="labels", answer_count=10)
    by_hand.label(labelling)
    labels = labelling.session.answers.labels
    assert "10 labels, in the folder <code>export</code>" in exports.overview(labelling).data
    folder = labelling.study.folder / "export"
    names = sorted(path.name for path in folder.glob("[!.]*"))
    assert names == sorted([
        "labels.csv", "classes", "coco.json", "label-studio.json", "label-studio.xml",
        "predictions.csv", "head",
    ])  # fmt: skip
    assert {row["image"]: row["label"] for row in table(folder / "labels.csv")} == labels
    coco = json.loads((folder / "coco.json").read_text())
    assert {(image["width"], image["height"]) for image in coco["images"]} == {(40, 40)}
    rest = table(folder / "predictions.csv")
    assert len(rest) == 22 and not {row["image"] for row in rest} & labels.keys()
    for image, label in labels.items():
        link = folder / "classes" / label / image
        assert link.is_symlink() and link.read_bytes() == (pets / image).read_bytes()
    labelling.page.handle({"do": "export", "id": "1"})
    assert labelling.page.state["told"] == f"exported to {labelling.study.folder / 'export-2'}"
    gone = next(iter(labels))
    (pets / gone).unlink()
    labelling.page.handle({"do": "export", "id": "2"})
    assert labelling.page.state["told"] == (
        f"exported to {labelling.study.folder / 'export-3'}; 1 image without a link, as the file "
        f"is gone or has changed (the first: {gone})"
    )
    rows = table(labelling.study.folder / "export-3/labels.csv")
    assert {row["image"] for row in rows} == labels.keys()


@pytest.mark.parametrize("key", ["answers", "older_ledger"])
def test_a_ledger_s_path_that_no_file_can_have_is_refused_in_a_line(pets, key):
    with pytest.raises(ParameterError, match=f"{key} = '.*/x*' is no file: give"):
        study_of(dataset=str(pets), **{key: "x" * 300})


def test_a_recorded_ledger_of_other_images_is_refused(pets, opened, tmp_path):
    recorded = opened(dataset=str(pets), answers="labels", answer_count=5)
    by_hand.label(recorded)
    kept = tmp_path / "kept.jsonl"
    kept.write_bytes(recorded.study.ledger_path.read_bytes())
    birds = plain_folder(tmp_path / "birds", ("tit", "owl"))
    expected = f"answers = '{kept}' answers none of the images of {birds}: give the folder"
    with pytest.raises(ParameterError, match=re.escape(expected)):
        opened(dataset=str(birds), answers=str(kept))


def test_a_ledger_that_a_run_in_batch_would_remove_is_refused(pets, opened):
    values = {"dataset": str(pets), "answers": "labels", "answer_count": 5}
    by_hand.label(opened(**values))
    ledger = study_of(**values).ledger_path
    kept = ledger.read_bytes()
    for key in ("answers", "ledger"):
        expected = f"{key} = '{ledger}' lies in the folder that every batch run deletes first"
        with pytest.raises(ParameterError, match=re.escape(expected)):
            study_of(dataset=str(pets), **{key: str(ledger)})
    assert ledger.read_bytes() == kept
    assert study_of(dataset=str(pets), answers=str(ledger), profile="mine").files()[0] == ledger


def test_a_relative_path_is_the_same_file_for_a_command_and_for_the_notebook(
    pets, tmp_path, monkeypatch
):
    """Whichever folder either runs in: relative is to the notebook's."""
    (tmp_path / "old.jsonl").touch()
    monkeypatch.setattr(plan, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    study = study_of(dataset=str(pets), ledger="mine/a.jsonl", older_ledger="old.jsonl")
    monkeypatch.chdir("/")
    assert study.ledger_path == tmp_path / "mine/a.jsonl" and study.ledger == str(study.ledger_path)
    assert study.older_ledger == str(tmp_path / "old.jsonl")
    assert study_of(**study.model_dump()) == study
    for name in ("old.jsonl", "~/old.jsonl", "mine/../old.jsonl"):
        recorded = study_of(dataset=str(pets), answers=name)
        assert recorded.answers == str(tmp_path / "old.jsonl")


def test_a_report_is_out_of_date_once_other_files_are_left_out(pets):
    study = study_of(dataset=str(pets), answers="labels")
    before = fingerprint("11-label-your-own", study)
    (pets / "cat/broken.png").write_text("no image")
    again = study_of(dataset=str(pets), answers="labels")
    assert again == study and fingerprint("11-label-your-own", again) != before


def test_a_report_is_out_of_date_once_there_is_another_answer(pets, opened, tmp_path):
    study = study_of(dataset=str(pets), ledger=str(tmp_path / "ledger.jsonl"))
    name = "11-label-your-own"
    before = fingerprint(name, study)
    labelling = opened(dataset=str(pets), ledger=study.ledger)
    labelling.session.label(labelling.session.ask()[0].image, "cat")
    assert fingerprint(name, study) != before


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"dataset": "mnist"}, "dataset = 'mnist' is no folder of images: give the path of one"),
        ({"dataset": "/nowhere/at/all"}, "dataset = '/nowhere/at/all' is not allowed: "),
        ({"classes": ["cat", "Cat"]}, "classes: class 'Cat' already exists as 'cat': use that"),
        ({"answers": "labels", "dataset": "CAT"}, "but the folder has no labels to answer with"),
        (
            {"answers": "no.jsonl"},
            "answers = '.*/no.jsonl' is no file: give 'person', 'labels', or",
        ),
        (
            {"answers": "labels", "ledger": "me.jsonl"},
            "ledger = '.*/me.jsonl' is for a person's answers",
        ),
        ({"ledger": "labels.csv"}, "ledger = '.*/labels.csv' is not a ledger's name: give a file"),
        ({"arm": "oracle"}, "arm = 'oracle' is unknown: "),
        ({"share": 1.0}, "share = 1.0 is no share: give 0 to below 1"),
        ({"batch": 0}, "batch = 0 asks for nothing: give 1 or more"),
        ({"target": 100.0}, "target = 100.0 is not allowed"),
        ({"clases": ["cat"]}, "unknown parameter 'clases' = .*did you mean 'classes'"),
    ],
)
def test_a_wrong_parameter_is_refused_in_a_line(pets, values, expected):
    if values.get("dataset") == "CAT":
        values = values | {"dataset": str(pets / "cat")}
    with pytest.raises(ParameterError, match=expected) as caught:
        study_of(**({"dataset": str(pets)} | values))
    assert "\n" not in str(caught.value)
