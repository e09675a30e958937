"""Folders and tables of images as datasets: what is found, left out, refused, and kept."""

import csv
import os
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import dask.system
import pytest
from PIL import Image

from alutils.folders import index, listing, pictures, scan
from alutils.folders.scan import scan as scanned
from alutils.protocol.parameters import ParameterError
from alutils.studies.own_images.plan import OwnImagesStudy
from tests.folders.messy import bad_files, noise, plain_folder, unusual_images


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left_out(name: str) -> dict[str, str]:
    with index.left_out_file(name).open(newline="", encoding="utf-8") as lines:
        return {row["file"]: row["problem"] for row in csv.DictReader(lines)}


def parts(name: str) -> Counter:
    return Counter((row.part, row.label) for row in index.rows(name))


@pytest.fixture
def looks(monkeypatch) -> list:
    """The files that are opened, in no order."""
    seen = []

    def picture(file):
        seen.append(Path(file.name).name)
        return original(file)

    original = pictures.picture
    monkeypatch.setattr(pictures, "picture", picture)
    return seen


def test_a_disk_that_is_full_leaves_no_part_of_an_index(tmp_path, cache, monkeypatch):
    def full(path, *_, **__):
        path.touch()
        raise OSError("the disk is full")

    cache.mkdir()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="full"):
        index.write(tmp_path / "pets", ("cat",), [index.Row("a.png", "train", 0, "0" * 64)])
    assert not list(cache.glob(".index-*"))


def test_class_folders_are_split_into_a_fifth_and_the_rest(tmp_path):
    name = scanned(plain_folder(tmp_path / "My Pets!", ("cat", "dog", "eel"), 12))
    facts = index.facts(name)
    assert name == f"folder-my-pets-{facts.checksum}"
    assert (facts.title, facts.folder) == ("My Pets!", str(tmp_path / "My Pets!"))
    assert (facts.train, facts.test, facts.smallest_class) == (30, 6, 10)
    assert facts.classes == ("cat", "dog", "eel")
    assert parts(name) == {(p, k): n for p, n in (("train", 10), ("test", 2)) for k in range(3)}
    assert [row.part for row in index.rows(name)] == ["train"] * 30 + ["test"] * 6
    assert left_out(name) == {}


def test_given_parts_are_kept_and_a_test_image_is_no_training_image(tmp_path):
    root = tmp_path / "pets"
    plain_folder(root / "train", each=6)
    (root / "test/cat").mkdir(parents=True)
    (root / "test/dog").mkdir()
    (root / "val").mkdir()
    shutil.copy(root / "train/cat/0.png", root / "test/cat/same.png")
    Image.fromarray(noise(5000)).save(root / "test/dog/other.png")
    name = scanned(root)
    assert parts(name) == {("train", 0): 5, ("train", 1): 6, ("test", 0): 1, ("test", 1): 1}
    assert left_out(name) == {
        "train/cat/0.png": "same content as test/cat/same.png",
        "val": "neither in train/ nor in test/",
    }


def test_every_kind_of_file_is_used_or_reported_and_none_is_fatal(tmp_path, capsys):
    root = plain_folder(tmp_path / "messy")
    unusual = unusual_images(root / "odd")
    bad = bad_files(root / "cat")
    shutil.copy(root / "cat/0.png", root / "cat/copy.png")
    shutil.copy(root / "cat/1.png", root / "dog/disputed.png")
    (root / ".DS_Store").write_text("")
    (root / "loose.png").write_bytes((root / "cat/2.png").read_bytes())
    (root / "dog/deeper").symlink_to(root / "dog", target_is_directory=True)
    name = scanned(root)
    disputed = "same content as a file with another label"
    assert left_out(name) == {f"cat/{file}": why for file, why in bad.items()} | {
        "cat/copy.png": "same content as cat/0.png",
        "cat/1.png": disputed,
        "dog/disputed.png": disputed,
        "loose.png": "in no class folder",
    }
    facts = index.facts(name)
    assert facts.classes == ("cat", "dog", "odd")
    assert facts.train + facts.test == 9 + 10 + len(unusual)
    assert (
        f"14 files are left out, listed in {index.left_out_file(name)}" in capsys.readouterr().err
    )


def test_a_file_left_out_whose_name_has_a_line_break_is_one_row(tmp_path):
    root = plain_folder(tmp_path / "pets")
    for name in ("a\rb.png", "c\nd.png"):
        (root / "cat" / name).write_text("no image")
    assert left_out(scanned(root)).keys() == {"cat/a\rb.png", "cat/c\nd.png"}


def test_a_table_gives_files_and_labels(tmp_path):
    root = plain_folder(tmp_path / "images")
    lines = [f"images/{c}/{i}.png,{c}-{i % 2},x" for c in ("cat", "dog") for i in range(10)]
    lines += ["images/cat/0.png,cat-0,x", "images/none.png,cat-0,x", "images/dog/3.png,,x"]
    lines += ["images/cat,cat-0,x", "a\0b.png,cat-0,x"]
    (tmp_path / "list.csv").write_text("\ufefffile,label,note\n" + "\n".join(lines), "utf-8")
    name = scanned(tmp_path / "list.csv")
    facts = index.facts(name)
    assert name.startswith("folder-list-") and facts.folder == str(tmp_path)
    assert facts.classes == ("cat-0", "cat-1", "dog-0", "dog-1")
    assert (facts.train, facts.test) == (16, 4)
    assert left_out(name) == {
        "images/cat/0.png": "same content as images/cat/0.png",
        "images/dog/3.png": "no label",
        "images/cat": "not a file",
        "a\0b.png": "can't be read: embedded null byte",
        "images/none.png": "can't be read: No such file or directory",
    }
    assert root.exists()


@pytest.mark.parametrize(
    "header", ["file, label", "file,Label", " File ,LABEL\t", 'file, "label"', "Label,file,label"]
)
def test_a_header_is_told_but_for_case_and_blanks(tmp_path, header):
    plain_folder(tmp_path / "images")
    files = [(f"images/{c}/{i}.png", c) for c in ("cat", "dog") for i in range(10)]
    first = "other," * header.startswith("Label")
    rows = [f'{first}{file}, "{label}"' for file, label in files]
    (tmp_path / "list.csv").write_text("\n".join([header, *rows]))
    assert index.facts(scanned(tmp_path / "list.csv")).classes == ("cat", "dog")


def test_a_parquet_table_is_the_same_dataset(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    plain_folder(tmp_path / "images")
    files = [f"images/{c}/{i}.png" for c in ("cat", "dog") for i in range(10)]
    labels = [file.split("/")[1] for file in files]
    parquet.write_table(pyarrow.table({"file": files, "label": labels}), tmp_path / "list.parquet")
    rows = [f"{file},{label}" for file, label in zip(files, labels, strict=True)]
    (tmp_path / "list.csv").write_text("\n".join(["file,label", *rows]))
    assert scanned(tmp_path / "list.parquet") == scanned(tmp_path / "list.csv")


@pytest.mark.parametrize("table", [False, True])
def test_without_labels_all_images_are_for_training(tmp_path, table):
    root = plain_folder(tmp_path / "images") / "cat"
    if table:
        root = tmp_path / "images/list.csv"
        root.write_text(
            "file\ncat/0.png,of no column\n" + "".join(f"cat/{i}.png\n" for i in range(10))
        )
    facts = index.facts(name := scanned(root))
    assert (facts.train, facts.test, facts.smallest_class, facts.classes) == (10, 0, 0, ())
    assert parts(name) == {("train", -1): 10}


def test_the_name_is_of_contents_and_labels_not_of_files_names(tmp_path):
    name = scanned(root := plain_folder(tmp_path / "pets"))
    order = [(row.part, row.label, row.sha256) for row in index.rows(name)]
    (root / "cat/0.png").rename(root / "cat/z.png")
    assert scanned(root) == name
    assert [(row.part, row.label, row.sha256) for row in index.rows(name)] == order
    assert "cat/z.png" in {row.file for row in index.rows(name)}
    (root / "cat/z.png").unlink()
    assert scanned(root) != name
    moved = root.rename(tmp_path / "elsewhere")
    plain_folder(root)
    assert scanned(root) == name and scanned(moved) != name


def test_only_new_and_changed_files_are_looked_at(tmp_path, looks):
    name = scanned(root := plain_folder(tmp_path / "pets"))
    assert len(looks) == 20
    looks.clear()
    assert scanned(root) == name and looks == []
    Image.fromarray(noise(7000, 41, 41)).save(root / "dog/5.png")
    assert scanned(root) != name and looks == ["5.png"]


def test_a_file_that_can_not_be_forgotten_is_told_of(tmp_path, cache, looks, capsys, monkeypatch):
    root = plain_folder(tmp_path / "pets")
    scanned(root)
    (database,) = cache.glob("scan-*.sqlite")
    monkeypatch.setattr(scan.sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        capsys.readouterr()
        scan.invalidate("cat/0.png")
        why = f"{database} can't be changed (database is locked)"
        told = f"'cat/0.png' will not be opened again, as {why}: remove that database first\n"
        assert capsys.readouterr().err == told
    looks.clear()
    (cache / "scan-cut-off.sqlite").touch()
    scan.invalidate("cat/1.png")
    scan.invalidate("cat/none.png")
    assert not capsys.readouterr().err
    scanned(root)
    assert looks == ["1.png"] and not capsys.readouterr().out


def test_a_killed_scan_goes_on(tmp_path, looks, monkeypatch):
    root = plain_folder(tmp_path / "pets", each=100)
    monkeypatch.setattr(dask.system, "CPU_COUNT", 1)
    original = scan._looked

    def killed(folder, file, *facts):
        if file == b"dog/50.png":
            raise KeyboardInterrupt
        return original(folder, file, *facts)

    monkeypatch.setattr(scan, "_looked", killed)
    with pytest.raises(KeyboardInterrupt):
        scanned(root)
    before = set(looks)
    assert before
    looks.clear()
    monkeypatch.setattr(scan, "_looked", original)
    name = scanned(root)
    assert index.facts(name).train == 160
    assert len(looks) == 200 - 64 * ((200 - len(looks)) // 64) < 200  # whole batches were kept


def test_an_unreadable_file_is_tried_again(tmp_path, monkeypatch):
    root = plain_folder(tmp_path / "pets")
    original = Path.open

    def refused(self, *args, **options):
        if self.name == "3.png":
            raise PermissionError(13, os.strerror(13))
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        name = scanned(root)
    assert left_out(name) == {
        f"{c}/3.png": "can't be read: Permission denied" for c in ("cat", "dog")
    }
    assert left_out(scanned(root)) == {}


def test_a_file_for_which_memory_ran_out_is_tried_again(tmp_path, monkeypatch):
    root = plain_folder(tmp_path / "pets")
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_decoded", Mock(side_effect=MemoryError))
        with pytest.raises(ValueError, match="has 0 usable images.* 20 files are left out"):
            scanned(root)
    assert left_out(scanned(root)) == {}


def test_a_folder_that_can_not_be_read_is_told_and_left_out(tmp_path, monkeypatch):
    root = plain_folder(tmp_path / "pets")
    for folder in ("cat/locked", "locked"):
        (root / folder).mkdir()
    Image.fromarray(noise(5000)).save(root / "locked/0.png")
    (root / "dog/round.png").symlink_to("round.png")
    original = os.scandir

    def refused(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", refused)
    name = scanned(root)
    denied = "can't be read: Permission denied"
    assert left_out(name) == {
        "cat/locked": denied,
        "locked": denied,
        "dog/round.png": "can't be read: Too many levels of symbolic links",
    }
    assert index.facts(name).classes == ("cat", "dog")


def test_what_systems_and_network_drives_leave_is_no_class_and_no_image(tmp_path):
    root = plain_folder(tmp_path / "pets")
    name = scanned(root)
    left = ("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information")
    for number, folder in enumerate((*left, "lost+found", "cat/@eaDir/0.png")):
        (root / folder).mkdir(parents=True)
        Image.fromarray(noise(5000 + number)).save(root / folder / "thumb.png")
    (root / "dog/thumbs.db").write_text("")
    assert scanned(root) == name and left_out(name) == {}


@pytest.mark.parametrize("time", [1 << 34, -(1 << 34)])
def test_a_file_s_time_may_be_any(tmp_path, monkeypatch, time):
    root = plain_folder(tmp_path / "pets")
    original = os.stat

    def stat(path, **options):
        found = original(path, **options)
        if Path(path).name != "3.png":
            return found
        return Mock(st_mode=found.st_mode, st_size=found.st_size, st_mtime_ns=time * 10**9)

    monkeypatch.setattr(listing.os, "stat", stat)
    name = scanned(root)
    assert index.facts(name).train + index.facts(name).test == 20


def test_a_folder_that_is_empty_for_a_while_is_not_looked_at_again(tmp_path, looks):
    name = scanned(root := plain_folder(tmp_path / "pets"))
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    with pytest.raises(ValueError, match="it has no usable image"):
        scanned(root)
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    looks.clear()
    assert scanned(root) == name and looks == []


@pytest.mark.parametrize("whole", [0, 4096])
def test_a_spoiled_database_is_begun_anew(tmp_path, cache, looks, whole):
    """Its first page, and another one."""
    name = scanned(root := plain_folder(tmp_path / "pets"))
    (database,) = cache.glob("scan-*.sqlite")
    content = database.read_bytes()
    database.write_bytes(content[:whole] + b"spoiled" * (len(content) // 7))
    looks.clear()
    assert scanned(root) == name and len(looks) == 20


def test_a_spoiled_list_of_files_is_no_dataset(tmp_path, cache):
    name = scanned(plain_folder(tmp_path / "pets"))
    file = cache / f"{name}.files.jsonl"
    file.write_text(file.read_text().replace('"train", 0', '"train", 1', 1))
    with pytest.raises(index.NotIndexed, match="list of files of .* is damaged"):
        list(index.rows(name))
    with pytest.raises(index.NotIndexed, match="folder-x-1 is not known in .*: give the folder's"):
        index.facts("folder-x-1")


def test_what_is_no_dataset_is_refused(tmp_path, cache):
    def refused(path: Path, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            scanned(path)

    refused(tmp_path / "nowhere", "there is no such folder, CSV or Parquet file")
    refused(tmp_path / "nowhere/..", "there is no such folder, CSV or Parquet file")
    (tmp_path / "notes.txt").touch()
    refused(tmp_path / "notes.txt", "it is neither a folder nor a CSV or Parquet file")
    one = plain_folder(tmp_path / "one", ("cat",))
    refused(one, "at least two classes are needed, and it has one, 'cat'; for images without")
    few = plain_folder(tmp_path / "few")
    (few / "rare").mkdir()
    Image.fromarray(noise(3000)).save(few / "rare/0.png")
    refused(few, "class 'rare' has 1 usable images, none of which is for the train set")
    (few / "rare/0.png").unlink()
    refused(few, "class 'rare' has 0 usable images.* 1 files are left out, listed in .*left-out")
    tables = [table.read_text() for table in cache.glob("scan-*.left-out.csv")]
    assert "file,problem\nrare,an empty class folder\n" in tables
    half = plain_folder(tmp_path / "half/train").parent
    refused(half, "it has train/ but no test/ with class folders: add it, or give the folder that")
    parts = plain_folder(tmp_path / "parts", ("Testing", "Training"))
    refused(parts, "its folders Testing, Training would be its classes: if they are parts, name")
    plain_folder(tmp_path / "stl", ("train", "test", "unlabelled"))
    refused(tmp_path / "stl", "its folders test, train, unlabelled would be its classes: if they")
    (half / "test/cat").mkdir(parents=True)
    Image.fromarray(noise(1)).save(half / "test/cat/new.png")
    refused(half, "class 'dog' has 10 usable images, none of which is for the test set")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "it has no usable image")
    (tmp_path / "list.csv").write_text("path,label\na.png,b\n")
    refused(tmp_path / "list.csv", "it lacks the column file: it has path, label")
    (tmp_path / "list.csv").write_text("file,Label,LABEL\na.png,b,c\n")
    refused(tmp_path / "list.csv", "its columns Label, LABEL may all be label: give only one of")
    (tmp_path / "list.csv").write_text("file,label,label\nx/1.png,cat,dog\n")
    refused(tmp_path / "list.csv", "its columns label, label may all be label: give only one of")


def test_a_path_that_can_not_be_looked_at_is_refused_in_a_line(tmp_path, monkeypatch):
    parse = OwnImagesStudy.parse
    for path, why in {
        "~nosuchuser/x": "it can't be read (Could not determine home directory): check the path",
        f"{tmp_path}/{'x' * 300}": "it can't be read (File name too long): check the path",
        "x" * 300: "is unknown",
    }.items():
        with pytest.raises(ParameterError, match=re.escape(why)) as refused:
            parse({"dataset": path})
        assert "dataset = " in str(refused.value) and "\n" not in str(refused.value)


def test_names_and_tables_that_are_not_utf_8_are_refused_in_a_line(tmp_path):
    root = plain_folder(tmp_path / "pets", ("cat", "dog", "caf\udce9"))
    expected = r"the name of its class folder 'caf\udce9' is not UTF-8: rename it"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        scanned(root)
    for rows in ("file,label\nk\xe4fer.png,cat\n", "file,l\xe4bel\n"):
        (tmp_path / "list.csv").write_bytes(rows.encode("latin-1"))
        with pytest.raises(ValueError, match="^the table is not in UTF-8: save it as CSV UTF-8$"):
            scanned(tmp_path / "list.csv")


def test_a_class_s_name_in_two_forms_of_unicode_is_refused(tmp_path, capsys):
    root = plain_folder(tmp_path / "pets", ("K\xe4fer", "Ka\u0308fer"))
    expected = r"classes 'Ka\u0308fer' and 'K\xe4fer' are one name, 'Käfer', in two forms of Uni"
    with pytest.raises(ValueError, match=re.escape(expected)):
        scanned(root)
    cases = scanned(plain_folder(tmp_path / "letters", ("a", "A")))
    assert index.facts(cases).classes == ("A", "a")
    told = "letters: classes 'A' and 'a' are two classes, though only their case differs"
    assert told in capsys.readouterr().err


def test_a_class_may_be_called_as_a_part(tmp_path):
    name = scanned(plain_folder(tmp_path / "vehicles", ("train", "car")))
    assert index.facts(name).classes == ("car", "train")
    name = scanned(plain_folder(tmp_path / "trial", ("test", "control")))
    assert index.facts(name).classes == ("control", "test")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_may_have_other_marks_than_commas(tmp_path, mark):
    files = [
        str(file.relative_to(tmp_path)) for file in plain_folder(tmp_path / "a, b").rglob("*.png")
    ]
    rows = [("file", "label"), *((file, file.split("/")[1]) for file in files)]
    (tmp_path / "list.csv").write_text("\ufeff" + "".join(f"{mark.join(r)}\r\n" for r in rows))
    facts = index.facts(scanned(tmp_path / "list.csv"))
    assert facts.classes == ("cat", "dog") and facts.train + facts.test == 20


def test_a_table_names_files_with_blanks_in_any_form_of_unicode_or_no_utf_8_at_all(tmp_path):
    names = ["1 .png ", "K\xe4fer.png", "Sa\u0308ge.png", os.fsdecode(b"\xff.png")]
    for seed, file in enumerate(names):
        Image.fromarray(noise(seed)).save(tmp_path / file, format="png")
    written = [names[0], "Ka\u0308fer.png ", "S\xe4ge.png", names[3], "none.png"]
    content = "\n".join(["file", *written]).encode("utf-8", "surrogateescape")
    (tmp_path / "list.csv").write_bytes(content)
    name = scanned(tmp_path / "list.csv")
    assert {row.file for row in index.rows(name)} == set(names)
    assert left_out(name) == {"none.png": "can't be read: No such file or directory"}


@pytest.mark.parametrize("classes", [2, 37, 200])
def test_any_number_of_classes(tmp_path, classes):
    names = tuple(f"class {i:03}" for i in range(classes))
    facts = index.facts(scanned(plain_folder(tmp_path / "many", names, each=2)))
    assert facts.classes == names
    assert (facts.train, facts.test, facts.smallest_class) == (classes, classes, 1)
