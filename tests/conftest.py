"""Shared fixtures: a private outputs folder, small cells on the embedded digits, real data."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, chdir
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from threadpoolctl import ThreadpoolController

from alutils.learning import data, features
from alutils.paths import ROOT, git
from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.running import cluster, round
from alutils.running.placement import Placement
from tests.browser import CHROMIUM, OPTIONS, fetched_axe
from tests.cells import StubEncoder

SMALL = dict(epochs=1, schedule="one-cycle", learning_rate=2e-3)
POOLS = ThreadpoolController()
"""Of the libraries that are loaded by now, which are all; to look for them takes milliseconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One test of the smoke run first, its others last: other processes have work meanwhile."""
    of_it = [item for item in items if "smoke" in item.fixturenames]
    of_it.sort(key=lambda item: "browser" in item.fixturenames)
    others = [item for item in items if "smoke" not in item.fixturenames]
    items[:] = of_it[:1] + others + of_it[1:]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as the workers do: on one thread, in torch and in the BLAS of NumPy and SciPy."""
    torch.set_num_threads(1)
    with POOLS.limit(limits=1):
        yield


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    """An outputs folder of the test's own."""
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def keep_committed(outputs) -> Callable[[Iterable[str]], None]:
    """Function that fills the test's outputs with the records of profiles that git knows."""

    def copy(profiles: Iterable[str]) -> None:
        for name in git("ls-files", *(f"outputs/{profile}/runs" for profile in profiles)).split():
            file = outputs.parent / name
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, file)

    return copy


@pytest.fixture
def own_git(tmp_path, monkeypatch) -> None:
    """Git knows nothing of the settings of the user and of the machine."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)


@pytest.fixture
def store(outputs, shared_worker) -> Store:
    """An empty store in the test's outputs folder, and a worker for what is to fill it."""
    one = Store("test")
    one.prepare()
    return one


@pytest.fixture(scope="session")
def one_worker() -> Iterator[str]:
    """A local cluster of one worker, which imports torch once; what tells processes of it."""
    with ExitStack() as stack:
        with chdir(ROOT):  # from there it imports the tests' tasks
            stack.enter_context(cluster.shared(Placement(workers=1)))
        yield os.environ.pop(cluster.SHARED)


@pytest.fixture
def shared_worker(one_worker, monkeypatch) -> None:
    """What runs with ``workers = 1`` takes the one that tests share."""
    monkeypatch.setenv(cluster.SHARED, one_worker)


@pytest.fixture(scope="session")
def digits_cell():
    """Factory of cells on digits that train in about a second."""

    def make(**changes) -> Cell:
        fields = dict(
            dataset="digits", arm="random", seed=0, first_labels=128, rounds=3,
            acquisition_fraction=0.02, figure="test", **SMALL,
        )  # fmt: skip
        return Cell(**{**fields, **changes})

    return make


@pytest.fixture
def stub_encoder(tmp_path, monkeypatch):
    """A stub in every encoder's stead, and an empty data cache for its features."""
    stub = StubEncoder()
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
    monkeypatch.setattr(features, "load_encoder", lambda name: stub)
    kept = features.load_features, round._images_on_device
    for function in kept:
        function.cache_clear()
    yield stub
    for function in kept:
        function.cache_clear()


@pytest.fixture(params=["mnist", "cifar10"])
def real_dataset(request) -> data.Dataset:
    """A real dataset; skipped where it can't be had, unless ALUTILS_REQUIRE_DATA=1."""
    try:
        return data.load(request.param)
    except data.DataUnavailable as error:
        if os.environ.get("ALUTILS_REQUIRE_DATA") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; skipped where there is none, unless ALUTILS_REQUIRE_BROWSER=1."""
    if not CHROMIUM and os.environ.get("ALUTILS_REQUIRE_BROWSER") != "1":
        pytest.skip("no Chromium on this machine's PATH")
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS) as chromium:
            yield chromium


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script of axe-core."""
    return fetched_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """Outputs of one uninterrupted run of the smoke profile, one for all processes of the suite.

    It ran without a network and without what the user's cache has: smoke needs no download.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    with FileLock(f"{shared}.lock"):
        if not (shared / "log").exists():
            data = str(shared.with_name("data of smoke"))
            done = command(
                "study", "smoke", ALUTILS_OUTPUTS=str(shared), ALUTILS_DATA=data, **NO_NETWORK
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (shared / "log").write_text(done.stdout)
    return shared


CLOSED = "http://127.0.0.1:9"
NO_NETWORK = {key: CLOSED for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
NO_NETWORK |= {"NO_PROXY": "", "no_proxy": ""}
"""Variables of a process that can reach no other machine by name."""


def command(*args: str, **environment: str) -> subprocess.CompletedProcess:
    """Run ``python -m alutils`` with arguments, from the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "alutils", *args],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1800,  # a few minutes on two cores that are free
    )


@pytest.fixture
def unpainted(monkeypatch) -> None:
    """Figures are composed and not painted, which takes most of their time."""

    def savefig(self, file, **options) -> None:
        Image.new("RGB", (1, 1)).save(file, "png")

    monkeypatch.setattr(Figure, "savefig", savefig)
