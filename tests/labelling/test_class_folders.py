import hashlib
import os
from pathlib import Path
from urllib.parse import unquote

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


def test_class_folders_hold_the_images_by_their_paths(tmp_path):
    answers = labelled(LABELS, CLASSES)
    root, folder = tmp_path / "pictures", tmp_path / "by class"
    for image in LABELS:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_text(image)
    write_folders(folder, answers, root, ())
    names = dict(zip(CLASSES, ["ant", "bee%2Ffly", None, "çà, %22q%22 %3Cx%3E"], strict=True))
    del names[".cat"]  # which no image has as its label
    assert sorted(path.name for path in folder.iterdir()) == sorted(names.values())
    files = {path.relative_to(folder): path for path in folder.rglob("*.png")}
    assert {str(path) for path in files} == {
        os.path.join(names[label], image) for image, label in LABELS.items()
    }
    for path, file in files.items():
        assert file.read_text() == "/".join(path.parts[1:])
        assert file.is_symlink()
    with pytest.raises(ParameterError, match="already exists, and nothing is overwritten"):
        write_folders(folder, answers, root, ())
    assert not list(tmp_path.glob("*.part"))


def test_an_image_beside_the_root_is_linked(tmp_path):
    root = tmp_path / "tables"
    root.mkdir()
    (tmp_path / "beside.png").write_text("beside")
    write_folders(tmp_path / "out", ants("../beside.png"), root, ())
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
    assert without_file(images, tmp_path, {}) == problems
    assert without_file(images, tmp_path, digests) == problems | {"b.png": CHANGED}
    out = tmp_path / "out"
    write_folders(out, ants("a.png", "b.png"), tmp_path, {"b.png"})
    assert [path.name for path in (out / "ant").iterdir()] == ["a.png"]


def test_an_image_that_may_not_be_looked_at_counts_as_gone(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refused)
    assert without_file(["a.png"], tmp_path, {}) == {"a.png": GONE}


def test_a_class_of_which_there_is_no_file_has_no_folder(tmp_path):
    answers = labelled({"gone.png": "ant", "a.png": "cat"}, ["ant", "bee", "cat"])
    write_folders(tmp_path / "out", answers, tmp_path, ["gone.png"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat"]


def test_a_class_s_folder_has_its_name_as_far_as_file_systems_allow(tmp_path):
    plain = ["Käfer", "甲虫", "жук " * 20 + "a", "a b (c) #1 & d; ~", "x.y", "a'b", "é" * 127]
    assert [folder_name(name) for name in plain] == plain
    assert folder_name('a/b\\c:d*e?f"g<h>i|j%k') == "a%2Fb%5Cc%3Ad%2Ae%3Ff%22g%3Ch%3Ei%7Cj%25k"
    assert [folder_name(name) for name in ("..", ".x", "a\tb")] == ["%2E%2E", "%2Ex", "a%09b"]
    assert [folder_name(name) for name in ("x.", "x ", "x. .")] == ["x%2E", "x%20", "x. %2E"]
    long = ["甲" * 86, "甲" * 87, "a" * 255 + "b", "a" * 255 + "c", "/" * 90]
    names = [folder_name(name) for name in long]
    assert len(set(names)) == 5 and all(len(os.fsencode(name)) <= LONGEST for name in names)
    assert names[0].startswith("甲" * 79 + "~")
    for name in names:
        (tmp_path / name).mkdir()


def test_a_class_called_as_a_device_of_windows_has_a_folder_and_is_read_back():
    devices = ["con", "Prn", "AUX", "nul", "com1", "LPT9", "com¹", "nul.txt", "con .a"]
    quoted = ["%63on", "%50rn", "%41UX", "%6Eul", "%63om1", "%4CPT9", "%63om¹", "%6Eul.txt"]
    assert [folder_name(name) for name in devices] == [*quoted, "%63on .a"]
    plain = ["cone", "con-1", "console.log", "com", "com10", "null", "a con"]
    assert [folder_name(name) for name in plain] == plain
    others = ["train", "test", "Lost+Found", "desktop.ini"]  # which a folder of images has
    assert [folder_name(name) for name in (*others, "trains", "Test")] == [
        "%74rain", "%74est", "%4Cost+Found", "%64esktop.ini", "trains", "Test",
    ]  # fmt: skip
    names = [*devices, *plain, *others, "x.", "x ", "..", "a/b%2Fc", "100 %", 'çà, "q" <x>']
    assert [unquote(folder_name(name)) for name in names] == names
