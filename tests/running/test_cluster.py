"""What happens to a run when a cluster loses some of itself."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from distributed import Client, wait

from alutils import waiting
from alutils.paths import ROOT
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records.store import Store
from alutils.running import cluster, engine
from alutils.running import workers as workers_module
from alutils.running.placement import Placement
from alutils.running.workers import Workers
from tests.running.made_up_cluster import ADDRESS, FakeClient, checked_workers
from tests.running.tasks import counted, stub
from tests.running.test_engine import facts, never


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    for address in ("tcp://127.0.0.1:9", "127.0.0.1:9/x", "nowhere"):
        with pytest.raises(ParameterError, match=f"scheduler = '{address}' can't be reached"):
            with cluster.cluster(Placement(address)):
                pass


class Http(BaseHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(params=["http", "silent", "worker"])
def service(request) -> Iterator[str]:
    """The address of something that is no Dask scheduler."""
    if request.param == "http":
        server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
    elif request.param == "silent":
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    else:
        request.getfixturevalue("shared_worker")
        with cluster.cluster(Placement(workers=1), lambda line: None) as workers:
            yield next(iter(workers.slots()))


@pytest.mark.soak
def test_another_service_at_the_schedulers_address_is_one_error(service, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    for look in (cluster.check_scheduler, cluster._connected):
        with pytest.raises(ParameterError, match=f"scheduler = '{service}' can't be reached"):
            look(service)


@pytest.fixture
def clock(monkeypatch) -> Callable[[float], None]:
    """A clock for what is waited for, moved on by hand."""
    now = [0.0]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def go_on(seconds: float) -> None:
        now[0] += seconds

    return go_on


def test_a_wait_is_announced_every_minute_and_ends(clock):
    lines: list[str] = []
    wait = waiting.Waiting(lines.append, quiet_s=10)
    for _ in range(25):
        wait.go_on("a bus")
        clock(6)
    assert lines == ["a bus"] * 3  # after 12, 72 and 132 seconds
    wait.end()
    assert wait.go_on("a bus") == 0 and len(lines) == 3


@pytest.mark.parametrize(
    ("scheduler", "limit", "message"),
    [
        ("", 300, "no local worker is left: waiting up to 5 minutes for one to join; free memory"),
        (ADDRESS, 3600, "no worker is left: waiting up to 60 minutes for one to join; start some"),
    ],
)
def test_a_run_without_a_worker_says_so_and_ends(clock, scheduler, limit, message):
    client, lines = FakeClient().join("a"), []
    checked = Workers(client, Placement(scheduler), lines.append)
    left = client.joined.pop("a")
    for _ in range(limit // 20 + 1):
        assert checked.slots() == {}
        clock(20)
    assert len(lines) == limit // 60 and all(line.startswith(message) for line in lines)
    with pytest.raises(StudyError, match="has joined for .* finished rounds are kept: .* again"):
        checked.slots()
    client.joined["a"] = left
    assert checked.slots() == {"a": 1}
    del client.joined["a"]
    assert checked.slots() == {}


def test_workers_that_take_no_cells_are_waited_for_with_the_command_to_type(clock):
    """Those with a GPU have left; what is there has none."""
    client = FakeClient().join("gpu", GPU=1)
    checked = checked_workers(client, device="cuda")
    client.join("cpu")
    del client.joined["gpu"]
    assert checked.slots() == {"cpu": 0}
    clock(workers_module.BLINK_S)
    assert checked.slots() == {"cpu": 0}
    assert len(client.lines) == 1 and "--resources GPU=1" in client.lines[0]


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """Starts ``dask scheduler`` and ``dask worker``, and waits for them; ends what is left."""
    (tmp_path / "computed").mkdir()
    monkeypatch.setenv("COMPUTED", str(tmp_path / "computed"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start(kind: str, *words: str) -> subprocess.Popen:
        folder = tmp_path / f"{kind}{len(started)}"
        folder.mkdir()
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *words, "--dashboard-address", "127.0.0.1:0"],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        )  # fmt: skip
        return started[-1]

    address = f"tcp://127.0.0.1:{port}"

    def wait_for(workers: int) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until, "the scheduler has not started"
                time.sleep(0.1)
        with Client(address) as client:
            client.wait_for_workers(workers, timeout=60)

    yield {
        "address": address,
        "wait_for": wait_for,
        "scheduler": lambda: start("scheduler", "--host", "127.0.0.1", "--port", str(port)),
        "worker": lambda *words: start(
            "worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60", *words
        ),
    }
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.soak
def test_workers_come_and_go_and_the_scheduler_is_lost(digits_cell, store, by_hand, tmp_path):
    cells = [digits_cell(arm=arm, seed=seed) for seed in range(4) for arm in ("random", "margin")]
    alone = Store("alone")
    alone.prepare()
    engine.run(cells, stub, alone, {}, Placement(workers=1), lambda line: None)
    placement = Placement(by_hand["address"], device="auto")
    scheduler = by_hand["scheduler"]()
    first = by_hand["worker"]("--resources", "GPU=1")
    by_hand["worker"]("--resources", "GPU=1")
    by_hand["worker"]()
    by_hand["wait_for"](3)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        finished = sum("accuracy" in line for line in lines)
        if finished == 5 and first.poll() is None:
            first.send_signal(signal.SIGKILL)
            by_hand["worker"]("--resources", "GPU=1")
        if finished == 14:
            scheduler.send_signal(signal.SIGKILL)

    with pytest.raises(StudyError, match="the scheduler is gone; all finished rounds are kept"):
        engine.run(cells, counted, store, {}, placement, say)
    kept_rounds = sum(len(store.load(cell)["rounds"]) for cell in cells)
    assert kept_rounds >= 14 and lines[0].startswith("dashboard: http://127.0.0.1")
    by_hand["scheduler"]()
    by_hand["worker"]("--resources", "GPU=1")
    by_hand["wait_for"](1)
    engine.run(cells, counted, store, {}, placement, lines.append)
    assert facts(store, cells) == facts(alone, cells)
    computed = [file.name.rsplit(".", 1)[0] for file in (tmp_path / "computed").iterdir()]
    assert len(computed) - len(set(computed)) <= 3  # those in flight, one a lost worker
    engine.run(cells, never, store, {}, placement, never)


@pytest.mark.soak
def test_a_worker_that_dies_before_its_round_was_fetched(
    digits_cell, store, by_hand, tmp_path, monkeypatch
):
    cells = [digits_cell(seed=seed) for seed in range(2)]
    by_hand["scheduler"]()
    mortal = [by_hand["worker"](), by_hand["worker"]()]
    by_hand["wait_for"](2)
    done = engine.Run._done

    def kill_when_all_is_done(run: engine.Run):
        if not mortal or len(run.running) < 2:
            return done(run)
        wait(list(run.running))
        while mortal:
            mortal.pop().kill()
        by_hand["worker"]()
        return list(run.running)

    monkeypatch.setattr(engine.Run, "_done", kill_when_all_is_done)
    monkeypatch.setattr(engine, "FETCH_S", 3.0)
    lines: list[str] = []
    engine.run(cells, counted, store, {}, Placement(by_hand["address"]), lines.append)
    records = [store.load(cell) for cell in cells]
    assert {record["status"] for record in records} == {"finished"}
    assert sum("worker died" in line for line in lines) == 2
    computed = [file.name.rsplit(".", 1)[0] for file in (tmp_path / "computed").iterdir()]
    assert len(computed) - len(set(computed)) == 2
