"""Which workers of a cluster take cells."""

import pytest

from alutils.protocol.parameters import StudyError
from alutils.running.placement import PROFILER_OFF
from alutils.running.workers import versions
from tests.running.made_up_cluster import ADDRESS, FakeClient, checked_workers


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
        (other_versions(alutils="0.0"), "has alutils 0.0, here 1"),
        (ModuleNotFoundError("No module named 'alutils'"), "can't import alutils"),
    ],
)
def test_a_worker_with_other_versions_is_refused(reported, message):
    client = FakeClient().join("tcp://bad", reported)
    with pytest.raises(StudyError, match="worker tcp://bad .*install there what is installed here"):
        checked_workers(client)
    assert client.lines == []
    client = FakeClient().join("good")
    checked = checked_workers(client)
    client.join("tcp://bad", reported)
    assert checked.slots() == {"good": 1}
    assert len(client.lines) == 1 and message in client.lines[0]
    assert checked.slots() == {"good": 1} and len(client.lines) == 1
    del client.joined["good"]
    with pytest.raises(StudyError, match=message):
        checked.slots()


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_worker_that_does_not_fit_at_the_start_is_told_and_the_others_are_used(device):
    """Nor is a GPU counted on that only such a worker offers."""
    bad = other_versions(torch="1.0")
    client = FakeClient().join("tcp://bad", bad, GPU=1).join("good", GPU=1)
    checked = checked_workers(client, device=device)
    assert checked.slots() == {"good": 1} and checked.resources == {"GPU": 1}
    (line,) = client.lines
    assert line.startswith("not used: worker tcp://bad has torch 1.0, here")
    client = FakeClient().join("tcp://bad", bad, GPU=1).join("good")
    if device == "cuda":
        with pytest.raises(StudyError, match="no worker offers the resource GPU"):
            checked_workers(client, device=device)
    else:
        assert checked_workers(client, device=device).resources == {}


def test_a_worker_that_leaves_while_it_is_checked_is_checked_again():
    client = FakeClient().join("a")
    checked = checked_workers(client)
    client.join("b", OSError("gone"))
    assert checked.slots() == {"a": 1}
    client.join("b")
    assert checked.slots() == {"a": 1, "b": 1} and client.lines == []
