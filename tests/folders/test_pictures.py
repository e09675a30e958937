"""One image file as a square picture."""

import io
from errno import ENOMEM
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from alutils.folders import pictures
from alutils.folders.example import png
from tests.folders.messy import noise, unusual_images


def picture_of(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return pictures.picture(file)


def test_every_kind_of_file_gives_its_colours(tmp_path):
    for name, middle in unusual_images(tmp_path / "images").items():
        with (tmp_path / "images" / name).open("rb") as file:
            kept = pictures.picture(file)
        assert kept.shape == (3, 112, 112) and kept.dtype == np.uint8
        assert np.abs(kept[:, 56, 56].astype(int) - middle).max() <= 3, name


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (50, 70), (112, 112)])
def test_the_picture_is_torchvision_s_resize_and_centre_crop(size):
    smooth = Image.fromarray(noise(1, 9, 9)).resize(size, Image.Resampling.BICUBIC)
    tensor = torch.from_numpy(np.array(smooth)).permute(2, 0, 1)
    preparation = v2.Compose([v2.Resize(112, antialias=True), v2.CenterCrop(112)])
    expected = preparation(tensor).numpy().astype(int)
    assert np.abs(picture_of(smooth).astype(int) - expected).mean() < 1.5


def test_a_picture_is_turned_as_its_exif_says():
    upright = np.zeros((40, 40, 3), np.uint8)
    upright[:20] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    stored = Image.fromarray(np.rot90(upright))
    kept = picture_of(stored, "JPEG", exif=exif, quality=95)
    assert kept[:, 10, :].min() > 240 and kept[:, 100, :].max() < 15


def test_a_large_photograph_is_decoded_at_a_fraction_and_looks_the_same():
    smooth = Image.fromarray(noise(2, 12, 16)).resize((1600, 1200), Image.Resampling.BICUBIC)
    whole = picture_of(smooth).astype(int)
    assert np.abs(picture_of(smooth, "JPEG", quality=95).astype(int) - whole).mean() < 2


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError("out of memory when reading image file")],
    ids=["Python", "PIL"],
)
def test_want_of_memory_is_no_fault_of_the_file(monkeypatch, error):
    monkeypatch.setattr(Image.Image, "convert", Mock(side_effect=error))
    file = io.BytesIO(png(np.zeros((20, 20), np.uint8)))
    with pytest.raises(OSError, match="Cannot allocate memory") as raised:
        pictures.picture(file)
    assert raised.value.errno == ENOMEM
