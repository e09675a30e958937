"""Worker processes on this machine: started, shared, replaced."""

import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client

from alutils.protocol.parameters import StudyError
from alutils.records.store import Store
from alutils.running import cluster, engine, local_workers
from alutils.running import workers as workers_module
from alutils.running.placement import SETTINGS, Placement, dask_settings
from alutils.running.workers import versions
from tests.running.tasks import dies_once, talk


def test_local_workers_are_dealt_to_the_gpus_and_pinned():
    placement = Placement(device="cuda", gpus=("2", "5"), cells_per_gpu=2)
    workers = [local_workers._gpu_options(placement, i) for i in range(4)]
    assert [options["env"]["CUDA_VISIBLE_DEVICES"] for options in workers] == ["2", "5", "2", "5"]
    assert all(options["resources"] == {"GPU": 0.5} for options in workers)


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
    gone, connected = "tcp://127.0.0.1:1", cluster._connected

    def soon_for_what_is_gone(address: str) -> Client:
        with monkeypatch.context() as patched:
            if address == gone:
                patched.setattr(cluster, "CONNECT_S", 0.5)
            return connected(address)

    monkeypatch.setattr(cluster, "_connected", soon_for_what_is_gone)
    monkeypatch.setenv(cluster.SHARED, f"{gone} {placement} {versions()}")
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


@pytest.mark.parametrize(
    ("say", "seconds", "error"),
    [
        ("pass", 60, "did not start: free memory"),
        ("import time; time.sleep(120)", 0.5, "did not start: free memory"),
        ("print('error no room')", 60, "^no room$"),
    ],
)
def test_a_process_of_local_workers_that_does_not_start_is_one_error(
    monkeypatch, say, seconds, error
):
    monkeypatch.setattr(local_workers, "SERVE", say)
    monkeypatch.setattr(local_workers, "START_S", seconds)
    with pytest.raises(StudyError, match=error):
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
def test_a_local_cluster_takes_nothing_from_the_users_dask(monkeypatch):
    environment = {
        "DASHBOARD__LINK": "{UNSET_VARIABLE}/status",
        "COMM__REQUIRE_ENCRYPTION": "True",
        "COMM__DEFAULT_SCHEME": "tls",
        "WORKER__PRELOAD": "no_such_module",
    }
    for key, value in environment.items():
        monkeypatch.setenv(f"DASK_DISTRIBUTED__{key}", value)
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
