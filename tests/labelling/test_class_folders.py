import hashlib
import os

import pytest

from alutils.labelling.class_folders import (
    CHANGED,
    GONE,
    LONGEST,
    folder_name,
    without_file,
    write_folders,
)
from alutils.labelling.entries import Answers, Entry
from alutils.protocol.parameters import ParameterError

CLASSES = ["ant", "bee/fly", ".cat", 'çà, "q" <x>']
LABELS = {
    "a/one two.png": "bee/fly", "b/ü,\"1\".png": "ant", "c#1.png": "çà, \"q\" <x>", "d.png": "ant",
}  # fmt: skip


def labelled(labels: dict[str, str], classes: list[str]) -> Answers:
    """Answers that give images these classes."""
    lines = [Entry(i, "", "label", *item) for i, item in enumerate(labels.items(), 2)]
    return Answers([Entry(1, "", "start", facts={"classes": classes}), *lines])


def ants(*images: str) -> Answers:
    """Answers that say ant of every image."""
    return labelled(dict.fromkeys(images, "ant"), ["ant"])


@pytest.mark.parametrize("how", ["links", "copies"])
def test_class_folders_hold_the_images_by_their_paths(tmp_path, how):
    answers = labelled(LABELS, CLASSES)
    root, folder = tmp_path / "pictures", tmp_path / "by class"
    for image in LABELS:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_text(image)
    write_folders(folder, answers, root, how)
    names = dict(zip(CLASSES, ["ant", "bee%2Ffly", "%2Ecat", "çà, %22q%22 %3Cx%3E"], strict=True))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names.values())
    files = {path.relative_to(folder): path for path in folder.rglob("*.png")}
    assert {str(path) for path in files} == {
        os.path.join(names[label], image) for image, label in LABELS.items()
    }
    for path, file in files.items():
        assert file.read_text() == "/".join(path.parts[1:])
        assert file.is_symlink() == (how == "links")
    with pytest.raises(ParameterError, match="is there already, and nothing is written over"):
        write_folders(folder, answers, root, how)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("image", ["gone.png", "/etc/hostname"])
def test_images_none_of_which_is_below_the_root_leave_no_folder(tmp_path, image):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ParameterError, match="is no file below"):
        write_folders(tmp_path / "out", ants(image), tmp_path / "pictures")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("how", ["links", "copies"])
def test_an_image_beside_the_root_is_linked_and_one_that_is_gone_is_named(tmp_path, how):
    root = tmp_path / "tables"
    root.mkdir()
    (tmp_path / "beside.png").write_text("beside")
    images = ("../beside.png", "gone.png", "/etc/hostname")
    gone = write_folders(tmp_path / "out", ants(*images), root, how)
    assert gone == ["gone.png", "/etc/hostname"]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / "ant" / "%2E%2E" / "beside.png"]
    assert files[0].read_text() == "beside"


def test_what_has_another_content_by_now_is_told_from_what_is_gone(tmp_path):
    files = {"a.png": b"a", "b.png": b"b", "unknown.png": b"?"}
    digests = {"a.png": hashlib.sha256(b"a").hexdigest(), "b.png": "of another", "gone.png": "c"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    images = [*files, "gone.png", str(tmp_path / "a.png")]
    problems = {"gone.png": GONE, images[-1]: GONE}
    assert without_file(images, tmp_path) == problems
    assert without_file(images, tmp_path, digests) == problems | {"b.png": CHANGED}
    out = tmp_path / "out"
    assert write_folders(out, ants("a.png", "b.png"), tmp_path, without={"b.png"}) == ["b.png"]
    assert [path.name for path in (out / "ant").iterdir()] == ["a.png"]


def test_images_that_are_known_to_be_without_a_file_leave_empty_class_folders(tmp_path):
    answers = labelled({"gone.png": "ant"}, ["ant", "bee"])
    assert write_folders(tmp_path / "out", answers, tmp_path, without=["gone.png"]) == ["gone.png"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["ant", "bee"]


def test_a_class_s_folder_has_its_name_as_far_as_file_systems_allow(tmp_path):
    plain = ["Käfer", "甲虫", "жук " * 20 + "a", "a b (c) #1 & d; ~", "x.", "a'b", "é" * 127]
    assert [folder_name(name) for name in plain] == plain
    assert folder_name('a/b\\c:d*e?f"g<h>i|j%k') == "a%2Fb%5Cc%3Ad%2Ae%3Ff%22g%3Ch%3Ei%7Cj%25k"
    assert [folder_name(name) for name in ("..", ".x", "a\tb")] == ["%2E.", "%2Ex", "a%09b"]
    long = ["甲" * 86, "甲" * 87, "a" * 255 + "b", "a" * 255 + "c", "/" * 90]
    names = [folder_name(name) for name in long]
    assert len(set(names)) == 5 and all(len(os.fsencode(name)) <= LONGEST for name in names)
    assert names[0].startswith("甲" * 79 + "~")
    for name in names:
        (tmp_path / name).mkdir()
