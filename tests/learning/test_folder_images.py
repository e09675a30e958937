"""The memory map of a folder's pictures."""

import os
from unittest.mock import Mock

import dask.system
import numpy as np
import pytest
import torch
from PIL import Image

from alutils.folders import index, pictures
from alutils.folders.scan import scan
from alutils.learning import data, folder_images, row_file
from alutils.learning.data import DataUnavailable
from alutils.learning.folder_images import load_folder
from tests.folders.messy import noise, plain_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(row_file, "CHUNK_ROWS", 8)
    monkeypatch.setattr(folder_images, "CHUNK_ROWS", 8)
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, after the scan."""
    seen = []

    def picture(folder, row):
        seen.append(row.file)
        return original(folder, row)

    original = folder_images._picture
    monkeypatch.setattr(folder_images, "_picture", picture)
    return seen


def bytes_of(cache, name):
    return (cache / f"{name}-images.npy").read_bytes()


def test_pictures_lie_in_the_index_s_order(cache, tmp_path):
    root = plain_folder(tmp_path / "pets", ("a", "b", "c"))
    name = scan(root)
    arrays, rows = load_folder(name), list(index.rows(name))
    images = torch.cat([arrays["train_images"], arrays["test_images"]])
    assert images.shape == (30, 3, 112, 112) and images.dtype == torch.uint8
    assert (len(arrays["train_images"]), len(arrays["test_images"])) == (24, 6)
    labels = torch.cat([arrays["train_labels"], arrays["test_labels"]])
    assert labels.dtype == torch.int64
    for image, label, row in zip(images, labels, rows, strict=True):
        with (root / row.file).open("rb") as file:
            assert np.array_equal(image, pictures.picture(file))
        assert "abc"[label] == row.file[0]


def test_the_dataset_is_loaded_by_its_name(cache, tmp_path):
    name = scan(plain_folder(tmp_path / "pets"))
    dataset = data.load(name)
    assert (dataset.name, dataset.classes) == (name, ("cat", "dog"))
    assert dataset.train_labels.bincount().tolist() == [8, 8]


def test_an_unlabelled_dataset_has_labels_that_are_unknown(cache, tmp_path):
    dataset = data.load(scan(plain_folder(tmp_path / "pets") / "cat"))
    assert dataset.train_labels.tolist() == [-1] * 10
    assert dataset.classes == () and dataset.test_images.shape == (0, 3, 112, 112)


def test_the_bytes_are_the_same_with_one_and_two_threads(cache, tmp_path, monkeypatch):
    name = scan(plain_folder(tmp_path / "pets", each=30))
    kept = []
    for threads in (1, 2):
        monkeypatch.setattr(dask.system, "CPU_COUNT", threads)
        load_folder(name)
        kept.append(bytes_of(cache, name))
        (cache / f"{name}-images.npy").unlink()
    assert kept[0] == kept[1]


def test_a_killed_decoding_goes_on_and_needs_no_folder_when_done(cache, tmp_path, decoded):
    root = plain_folder(tmp_path / "pets", each=20)
    name = scan(root)
    load_folder(name)
    whole = bytes_of(cache, name)
    journal = cache / f"{name}-images.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 5
    journal.write_text("\n".join(lines[:3]) + '\n[16, "cu')  # the rest was not reached
    decoded.clear()
    load_folder(name)
    assert set(decoded) == {row.file for row in list(index.rows(name))[16:]}
    assert bytes_of(cache, name) == whole
    root.rename(tmp_path / "elsewhere")
    decoded.clear()
    load_folder(name)
    assert decoded == []


def test_a_damaged_chunk_is_decoded_again(cache, tmp_path, decoded):
    name = scan(plain_folder(tmp_path / "pets"))
    load_folder(name)
    whole = bytes_of(cache, name)
    with (cache / f"{name}-images.npy").open("r+b") as file:
        file.seek(len(whole) - 5)
        file.write(b"spoil")
    decoded.clear()
    load_folder(name)
    assert len(decoded) == 20 - 16 and bytes_of(cache, name) == whole


def test_a_file_that_changed_since_the_scan_is_said(cache, tmp_path):
    root = plain_folder(tmp_path / "pets")
    name = scan(root)
    Image.fromarray(noise(9000)).save(root / "dog/4.png")
    with pytest.raises(DataUnavailable, match="'dog/4.png' of .*: changed since it was scanned"):
        load_folder(name)
    (root / "dog/4.png").unlink()
    with pytest.raises(DataUnavailable, match="'dog/4.png' of .*: No such file or directory"):
        load_folder(name)
    with pytest.raises(DataUnavailable, match="folder-x-1 is not known"):
        load_folder("folder-x-1")


def test_a_file_that_changed_and_kept_size_and_time_is_looked_at_again_as_is_said(cache, tmp_path):
    root = plain_folder(tmp_path / "pets")
    file = root / "dog/new.bmp"
    Image.fromarray(noise(9000)).save(file)
    name, facts = scan(root), file.stat()
    Image.fromarray(noise(9001)).save(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert scan(root) == name
    with pytest.raises(DataUnavailable, match="dog/new.bmp.*, or give the folder's path again"):
        load_folder(name)
    again = scan(root)
    assert again != name and len(load_folder(again)["train_labels"]) == 17


def test_want_of_memory_while_decoding_is_one_error(cache, tmp_path, monkeypatch):
    name = scan(plain_folder(tmp_path / "pets"))
    monkeypatch.setattr(pictures, "_decoded", Mock(side_effect=MemoryError))
    with pytest.raises(DataUnavailable, match="Cannot allocate memory"):
        load_folder(name)
