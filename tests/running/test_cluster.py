"""Which workers take cells, and what happens to a run when a cluster loses some of itself."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, wait

from alutils import waiting
from alutils.paths import ROOT
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records.store import Store
from alutils.running import cluster, engine, local_workers
from alutils.running import workers as workers_module
from alutils.running.placement import PROFILER_OFF, SETTINGS, Placement, dask_settings
from alutils.running.workers import Workers, versions
from tests.running.test_engine import facts, never, stub

ADDRESS = "tcp://somewhere:8786"


class FakeClient:
    """A cluster of made-up workers: resources, threads and versions by address."""

    def __init__(self, sees_gpu: bool = False):
        self.joined, self.versions, self.sees_gpu = {}, {}, sees_gpu

    def join(self, name: str, reported: object = None, threads: int = 1, **resources: float):
        self.joined[name] = {"nthreads": threads, "resources": resources}
        self.versions[name] = reported or versions()
        return self

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if len(self.joined) < count:
            raise TimeoutError

    def scheduler_info(self, n_workers: int) -> dict:
        return {"workers": dict(self.joined)}

    def run(self, function, workers: list[str], on_error: str = "raise") -> dict:
        if function is workers_module._sees_gpu:
            return dict.fromkeys(workers, self.sees_gpu)
        return {name: self.versions[name] for name in workers}


def checked_workers(client: FakeClient, **fields) -> Workers:
    client.lines = []
    return Workers(client, Placement(ADDRESS, **fields), client.lines.append)


def other_versions(**changes: str) -> dict[str, str]:
    return versions() | changes


def test_workers_take_a_cell_a_thread():
    checked = checked_workers(FakeClient().join("a").join("b", threads=4))
    assert checked.slots() == {"a": 1, "b": 4} and checked.resources == {}


@pytest.mark.parametrize(
    ("cells_per_gpu", "offered", "slots"),
    [(1, 1, 1), (1, 2, 2), (2, 1, 2), (3, 1, 3), (7, 1, 7), (2, 0.5, 1)],
)
def test_a_gpu_takes_as_many_cells_as_share_it(cells_per_gpu, offered, slots):
    client = FakeClient().join("cpu").join("gpu", threads=16, GPU=offered)
    checked = checked_workers(client, device="auto", cells_per_gpu=cells_per_gpu)
    assert checked.slots() == {"cpu": 0, "gpu": slots}
    assert slots * checked.resources["GPU"] <= offered


def test_cells_for_a_cpu_leave_gpus_alone():
    client = FakeClient().join("a", GPU=1)
    assert checked_workers(client, device="cpu").resources == {}


@pytest.mark.parametrize("fields", [{"device": "cuda"}, {"device": "auto"}])
def test_a_cluster_without_the_resource_is_an_error_with_the_command_to_type(fields):
    client = FakeClient(sees_gpu=True).join("a")
    with pytest.raises(StudyError) as failed:
        checked_workers(client, **fields)
    command = f"CUDA_VISIBLE_DEVICES=0 dask worker {ADDRESS} --nthreads 1 --memory-limit 0 "
    assert f"`{PROFILER_OFF} {command}--resources GPU=1`" in str(failed.value)
    assert "no worker offers the resource GPU" in str(failed.value)


def test_workers_without_gpus_compute_on_their_processors():
    assert checked_workers(FakeClient().join("a"), device="auto").resources == {}


def test_a_scheduler_without_workers_is_an_error():
    command = f"{PROFILER_OFF} dask worker {ADDRESS} --nthreads 1 --memory-limit 0"
    with pytest.raises(StudyError, match=f"has no worker.*`{command}`"):
        checked_workers(FakeClient())


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        (other_versions(torch="1.0"), "has torch 1.0, here"),
        (other_versions(Python="3.9"), "has Python 3.9, here 3"),
        (other_versions(alutils="0.0"), "has alutils 0.0, here 0"),
        (ModuleNotFoundError("No module named 'alutils'"), "can't import alutils"),
    ],
)
def test_a_worker_with_other_versions_is_refused(reported, message):
    client = FakeClient().join("good").join("tcp://bad", reported)
    with pytest.raises(StudyError, match="worker tcp://bad .*install there what is installed here"):
        checked_workers(client)
    client = FakeClient().join("good")
    checked = checked_workers(client)
    client.join("tcp://bad", reported)
    assert checked.slots() == {"good": 1}
    assert len(client.lines) == 1 and message in client.lines[0]
    assert checked.slots() == {"good": 1} and len(client.lines) == 1
    del client.joined["good"]
    with pytest.raises(StudyError, match=message):
        checked.slots()


def test_a_worker_that_leaves_while_it_is_checked_is_checked_again():
    client = FakeClient().join("a")
    checked = checked_workers(client)
    client.join("b", OSError("gone"))
    assert checked.slots() == {"a": 1}
    client.join("b")
    assert checked.slots() == {"a": 1, "b": 1} and client.lines == []


def test_local_workers_are_dealt_to_the_gpus_and_pinned():
    placement = Placement(device="cuda", gpus=("2", "5"), cells_per_gpu=2)
    workers = [local_workers._gpu_options(placement, i) for i in range(4)]
    assert [options["env"]["CUDA_VISIBLE_DEVICES"] for options in workers] == ["2", "5", "2", "5"]
    assert all(options["resources"] == {"GPU": 0.5} for options in workers)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    for address in ("tcp://127.0.0.1:9", "127.0.0.1:9/x", "nowhere"):
        with pytest.raises(ParameterError, match=f"scheduler = '{address}' can't be reached"):
            with cluster.cluster(Placement(address)):
                pass


def worker_pids(placement: Placement) -> set[int]:
    with cluster.cluster(placement, lambda line: None) as workers:
        return set(workers.client.run(os.getpid).values())


def test_notebooks_of_a_run_share_local_workers_and_others_have_their_own(monkeypatch):
    placement = Placement(workers=1)
    with cluster.shared(placement):
        pids = worker_pids(placement)
        assert len(pids) == 1 and worker_pids(placement) == pids
        other_pids = worker_pids(Placement(workers=2))
        assert len(other_pids) == 2 and not other_pids & pids
        monkeypatch.setattr(cluster, "versions", lambda: {"alutils": "edited meanwhile"})
        assert cluster._shared_address(placement) == ""
        monkeypatch.undo()
    assert not worker_pids(placement) & pids and not any(map(psutil.pid_exists, pids))
    assert cluster.SHARED not in os.environ


def talk() -> int:
    """Print more than a pipe holds that nobody reads."""
    return os.write(1, b"." * 2**18)


def test_what_shared_workers_print_holds_nothing_up(capfd):
    placement = Placement(workers=1)
    with cluster.shared(placement), cluster.cluster(placement, lambda text: None) as workers:
        assert workers.client.submit(talk).result(timeout=30) == 2**18
    assert "." * 100 in capfd.readouterr().err


def _callbacks(dask_worker) -> dict[str, float]:
    """What a worker does again and again, and after how many milliseconds."""
    return {
        name: callback.callback_time for name, callback in dask_worker.periodic_callbacks.items()
    }


def test_local_workers_have_the_settings(shared_worker):
    with cluster.cluster(Placement(workers=1), lambda text: None) as workers:
        (settings,) = workers.client.run(
            lambda: {key: dask.config.get(key) for key in SETTINGS}
        ).values()
        (callbacks,) = workers.client.run(_callbacks).values()
    assert settings == SETTINGS
    assert "profile" not in callbacks and callbacks["tick"] == 1000


def test_a_shared_cluster_that_died_is_replaced(monkeypatch):
    placement = Placement(workers=1)
    gone = f"tcp://127.0.0.1:1 {placement} {versions()}"
    monkeypatch.setenv(cluster.SHARED, gone)
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    assert len(worker_pids(placement)) == 1


def test_local_workers_that_cannot_start_are_one_error(monkeypatch):
    def refuse(**options):
        raise OSError("too many processes")

    monkeypatch.setattr(local_workers, "SpecCluster", refuse)
    with pytest.raises(StudyError, match=r"the 3 local workers .* \(too many processes\): free"):
        with local_workers._started(Placement(workers=3)):
            pass


@pytest.fixture
def spoilt(tmp_path, monkeypatch) -> Path:
    """While there is a file of this name, worker processes end as soon as they are started."""
    spoilt = tmp_path / "spoilt"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"if os.path.exists({str(spoilt)!r}) and 'spawn_main' in ' '.join(sys.orig_argv):\n"
        "    os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    return spoilt


def test_local_workers_that_end_at_once_are_one_error(spoilt, capfd):
    spoilt.touch()
    with pytest.raises(StudyError, match="the 2 local workers can't be started .*: free memory"):
        with cluster.cluster(Placement(workers=2)):
            pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("say", ["pass", "import time; time.sleep(60)", "print('error no room')"])
def test_a_process_of_local_workers_that_does_not_start_is_one_error(monkeypatch, say):
    monkeypatch.setattr(local_workers, "SERVE", say)
    monkeypatch.setattr(local_workers, "START_S", 0.5)
    with pytest.raises(StudyError, match="did not start: free memory|no room"):
        with cluster.shared(Placement(workers=1)):
            pass


@pytest.mark.soak
def test_local_workers_whose_nanny_gave_up_are_started_until_they_come(spoilt, monkeypatch, capsys):
    monkeypatch.setattr(local_workers, "MEND_S", 0.1)
    reading, writing = os.pipe()
    placement = Placement(workers=2)
    with (
        open(reading) as stdin,
        dask_settings(placement),
        local_workers._started(placement) as local,
    ):
        monkeypatch.setattr(sys, "stdin", stdin)
        keeper = threading.Thread(target=local_workers._keep_up, args=[local])
        spoilt.touch()
        local.sync(local.workers[0].close)
        tries, sync = [], local.sync

        def started(awaited, **options) -> None:
            tries.append(awaited)
            if len(tries) == 3:
                spoilt.unlink()
            sync(awaited, **options)

        monkeypatch.setattr(local, "sync", started)
        keeper.start()
        while len(tries) < 3 or len(local.workers) < 2:
            time.sleep(0.1)
        with Client(local.scheduler_address) as client:
            client.wait_for_workers(2, timeout=60)
        os.close(writing)
        keeper.join()
    line = "local workers that did not come back, started again: 1\n"
    assert capsys.readouterr().err == line


def test_a_script_needs_no_guard_against_being_run_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from alutils.running.cluster import cluster\n"
        "from alutils.running.placement import Placement\n"
        "def double(x): return 2 * x\n"
        "with cluster(Placement(workers=1)) as workers:\n"
        "    print(workers.submit(*workers.slots(), double, 21).result())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.endswith("\n42\n")


@pytest.mark.soak
@pytest.mark.parametrize(
    "environment",
    [
        {"DASK_DISTRIBUTED__DASHBOARD__LINK": "{UNSET_VARIABLE}/status"},
        {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"},
        {"DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"},
        {"DASK_DISTRIBUTED__WORKER__PRELOAD": "no_such_module"},
    ],
)
def test_a_local_cluster_takes_nothing_from_the_users_dask(environment, monkeypatch):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    lines: list[str] = []
    with dask.config.set(dask.config.collect_env()):
        with cluster.cluster(Placement(workers=1), lines.append) as workers:
            assert len(workers.client.run(os.getpid)) == 1
    assert len(lines) == 1 and lines[0].startswith("dashboard: http://127.0.0.1")


def test_a_dashboard_link_that_can_not_be_written_is_left_out(shared_worker, monkeypatch):
    address = os.environ[cluster.SHARED].split()[0]
    lines: list[str] = []
    with dask.config.set({"distributed.dashboard.link": "{UNSET_VARIABLE}/status"}):
        with cluster.cluster(Placement(address), lines.append):
            pass
    assert lines == []


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
    for look in (cluster.reach, cluster._connected):
        with pytest.raises(ParameterError, match=f"scheduler = '{service}' can't be reached"):
            look(service)


@pytest.fixture
def clock(monkeypatch) -> Callable[[float], None]:
    """A clock for what is waited for, moved on by hand."""
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])

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
        ("", 300, "no local worker is left: waiting up to 5 minutes for one to come; free memory"),
        (ADDRESS, 3600, "no worker is left: waiting up to 60 minutes for one to come; start some"),
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
    with pytest.raises(StudyError, match="has come for .* all finished rounds are kept: .* again"):
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


def dies_once(cells, history, state):
    """Ends its worker, and the start of any other, in the second round."""
    if len(history) == 1 and not (done := Path(os.environ["DIED"])).exists():
        done.touch()
        Path(os.environ["SPOILT"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stub(cells, history)


@pytest.mark.soak
@pytest.mark.parametrize("mended", [True, False])
def test_local_workers_that_can_not_start_again(
    digits_cell, outputs, spoilt, tmp_path, monkeypatch, mended
):
    """The run goes on where they can at last; else it ends, with all that is finished kept."""
    store, cell, lines = Store("test"), digits_cell(), []
    store.prepare()
    monkeypatch.setenv("SPOILT", str(spoilt))
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setattr(workers_module, "BLINK_S", 0)
    monkeypatch.setattr(workers_module, "LEFT_S", {"local": 60 if mended else 2})

    def say(line: str) -> None:
        lines.append(line)
        if mended and "no local worker is left" in line:
            spoilt.unlink(missing_ok=True)

    expected = nullcontext() if mended else pytest.raises(StudyError, match="no local worker has")
    with expected:
        engine.run([cell], dies_once, store, {}, Placement(workers=1), say)
    assert sum("no local worker is left" in line for line in lines) == 1
    assert len(store.load(cell)["rounds"]) == (3 if mended else 1)


# A scheduler and workers started by hand, each in a folder of its own.


def counted(cells, history, state=None):
    """A round that takes a moment and notes that it was computed."""
    time.sleep(0.3)
    name = f"{cells[0].name}.{len(history)}.{time.time_ns()}"
    (Path(os.environ["COMPUTED"]) / name).touch()
    return stub(cells, history)


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """Starts ``dask scheduler`` and ``dask worker``; ends what is left of them."""
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
    yield {
        "address": address,
        "scheduler": lambda: start("scheduler", "--host", "127.0.0.1", "--port", str(port)),
        "worker": lambda *words: start(
            "worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "20", *words
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
