"""The folder that is made for whoever has none at hand."""

import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from alutils.folders import example, index
from alutils.folders.scan import scan


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_its_bytes_and_its_checksum_are_pinned(cache):
    """Records of 10 have this checksum in their names."""
    folder = example.example_folder()
    files = sorted(folder.rglob("*.png"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert len(files) == sum(example.IMAGES) == 600
    assert digest == "babcc87dcf1fe7d6fd3d27f7df6f328d7092148d93a80e095b76200263b418a8"
    facts = index.facts(scan(folder))
    assert facts.checksum == "70f67987033c3c49"
    assert (facts.train, facts.test, facts.smallest_class) == (480, 120, 19)
    assert not list(cache.glob(f".{example.NAME}*"))


def test_its_pictures_are_the_digits_dark_on_white_and_fewer_of_each(cache):
    folder = example.example_folder()
    assert [len(list((folder / str(k)).iterdir())) for k in range(10)] == list(range(96, 23, -8))
    digits = load_digits()
    last = digits.images[digits.target == 9][23]
    with Image.open(folder / "9" / "23.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), 255 - (last * (255 / 16)).astype(np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (3, 50), (255, 255)])
def test_a_picture_of_any_shape_is_read_back(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with Image.open(io.BytesIO(example.png(pixels))) as picture:
        picture.verify()
    with Image.open(io.BytesIO(example.png(pixels))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_it_is_made_once_and_whole_after_a_kill(cache):
    left = cache / f".{example.NAME}-1"
    left.mkdir(parents=True)
    (left / "0.png").write_bytes(b"half")
    folder = example.example_folder()
    assert not left.exists() and len(list(folder.rglob("*.png"))) == 600
    (folder / "0/00.png").unlink()
    assert example.example_folder() == folder and not (folder / "0/00.png").exists()


def test_where_it_can_not_be_written_is_told_in_a_line(cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file in the folder's place")
    with pytest.raises(ValueError, match="the example can't be written to .*: make room, ") as told:
        example.example_folder()
    assert "\n" not in str(told.value) and os.sep in str(told.value)
