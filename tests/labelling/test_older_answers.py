"""A folder that grows or is renamed: the answers of its ledger go over into a new one."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from alutils.folders import index
from alutils.labelling import estimate, hash_chain, older_answers
from alutils.labelling.answers import replay
from alutils.labelling.entries import TAKEN_OVER, Answers
from alutils.labelling.export import write_csv
from alutils.labelling.images import FolderImages
from alutils.labelling.ledger import Ledger
from alutils.labelling.session import Session
from alutils.protocol.datasets import resolve_dataset
from alutils.protocol.parameters import ParameterError
from alutils.studies.own_labels import by_hand, progress
from alutils.studies.own_labels.plan import OwnLabelsStudy
from tests.folders.messy import noise

pytestmark = pytest.mark.usefixtures("stub_encoder", "unpainted", "outputs")


def add(folder: Path, *seeds: int) -> None:
    """Images of their own content, called by their seeds."""
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        Image.fromarray(noise(seed)).save(folder / f"{seed}.png")


@pytest.fixture
def photos(tmp_path) -> Path:
    add(tmp_path / "photos", *range(12))
    return tmp_path / "photos"


@pytest.fixture
def opened():
    """Factory of open ledgers, which are closed at the end; classes are cat and dog."""

    def made(photos, **values):
        given = {"dataset": str(photos), "classes": ["cat", "dog"], "batch": 4, "page": 4}
        given |= values
        return by_hand.open_ledger(OwnLabelsStudy.parse(given))

    yield made
    for labelling in by_hand._open.values():
        labelling.page.close()
    by_hand._open.clear()


@pytest.fixture
def begun(photos, opened) -> Path:
    """The ledger of the folder as it is: six labels, one of them changed, a class added, a skip."""
    labelling = opened(photos)
    session = labelling.session
    for i, question in enumerate(session.ask(8)):
        if i == 6:
            session.skip(question.image)
        elif i == 7:
            session.none_of_these(question.image)
        else:
            session.label(question.image, ("cat", "dog")[i % 2])
    session.add_class("bird")
    session.label(next(iter(session.answers.labels)), "bird")
    labelling.page.close()
    return labelling.study.ledger_path


def said(ledger: Path) -> dict[str, str]:
    return {
        image: entry.answer_text
        for image, entry in Answers(hash_chain.read(ledger)).current.items()
    }


def test_a_folder_that_grew_keeps_its_answers_under_new_names_too(photos, begun, opened, capsys):
    before = said(begun)
    labelled = [image for image, answer in before.items() if answer in ("cat", "dog")]
    shutil.move(photos / labelled[0], photos / "moved.png")
    (photos / labelled[1]).unlink()
    add(photos, *range(100, 110))

    labelling = opened(photos)
    path = labelling.study.ledger_path
    assert path != begun and labelling.session.answers.labels == {}
    assert f"older_ledger = {str(begun)!r} takes over 7 earlier answers" in capsys.readouterr().out
    labelling.page.close()
    path.unlink()

    labelling = opened(photos, older_ledger=str(begun))
    session = labelling.session
    expected = {i: a for i, a in before.items() if i not in labelled[:2]}
    expected["moved.png"] = before[labelled[0]]
    assert said(path) == expected and session.classes == ["cat", "dog", "bird"]
    assert (
        f"taken over from {begun}: 7, for images matched by content; 1 more are for"
        in (labelling.page.state["notes"][0])
    )
    assert session.due == 1 and session.ask(1)[0].model == 1  # a model is there at once
    assert set(session.answers.skipped) == {i for i, a in before.items() if a == "skipped"}
    taken = [entry for entry in session.ledger.entries if entry.asked]
    assert {e.asked for e in taken} == {TAKEN_OVER} and not any(e.guess or e.shown for e in taken)
    assert not estimate.guesses(session.answers, 4)
    assert "taken over" in progress.asked_for(labelling).data


def test_it_goes_on_after_a_kill_and_adds_nothing_twice(photos, begun, opened, monkeypatch):
    """Killed before the second of two writes."""
    add(photos, 100)
    monkeypatch.setattr(older_answers, "AT_ONCE", 5)
    take_over, blocks = Ledger.take_over, []

    def killed(self, answers):
        blocks.append(len(answers))
        if len(blocks) == 2:
            raise KeyboardInterrupt
        take_over(self, answers)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "take_over", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(photos, older_ledger=str(begun))
    assert blocks == [5, 3]
    labelling = opened(photos, older_ledger=str(begun))
    assert said(labelling.study.ledger_path) == said(begun)
    image = labelling.session.ask(1)[0].image
    labelling.session.label(image, "cat")
    labelling.session.undo()
    lines = len(labelling.session.ledger.entries)
    labelling = opened(photos, older_ledger=str(begun))
    assert len(labelling.session.ledger.entries) == lines
    opened(photos)  # the parameter is needed once alone


@pytest.mark.parametrize("header", ["image,label", "File, Label "])
def test_labels_of_a_table_are_taken_over(photos, opened, header):
    table = photos.parent / "known.csv"
    rows = ["0.png,cat", "photos/1.png,owl", "./2.png,dog", "3.png,", "none.png,cat"]
    table.write_text("\n".join([header, *rows]))
    labelling = opened(photos, older_ledger=str(table))
    session = labelling.session
    assert session.answers.labels == {"0.png": "cat", "1.png": "owl", "2.png": "dog"}
    assert session.classes == ["cat", "dog", "owl"]
    told = f"answers taken over from {table}: 3, for images matched by name only; 1 more are for"
    assert told in labelling.page.state["notes"][0]
    assert {e.asked for e in session.ledger.entries if e.image} == {TAKEN_OVER}


def test_a_table_of_many_folders_brings_the_classes_of_this_one_alone(photos, opened):
    table = photos.parent / "known.csv"
    others = [f"elsewhere/{i}.png,class {i}" for i in range(30)]
    table.write_text("\n".join(["image,label", "0.png,cat", "1.png,owl", *others, "x.png,Dog"]))
    session = opened(photos, older_ledger=str(table)).session
    assert session.classes == ["cat", "dog", "owl"] and len(session.answers.labels) == 2


def test_what_was_of_no_class_is_asked_for_again_where_there_are_more(photos, begun, opened):
    add(photos, 100)
    before = said(begun)
    (of_none,) = (image for image, answer in before.items() if answer == "none of these")
    same = opened(photos, older_ledger=str(begun), ledger=str(photos.parent / "same.jsonl"))
    assert said(same.study.ledger_path) == before
    labelling = opened(photos, older_ledger=str(begun), classes=["cat", "dog", "fish"])
    assert said(labelling.study.ledger_path) == {
        image: answer for image, answer in before.items() if image != of_none
    }
    told = "not here; 1 of no class are asked for again, as there are more classes now"
    assert any(note.endswith(told) for note in labelling.page.state["notes"])
    mine = FolderImages(resolve_dataset(str(photos)), "efficientnet-lite0")
    found = older_answers.read(begun, mine)
    alone = replace(found, answers={of_none: found.answers[of_none]})
    with Ledger(photos.parent / "new.jsonl", ["fish"]) as ledger:
        assert older_answers.take_over(ledger, alone).startswith(
            "1 of no class are asked for again"
        )
        assert not ledger.answers.first


def test_a_page_larger_than_what_a_training_chooses_is_told_of(photos, opened, capsys):
    opened(photos, page=12)
    told = "page = 12 shows more images than a training chooses (batch = 4), so about 67% of"
    assert told in (printed := capsys.readouterr().out)
    assert "drawn at random; with page = 5 the share is 0.2" in printed
    opened(photos, page=5)
    assert "than a training chooses" not in capsys.readouterr().out


def test_a_table_may_lie_in_a_folder_that_a_link_leads_to(photos, opened, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    (photos / "known.csv").write_text("file,label\n../photos/0.png,cat\n./1.png,dog\n")
    labelling = opened(tmp_path / "link", older_ledger=str(tmp_path / "link" / "known.csv"))
    assert labelling.session.answers.labels == {"0.png": "cat", "1.png": "dog"}


def test_trainings_that_nobody_was_asked_by_are_not_made_again(photos, opened):
    table = photos.parent / "known.csv"
    table.write_text("file,label\n" + "".join(f"{i}.png,{'cd'[i % 2]}\n" for i in range(7)))
    given = {"batch": 2, "share": 0.1, "older_ledger": str(table)}
    labelling = opened(photos, **given)
    session = labelling.session
    session.wait()
    assert [batch.number for batch in session.trainings()] == [3]  # the one that asks
    for question in session.ask(3):
        session.label(question.image, "c")
    labelling.page.close()
    session = opened(photos, **given).session
    session.wait()
    assert [batch.number for batch in session.trainings()] == [3, 4, 5]


def test_the_labels_of_an_export_are_taken_over(photos, begun, opened, tmp_path):
    answers = Answers(hash_chain.read(begun))
    write_csv(tmp_path / "labels.csv", answers)
    labelling = opened(
        photos, ledger=str(tmp_path / "a.jsonl"), older_ledger=str(tmp_path / "labels.csv")
    )
    assert labelling.session.answers.labels == answers.labels


def test_a_folder_that_was_renamed_or_another_profile_is_told_of_its_ledger(
    photos, begun, opened, capsys
):
    told = f"older_ledger = {str(begun)!r} takes over 8 earlier answers"
    opened(photos, profile="other").page.close()
    assert told in capsys.readouterr().out
    photos.rename(moved := photos.with_name("pictures"))
    add(moved, 100)
    opened(moved).page.close()
    assert told in capsys.readouterr().out
    add(photos.with_name("misc"), 0, 1, *range(200, 220))  # later, and with few of the images
    labelling = opened(photos.with_name("misc"), batch=22)
    for question in labelling.session.ask(22):
        labelling.session.label(question.image, "cat")
    labelling.page.close()
    capsys.readouterr()
    moved.rename(again := photos.with_name("again"))
    add(again, 101)
    opened(again).page.close()
    assert told in capsys.readouterr().out
    opened(again, classes=["indoors", "outdoors"], profile="indoors").page.close()
    add(photos.with_name("strange"), 0, 1, *range(300, 310))
    opened(photos.with_name("strange"))
    assert "older_ledger" not in capsys.readouterr().out


def test_a_table_s_copies_count_for_the_image_that_is_kept(photos, opened, tmp_path):
    (photos / "Backup").mkdir()  # which makes classes of folders, so a table names all
    for seed in range(3):
        shutil.copy(photos / f"{seed}.png", photos / "Backup" / f"copy-{seed}.png")
    files = [str(file.relative_to(tmp_path)) for file in sorted(photos.rglob("*.png"))]
    (tmp_path / "files.csv").write_text("\n".join(["file", *files]))
    rows = ["photos/0.png,cat", "photos/Backup/copy-1.png,dog", "photos/2.png,dog"]
    table = tmp_path / "known.csv"
    table.write_text("\n".join(["image,label", *rows]))
    os.mkfifo(photos / "pipe.png")  # which waits for ever when it is opened
    rows.append("photos/pipe.png,cat")
    labels = opened(tmp_path / "files.csv", older_ledger=str(table)).session.answers.labels
    assert sorted(labels.values()) == ["cat", "dog", "dog"]
    table.write_text("\n".join(["image,label", *rows, "photos/Backup/copy-2.png,cat"]))
    told = "'photos/Backup/copy-2.png' is 'dog' and 'cat': keep only one .'photos/2.png' is the"
    with pytest.raises(ParameterError, match=told):
        opened(tmp_path / "files.csv", older_ledger=str(table), ledger=str(tmp_path / "b.jsonl"))


def test_labels_of_the_test_part_are_passed_over_unread(photos, opened, tmp_path, monkeypatch):
    for label, seeds in {"cat": range(20, 30), "dog": range(30, 40)}.items():
        (tmp_path / "pets").mkdir(exist_ok=True)
        add(tmp_path / "pets" / label, *seeds)
    files = sorted((tmp_path / "pets").rglob("*.png"))
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    (tmp_path / "known.csv").write_text("\n".join(["file,label", *rows]))
    monkeypatch.setattr(older_answers, "_digest", None)
    labelling = opened(tmp_path / "pets", older_ledger=str(tmp_path / "known.csv"))
    assert len(labelling.session.answers.labels) == 16
    assert "16, for images matched by name only; 4 more" in labelling.page.state["notes"][0]


def test_an_export_s_table_reads_back_whatever_files_are_called(photos, opened, tmp_path):
    names = [" a.png", "b.png ", "K\xe4fer.png", os.fsdecode(b"\xff.png"), "c\nd.png", "e;f,g.png"]
    for seed, name in enumerate(names):
        Image.fromarray(noise(50 + seed)).save(photos / name, format="png")
    labelling = opened(photos, batch=18)
    for question in labelling.session.ask(18):
        labelling.session.label(question.image, "cat")
    table = tmp_path / "labels.csv"
    write_csv(table, labelling.session.answers)
    again = opened(photos, ledger=str(tmp_path / "a.jsonl"), older_ledger=str(table))
    assert set(again.session.answers.labels) == {*names, *(f"{seed}.png" for seed in range(12))}
    table.write_text("image,label\nKa\u0308fer.png,cat\n")
    again = opened(photos, ledger=str(tmp_path / "b.jsonl"), older_ledger=str(table))
    assert again.session.answers.labels == {"K\xe4fer.png": "cat"}
    for rows in ("0.png,K\xe4fer", "K\xe4fer.png,cat"):
        table.write_bytes(f"image,label\n{rows}\n".encode("latin-1"))
        with pytest.raises(ParameterError, match="can't be read: the table is not in UTF-8: save"):
            opened(photos, ledger=str(tmp_path / "c.jsonl"), older_ledger=str(table))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "image,class\n0.png,cat",
            "can't be read: it lacks one of the columns image .or file.",
        ),
        ("file\n0.png", "lacks one of the columns image .or file. and label: it has file$"),
        (
            "file,label\n0.png,cat\n0.png,dog",
            "can't be read: '0.png' is 'cat' and 'dog': keep",
        ),
        (
            "file,label\n0.png,cat\n./0.png,dog",
            "'./0.png' is 'cat' and 'dog': keep only one .'0.png'",
        ),
        ("file,label\n0.png,cat\nphotos/0.png,dog", "'photos/0.png' is 'cat' and 'dog': keep"),
        (
            "file,label\nx.png,cat",
            "has no answer for an image of .*photos, matched by name: give a table whose images",
        ),
        ("file,label\n0.png,Cat", "classes has 'cat', and older_ledger = .* has 'Cat': use the"),
        ("file,label\n0.png,", "is empty: leave it out"),
        ("file,label\n0.png,a\u00a0b", "can't be read: class .* is not a name: use printable"),
        (
            "file,label\n0.png,Rat\n1.png,rat",
            "can't be read: class 'rat' already exists as 'Rat'",
        ),
    ],
)
def test_a_table_that_can_not_be_taken_over_is_refused(photos, opened, content, expected):
    (photos.parent / "known.csv").write_text(content)
    with pytest.raises(ParameterError, match=expected):
        opened(photos, older_ledger=str(photos.parent / "known.csv"))
    assert not OwnLabelsStudy.parse({"dataset": str(photos)}).ledger_path.exists()


def test_files_that_were_only_renamed_are_told_by_content_too(photos, begun, opened, tmp_path):
    for file in list(photos.iterdir()):
        file.rename(photos / f"photo-{file.name}")
    with pytest.raises(ParameterError, match="give another ledger, with this one as older_ledger"):
        opened(photos)
    ledger = tmp_path / "renamed.jsonl"
    labelling = opened(photos, ledger=str(ledger), older_ledger=str(begun))
    assert said(ledger) == {f"photo-{image}": answer for image, answer in said(begun).items()}
    assert "matched by content; 0 more" in labelling.page.state["notes"][0]


def test_a_class_in_another_form_of_unicode_takes_the_older_answers(photos, opened, tmp_path):
    labelling = opened(photos, classes=["cat", "Ka\u0308fer"])
    image = labelling.session.ask(1)[0].image
    labelling.session.label(image, "Ka\u0308fer")
    labelling.page.close()
    values = {"ledger": str(tmp_path / "new.jsonl"), "classes": ["cat", "K\xe4fer"]}
    again = opened(photos, older_ledger=str(labelling.study.ledger_path), **values)
    assert again.session.classes == ["cat", "K\xe4fer"]
    assert again.session.answers.labels == {image: "K\xe4fer"}


def test_images_are_told_by_name_where_the_list_of_their_contents_is_gone(photos, begun, opened):
    index._file(resolve_dataset(str(photos)), ".facts.json").unlink()
    add(photos, 100)
    labelling = opened(photos, older_ledger=str(begun))
    assert said(labelling.study.ledger_path) == said(begun)
    assert "matched by name only; 0 more" in labelling.page.state["notes"][0]


def test_a_ledger_with_answers_taken_over_can_be_given_again(photos, begun, opened, tmp_path):
    add(photos, 100)
    labelling = opened(photos, older_ledger=str(begun))
    for question in labelling.session.ask(3):
        labelling.session.label(question.image, "dog")
    labelling.page.close()
    entries = hash_chain.read(labelling.study.ledger_path)
    study = labelling.study
    with Session(
        tmp_path / "again.jsonl", labelling.images.pool, study.classes, study.settings, print
    ) as session:
        replay(session, entries)
        assert [vars(e) | {"time": "", "session": ""} for e in session.ledger.entries] == [
            vars(e) | {"time": "", "session": ""} for e in entries
        ]


def test_what_can_not_be_taken_over_is_refused(photos, begun, opened, tmp_path):
    with pytest.raises(ParameterError, match="answers go to: set ledger to a new file as well"):
        opened(photos, older_ledger=str(begun))
    with pytest.raises(ParameterError, match="older_ledger = '.*/notebooks/none.jsonl' is no file"):
        opened(photos, older_ledger="none.jsonl")
    add(tmp_path / "others", 200, 201, 202)
    with pytest.raises(ParameterError, match="has no answer for an image of .*, matched by con"):
        opened(tmp_path / "others", older_ledger=str(begun))
    assert not OwnLabelsStudy.parse({"dataset": str(tmp_path / "others")}).ledger_path.exists()
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ParameterError, match="empty.jsonl' is empty"):
        opened(photos, older_ledger=str(tmp_path / "empty.jsonl"))

    (tmp_path / "other.jsonl").write_text("no ledger")
    with pytest.raises(
        ParameterError, match="older_ledger = .*other.jsonl' can't be read: .* is no"
    ):
        opened(photos, older_ledger=str(tmp_path / "other.jsonl"))

    add(photos, 100)
    with pytest.raises(ParameterError, match="classes has 'Cat', and older_ledger = .* has 'cat':"):
        opened(photos, older_ledger=str(begun), classes=["Cat", "dog"])
    assert not OwnLabelsStudy.parse({"dataset": str(photos)}).ledger_path.exists()
    with pytest.raises(ParameterError, match="older_ledger = .* is for a person's answers"):
        opened(photos, older_ledger=str(begun), answers=str(begun))


def test_what_is_missing_is_added_later_too_but_never_what_was_taken_back(photos, begun, opened):
    add(photos, 100)
    labelling = opened(photos)
    own = labelling.session.ask(1)[0].image
    labelling.session.label(own, "dog")
    labelling = opened(photos, older_ledger=str(begun))
    second = labelling.study.ledger_path
    assert said(second) == said(begun) | {own: "dog"}
    labelling.session.undo()
    back = labelling.session.ask(1)[0]
    assert back.asked != TAKEN_OVER
    left = said(second)
    assert back.image not in left
    labelling = opened(photos, older_ledger=str(begun))
    assert said(second) == left

    add(photos, 101)  # it grows again, and an earlier ledger is named: the later one adds the rest
    labelling = opened(photos, older_ledger=str(begun))
    third = labelling.study.ledger_path
    labelling.session.label(labelling.session.ask(1)[0].image, "cat")
    opened(photos, older_ledger=str(second))
    assert set(said(third)) >= set(left) | set(said(begun))


def replaced(photos: Path, image: str, ledger: Path) -> FolderImages:
    """The folder with another picture under an image's name, which its names' order does not show.

    The order is that of the contents.
    """
    for seed in range(300, 400):
        Image.fromarray(noise(seed)).save(photos / image)
        images = FolderImages(resolve_dataset(str(photos)), "efficientnet-lite0")
        if images.pool.facts["image_names"] == hash_chain.read(ledger)[0].facts["image_names"]:
            return images
    pytest.fail("no picture left the order as it was")


def test_another_picture_under_an_old_name_has_no_answer(photos, begun, opened, tmp_path):
    ledger = tmp_path / "elsewhere.jsonl"  # whose name does not tell its dataset
    shutil.copy(begun, ledger)
    image = next(iter(said(begun)))
    images = replaced(photos, image, begun)
    for path in (begun, ledger):
        assert image not in older_answers.read(path, images).answers
        assert len(older_answers.read(path, images).answers) == len(said(begun)) - 1


def without_contents(ledger: Path, path: Path) -> Path:
    """A ledger with the same answers, begun when no digest of the contents was kept."""
    first, *entries = hash_chain.read(ledger)
    facts = {k: v for k, v in first.facts.items() if k not in ("image_contents", "classes")}
    with Ledger(path, first.facts["classes"], facts) as older_form:
        for entry in entries:
            older_form.append(entry.action, image=entry.image, label=entry.label)
    return path


def test_a_ledger_is_not_gone_on_with_where_an_image_is_another_picture(
    photos, begun, opened, tmp_path
):
    ledger = tmp_path / "elsewhere.jsonl"
    shutil.copy(begun, ledger)
    opened(photos, ledger=str(ledger)).page.close()
    before = without_contents(begun, tmp_path / "before.jsonl")
    replaced(photos, next(iter(said(begun))), begun)
    with pytest.raises(ParameterError, match="other images, .*12 then, 12 now.*as older_ledger"):
        opened(photos, ledger=str(ledger))
    assert said(before) == said(begun)
    opened(photos, ledger=str(before))  # which can't know


def test_contents_tell_which_of_two_lists_of_the_same_names_a_ledger_was_begun_with(
    photos, begun, opened, tmp_path
):
    ledger = tmp_path / "elsewhere.jsonl"
    shutil.copy(begun, ledger)
    image = next(iter(said(begun)))
    content = (photos / image).read_bytes()
    replaced(photos, image, begun)
    (photos / "back.png").write_bytes(content)
    images = FolderImages(resolve_dataset(str(photos)), "efficientnet-lite0")
    assert older_answers.read(ledger, images).answers["back.png"].answer_text == said(begun)[image]


def test_a_hint_is_of_ledgers_that_have_answers_for_the_folder(photos, begun, opened, capsys):
    add(photos, 100)
    labelling = opened(photos)
    hint = f"older_ledger = {str(begun)!r} takes over 8 earlier answers"
    assert hint in capsys.readouterr().out
    opened(photos)
    assert hint in capsys.readouterr().out  # until there is an answer
    labelling = opened(photos)
    labelling.session.label(labelling.session.ask(1)[0].image, "cat")
    capsys.readouterr()
    opened(photos)
    assert "older_ledger" not in capsys.readouterr().out
    (photos.parent / "b").mkdir()
    add(photos.parent / "b" / "photos", *range(500, 504))
    opened(photos.parent / "b" / "photos")
    assert "older_ledger" not in capsys.readouterr().out


def test_a_copy_that_takes_the_place_of_its_original_has_its_answer(tmp_path):
    add(tmp_path / "twice", 1, 2)
    images = FolderImages(resolve_dataset(str(tmp_path / "twice")), "efficientnet-lite0")
    with Session(
        tmp_path / "ledger.jsonl", images.pool, ["cat"], OwnLabelsStudy.parse({}).settings, print
    ) as session:
        for question in session.ask(2):
            session.label(question.image, "cat")
    shutil.copy(tmp_path / "twice" / "1.png", tmp_path / "twice" / "0.png")
    again = FolderImages(resolve_dataset(str(tmp_path / "twice")), "efficientnet-lite0")
    answers = older_answers.read(tmp_path / "ledger.jsonl", again).answers
    assert set(again.pool.names) == set(answers) == {"0.png", "2.png"}  # the first of two is kept
