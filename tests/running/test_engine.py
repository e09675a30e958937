import errno
import fcntl
import os
import platform
import resource
import threading
import time
from unittest.mock import Mock, patch

import pytest
from distributed import LocalCluster
from filelock import FileLock

from alutils.records.files import CanNotWrite
from alutils.records.locks import CanNotLock
from alutils.records.record import chained_digest
from alutils.records.store import Store
from alutils.running import engine
from alutils.running.placement import Placement
from alutils.running.progress import Progress
from alutils.strategies.own import BrokenContract
from tests.running.tasks import (
    deadly,
    exits,
    fails_for_margin,
    fails_on_one_worker,
    hands_on,
    stub,
)


def never(cells, history, state):
    raise AssertionError("nothing should have been submitted")


def run(cells, task, store, workers=1):
    lines: list[str] = []
    engine.run(cells, task, store, {"commit": "abc"}, Placement(workers=workers), lines.append)
    return [line for line in lines if not line.startswith("dashboard: http://127.0.0.1:")]


def facts(store, cells):
    return [
        [{k: v for k, v in done.items() if not k.startswith("seconds_")} for done in r["rounds"]]
        for r in map(store.load, cells)
    ]


def begin(store, cell, provenance):
    """Save a record of one round with this provenance."""
    (done,), _, _ = stub([cell], [])
    record = store.load(cell)
    record["provenance"] |= provenance
    store.save(cell, record | {"rounds": [done], "status": "running"})


def test_cells_run_to_their_end_in_any_number_of_workers(digits_cell, outputs):
    cells = [digits_cell(arm=arm, seed=s) for s in (0, 1) for arm in ("random", "margin")]
    records = {}
    for workers in (1, 2):
        store = Store(f"w{workers}")
        store.prepare()
        lines = run(cells, stub, store, workers)
        assert len(lines) == 12 and "digits" in lines[0] and "left" in lines[0]
        assert all(store.finished(cell) for cell in cells)
        assert store.load(cells[0])["provenance"]["commit"] == "abc"
        records[workers] = facts(store, cells)
    assert records[1] == records[2]


def test_seed_after_seed_goes_first_whatever_came_back_first(digits_cell, store):
    """Two workers begin two seeds, as the arms of each share a first round; the second is back."""
    cells = [digits_cell(arm=arm, seed=seed) for seed in range(3) for arm in ("random", "margin")]
    engine_run = engine.Run(None, stub, store, {}, Progress(cells, store, lambda line: None), cells)
    first, second = engine_run.waiting.pop(0), engine_run.waiting.pop(0)
    for job in (second, first):
        job.lock(store)
        engine_run._queue(job.apart())
        job.release()
    assert [cell for job in engine_run.waiting for cell in job.cells] == cells


def test_a_finished_cell_is_not_run_again_and_an_unfinished_one_goes_on(digits_cell, store):
    cell, other_cell = digits_cell(arm="margin"), digits_cell(seed=1)
    with pytest.raises(
        engine.RunFailed, match="1 of 2 cells failed.*margin.*round 2: ArithmeticError: no number"
    ):
        run([cell, other_cell], fails_for_margin, store)
    assert store.finished(other_cell)
    failed_record = store.load(cell)
    assert failed_record["status"] == "failed" and "no number" in failed_record["final"]["error"]
    lines = run([cell, other_cell], stub, store)
    assert len(lines) == 2 and store.finished(cell)
    assert store.load(cell)["rounds"][0] == failed_record["rounds"][0]
    run([cell, other_cell], never, store)


def test_a_worker_with_a_fault_fails_no_cell_where_another_one_has_none(
    digits_cell, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAULTY", str(tmp_path / "faulty"))
    cells = [digits_cell(arm=arm, seed=seed) for seed in range(3) for arm in ("random", "margin")]
    lines = run(cells, fails_on_one_worker, store, workers=2)
    assert all(store.finished(cell) for cell in cells)
    assert any("encountered): trying another worker" in line for line in lines)


def test_a_strategy_that_breaks_its_contract_is_not_asked_again_on_another_worker(
    digits_cell, store
):
    def breaks(cells, history, state):
        raise BrokenContract("strategy 'mine' returned 3 positions")

    cell, lines = digits_cell(), []
    with pytest.raises(engine.RunFailed, match="1 of 1 cells failed: .*returned 3 positions"):
        engine.run([cell], breaks, store, {}, Placement(workers=2), lines.append)
    assert not any("another worker" in line for line in lines)


def test_a_state_that_is_lost_amid_a_run_fails_its_cell_alone(digits_cell, store, monkeypatch):
    cells = [digits_cell(seed=seed, adam_state="rounds") for seed in range(2)]
    load_state = Store.load_state

    def lost(self, cell, record):
        if cell.seed == 0 and len(record["rounds"]) == 1:
            for file in self.folder.glob(f"{cell.name}.*.state"):
                file.unlink()
        return load_state(self, cell, record)

    monkeypatch.setattr(Store, "load_state", lost)
    with pytest.raises(engine.RunFailed, match="1 of 2 cells failed: .*seed0.*round 1.* is lost"):
        run(cells, hands_on, store)
    assert [store.finished(cell) for cell in cells] == [False, True]
    monkeypatch.setattr(Store, "load_state", load_state)
    run(cells, hands_on, store)
    assert all(map(store.finished, cells))


def test_where_every_worker_has_the_fault_the_cell_fails_with_it(digits_cell, store):
    def fails(cells, history, state):
        raise OSError("no data here")

    cell = digits_cell()
    with pytest.raises(engine.RunFailed, match="1 of 1 cells failed: .*OSError: no data here"):
        run([cell], fails, store, workers=2)
    with pytest.raises(engine.RunFailed, match="1 of 1 cells failed: .*OSError: no data here"):
        run([cell], fails, store, workers=1)


def test_a_cell_that_another_run_holds_is_waited_for(digits_cell, store):
    cell = digits_cell()
    lock = store.hold(cell)
    record = store.load(cell)

    def other_run():
        time.sleep(2.5)
        for _ in range(3):
            done, _, _ = stub([cell], record["rounds"])
            record["rounds"] += done
        store.save(cell, record | {"status": "finished"})
        lock.release()

    thread = threading.Thread(target=other_run)
    thread.start()
    run([cell], never, store)
    thread.join()
    assert store.finished(cell)


def test_who_holds_the_cells_that_a_run_waits_for_is_named(digits_cell, store):
    """At once, and not again at the next look; whoever holds them is let go of at the line."""
    cells = [digits_cell(seed=seed) for seed in range(2)]
    locks, lines = [store.hold(cell) for cell in cells], []

    def say(line: str) -> None:
        lines.append(line)
        if "another run" in line:
            for lock in locks:
                lock.release()

    engine.run(cells, stub, store, {}, Placement(workers=1), say)
    (announced,) = [line for line in lines if "another run" in line]
    who = f"{cells[0].name} (process {os.getpid()} on {platform.node()}, since 20"
    assert (
        announced.startswith(f"waiting for cells held by another run: {who}")
        and ", and 1 more; " in announced
    )
    assert all(map(store.finished, cells))


def test_the_holder_of_a_lock_without_a_note_is_an_unknown_process(digits_cell, store):
    assert store.holder(digits_cell()) == "an unknown process"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.ENOLCK, "No locks available"), "No locks available"),
        (OSError(errno.EOPNOTSUPP, "Operation not supported"), "Operation not supported"),
    ],
)
def test_cells_that_can_not_be_locked_are_one_error(digits_cell, store, monkeypatch, error, reason):
    """Those of another user, or on a file system without locks: before anything is computed."""
    cell = digits_cell()

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    for locking in (store.prepare, lambda: run([cell], never, store)):
        with pytest.raises(CanNotLock, match=rf"\({reason}\).* in ALUTILS_OUTPUTS") as failed:
            locking()
        assert "\n" not in str(failed.value)


def test_no_cell_is_begun_on_a_file_system_without_locks(digits_cell, store, monkeypatch):
    """A lock file that is only made there would outlast a process that is killed."""
    cell = digits_cell()
    missing = OSError(errno.ENOSYS, "Function not implemented")
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=missing))
    with pytest.raises(CanNotLock, match=r"\(Function not implemented\).* in ALUTILS_OUTPUTS"):
        run([cell], never, store)


def test_code_that_exits_fails_its_cell_at_once_and_no_worker_dies(digits_cell, store):
    cells = [digits_cell(arm=arm, seed=i) for i, arm in enumerate(("margin", "kmeans", "random"))]
    lines: list[str] = []
    with pytest.raises(engine.RunFailed) as failed:
        engine.run(cells, exits, store, {}, Placement(workers=1), lines.append)
    assert f"{cells[0].name}, round 1: RuntimeError: SystemExit: all done" in str(failed.value)
    assert f"{cells[1].name}, round 1: RuntimeError: GeneratorExit" in str(failed.value)
    assert store.finished(cells[2]) and not any("died" in line for line in lines)


def test_cells_that_another_run_gave_a_round_meanwhile_go_on_each_by_itself(digits_cell, store):
    """They would be sent with the history of one, while another labelled something else."""
    cells = [digits_cell(arm=arm) for arm in ("random", "margin", "kmeans")]
    (job,) = engine._jobs(cells, store)
    for number, cell in enumerate(cells[:2]):
        (done,), _, _ = stub([cell], [])
        done |= {"picks": [number]}
        done["digest"] = chained_digest(done, "")
        store.save(cell, store.load(cell) | {"rounds": [done]})
    assert job.lock(store) == cells[:2] and job.cells == cells[2:]
    job.release()
    jobs = engine._jobs(cells[:2], store)
    assert [(job.lock(store), len(job.records[0]["rounds"])) for job in jobs] == [([], 1)] * 2
    for job in jobs:
        job.release()


def test_a_record_that_can_not_be_recovered_leaves_no_lock_behind(digits_cell, store, monkeypatch):
    cells = [digits_cell(arm=arm) for arm in ("random", "margin")]
    (job,) = engine._jobs(cells, store)

    def full(_, cell):
        raise CanNotWrite("the disk is full")

    monkeypatch.setattr(Store, "recover", full)
    with pytest.raises(CanNotWrite, match="full") as raised:
        job.lock(store)
    job.release()
    for cell in cells:
        store.hold(cell).release()
    assert "full" in str(raised.value)


def test_a_record_names_every_commit_that_gave_it_rounds(digits_cell, store):
    cell = digits_cell()
    begin(store, cell, {"commit": "abc"})
    engine.run([cell], stub, store, {"commit": "def"}, Placement(workers=1), lambda line: None)
    provenance = store.load(cell)["provenance"]
    assert (provenance["earlier_commits"], provenance["commit"]) == (["abc"], "def")


def test_a_record_names_what_was_changed_on_top_of_every_commit(digits_cell):
    """Also where it was taken back, or other parts were changed, without a new commit."""
    cell, record = digits_cell(rounds=5), {"rounds": [], "provenance": {"wall_seconds": 0.0}}
    for changed in (["alutils"], ["alutils"], ["alutils", "params"], [], []):
        code = {"commit": "abc", "changed_since_commit": changed}
        engine._append(cell, record, {"labels": 1, "heldout_accuracy": []}, code)
    provenance = record["provenance"]
    assert provenance["earlier_commits"] == [
        "abc (alutils changed)",
        "abc (alutils, params changed)",
    ]
    assert (provenance["commit"], provenance["changed_since_commit"]) == ("abc", [])


def test_places_that_take_turns_are_named_once(digits_cell):
    cell, record = digits_cell(rounds=6), {"rounds": [], "provenance": {"wall_seconds": 0.0}}
    for number in range(6):
        where = {"device": ("cpu", "cuda")[number % 2], "commit": ("abc", "def")[number % 2]}
        engine._append(cell, record, {"labels": 1, "heldout_accuracy": []}, where)
    provenance = record["provenance"]
    assert [place["device"] for place in provenance["earlier_places"]] == ["cpu", "cuda"]
    assert provenance["earlier_commits"] == ["abc", "def"]


def test_what_held_of_an_earlier_round_alone_is_not_said_of_the_last_one(digits_cell):
    """As that its scoring was halved."""
    cell, record = digits_cell(), {"rounds": [], "provenance": {"wall_seconds": 0.0}}
    for where in ({"device": "cpu", "scoring_batch": 250}, {"device": "cpu"}):
        engine._append(cell, record, {"labels": 1, "heldout_accuracy": []}, where)
    provenance = record["provenance"]
    assert [place["scoring_batch"] for place in provenance["earlier_places"]] == [250]
    assert "scoring_batch" not in provenance and provenance["device"] == "cpu"


def test_a_run_may_open_as_many_files_as_the_system_allows():
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, kept[1]))
    try:
        engine._allow_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == kept[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)


def test_a_record_sums_its_seconds_and_the_deaths_of_its_workers(digits_cell, store):
    cell = digits_cell()
    begin(store, cell, {"wall_seconds": 2.0, "worker_deaths": 1})
    engine.run([cell], stub, store, {}, Placement(workers=1), lambda line: None)
    provenance = store.load(cell)["provenance"]
    assert provenance["wall_seconds"] == pytest.approx(2.0 + 0.01 * (cell.length - 1))
    assert provenance["worker_deaths"] == 1


def test_a_record_names_every_place_that_gave_it_rounds(digits_cell, store):
    cell = digits_cell()
    begin(store, cell, {"device": "cpu"})
    engine.run([cell], stub, store, {}, Placement(workers=1), lambda line: None)
    provenance = store.load(cell)["provenance"]
    assert provenance["earlier_places"] == [{"device": "cpu", "arithmetic": 1}]
    assert provenance["device"] == "stub"


def test_provenance_that_a_damaged_record_lost_is_unknown(digits_cell, store):
    cell = digits_cell()
    engine.run([cell], stub, store, {"commit": "abc"}, Placement(workers=1), lambda line: None)
    record = store.load(cell)
    record["rounds"].pop()
    store.save(cell, record | {"status": "running"})
    text = store.path(cell).read_text()
    assert "abc" in text
    store.path(cell).write_text(text.replace("abc", "xyz"))
    engine.run([cell], stub, store, {"commit": "def"}, Placement(workers=1), lambda line: None)
    provenance = store.load(cell)["provenance"]
    assert (provenance["earlier_commits"], provenance["commit"]) == (["unknown"], "def")
    assert provenance["earlier_places"] == [{}]


class Broken:
    """A finished round that can't be taken from its worker."""

    def __init__(self, error: Exception):
        self.status, self.error = "finished", error

    def result(self, timeout: float) -> None:
        raise self.error


def test_what_another_run_has_finished_by_now_counts_as_finished(digits_cell, store):
    cells, lines = [digits_cell(seed=seed) for seed in range(2)], []
    progress = Progress(cells, store, lines.append)
    engine_run = engine.Run(None, stub, store, {}, progress, cells)
    run(cells[:1], stub, store)
    engine_run.workers = Mock(**{"slots.return_value": {"a": 1}})
    engine_run.workers.submit = lambda worker, task, cells, history, state: Mock(
        **{"result.return_value": stub(cells, history)}
    )
    engine_run._done = lambda: [*engine_run.running]
    engine_run.to_the_end()
    assert len(lines) == cells[1].length and "2/2 cells  0 min left" in lines[-1]


def test_jobs_that_wait_for_a_worker_let_go_where_another_can_not_be_sent(digits_cell, store):
    cells = [digits_cell(seed=seed) for seed in range(2)]
    progress = Progress(cells, store, lambda line: None)
    engine_run = engine.Run(None, stub, store, {}, progress, cells)
    engine_run.workers = Mock(**{"slots.return_value": {"a": 1}, "submit.side_effect": OSError()})
    picks = iter(["", "a"])
    with patch.object(engine.Job, "pick", lambda job, free, able: next(picks)):
        with pytest.raises(OSError):
            engine_run.to_the_end()
    for cell in cells:
        store.hold(cell).release()


def test_a_worker_that_takes_no_cells_is_not_left_to_try_a_round_again(digits_cell, store):
    """As one without a GPU, beside the only one with one."""
    cell = digits_cell()
    engine_run = engine.Run(None, stub, store, {}, Progress([cell], store, print), [cell])
    engine_run.slots = {"gpu": 1, "cpu": 0}
    failed = Broken(RuntimeError("CUDA error: out of memory"))
    engine_run.workers = Mock(**{"submit.return_value": failed})
    engine_run._submit()
    assert engine_run._collect(failed, engine_run.running.pop(failed))
    assert engine_run.failures == [f"{cell.name}, round 1: RuntimeError: CUDA error: out of memory"]
    assert not engine_run.waiting


def test_a_round_that_fails_once_is_tried_on_another_worker_whatever_failed_before(
    digits_cell, store
):
    """Round 1 fails on one worker, round 3 on the other one, once each."""
    cell, asked = digits_cell(), []

    def submit(worker, task, cells, history, state):
        asked.append((worker, len(history) + 1))
        if asked[-1] in {("a", 1), ("b", 3)}:
            return Broken(RuntimeError("a fault"))
        return Mock(**{"result.return_value": stub(cells, history)})

    engine_run = engine.Run(None, stub, store, {}, Progress([cell], store, print), [cell])
    engine_run.workers = Mock(**{"slots.return_value": {"a": 1, "b": 1}, "submit": submit})
    engine_run._done = lambda: [*engine_run.running]
    engine_run.to_the_end()
    assert asked == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("a", 3)]
    assert store.finished(cell) and not engine_run.failures


@pytest.mark.parametrize(
    "error, settled", [(TimeoutError(), False), (OSError(), False), (EOFError("cut"), True)]
)
def test_a_result_that_can_not_be_read_fails_its_cell_and_one_that_is_late_does_not(
    digits_cell, store, error, settled
):
    cell = digits_cell()
    progress = Progress([cell], store, lambda line: None)
    engine_run = engine.Run(None, stub, store, {}, progress, [cell])
    job = engine_run.waiting.pop(0)
    job.lock(store)
    assert engine_run._collect(Broken(error), job) is settled
    assert engine_run.failures == ([f"{cell.name}, round 1: EOFError: cut"] if settled else [])
    job.release()


def test_a_result_that_never_arrives_fails_its_cell(digits_cell, store):
    """Of a worker that is there, but at an address that this machine does not reach."""
    cell, lines = digits_cell(), []
    engine_run = engine.Run(None, stub, store, {}, Progress([cell], store, lines.append), [cell])
    job = engine_run.waiting.pop(0)
    job.lock(store)
    job.worker = "tcp://behind:1"
    late = [engine_run._collect(Broken(TimeoutError()), job) for _ in range(engine.FETCHES)]
    assert late == [False] * (engine.FETCHES - 1) + [True]
    assert len(lines) == len(late) - 1 and "can't be fetched from tcp://behind:1" in lines[0]
    assert "this machine must reach the addresses of all workers" in engine_run.failures[0]
    store.hold(cell).release()


def test_a_cell_that_can_not_be_written_as_failed_is_unlocked(digits_cell, store, monkeypatch):
    """Its worker is gone without a word for the fourth time, and the disk is full."""
    cell = digits_cell()
    engine_run = engine.Run(
        None, stub, store, {}, Progress([cell], store, lambda line: None), [cell]
    )
    engine_run.workers = Mock(**{"slots.return_value": {}})
    job = engine_run.waiting.pop(0)
    job.lock(store)
    job.worker, job.deaths, job.missed = "gone", engine.MAX_WORKER_DEATHS, engine.MAX_MISSED_CHECKS
    engine_run.running[Mock(**{"done.return_value": False})] = job

    def full(*_):
        raise CanNotWrite("full")

    monkeypatch.setattr(store, "save", full)
    with pytest.raises(CanNotWrite):
        engine_run.to_the_end()
    store.hold(cell).release()


def test_a_running_scheduler_is_used_and_left_running(digits_cell, store):
    cell = digits_cell()
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        engine.run([cell], stub, store, {}, Placement(address), say=lambda line: None)
        assert store.finished(cell) and cluster.status.name == "running"


@pytest.mark.soak
def test_a_worker_that_dies_is_replaced_three_times_a_round(
    digits_cell, store, tmp_path, monkeypatch
):
    (tmp_path / "deaths").mkdir()
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    cells = [digits_cell(arm=arm, seed=seed) for seed, arm in enumerate(("margin", "kmeans"))]
    lines: list[str] = []
    with pytest.raises(
        engine.RunFailed, match=f"1 of 2 cells failed: {cells[0].name}, round 2: 4 work"
    ):
        engine.run(cells, deadly, store, {}, Placement(workers=2), say=lines.append)
    deaths = [line for line in lines if "a worker died" in line]
    assert sum(f"round 2 of {cells[0].name}" in line for line in deaths) == 3
    for number in (2, 3):
        assert sum(f"round {number} of {cells[1].name}" in line for line in deaths) == 2
    assert store.finished(cells[1]) and store.load(cells[1])["provenance"]["worker_deaths"] == 4
    assert len(store.load(cells[0])["rounds"]) == 1
