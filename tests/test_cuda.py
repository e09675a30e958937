"""What only a GPU can show; skipped where there is none."""

import pytest
import torch

from alutils.learning import data, devices, scoring, training
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.arms import BUILT_IN, POSTER_ARMS
from alutils.protocol.cell import Cell
from alutils.records.store import Store
from alutils.running import engine, round
from alutils.running.placement import Placement
from tests.cells import a_cell
from tests.running.test_round import plain

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def settled():
    devices.make_deterministic("cuda")
    yield
    torch.use_deterministic_algorithms(False)


def one_round(cell: Cell, history=(), state=None):
    (done,), _, state = round.run_round([cell], list(history), state, "cuda", {})
    return plain(done), state


def trained(**changes):
    """What training on noise in CIFAR-10's shape tells, and the weights and statistics after it."""
    rng = stream(0, "set")
    images = torch.randint(256, (40, 3, 32, 32), generator=rng, dtype=torch.uint8)
    labels = torch.randint(10, (40,), generator=rng).to(CUDA)
    cell = a_cell("cifar10", epochs=4, batch_size=8, **changes)
    net = build(cell, CUDA)
    done = training.train(net, images.to(CUDA), labels, cell, 0)
    return done, {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("arm", BUILT_IN)
def test_a_round_is_the_same_twice(digits_cell, arm):
    cell = digits_cell(arm=arm, mc_score="mutual-information", diagnostics=True, heldout_every=1)
    once, again = one_round(cell), one_round(cell)
    assert once == again and len(once[0]["picks"]) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16", "schedule": "one-cycle"},
        {"dropout": 0.0, "live_taps": False},
        {"stem": "3x3", "augmentation": "crop-flip", "weight_decay": 5e-4},
        {"optimiser": "sgd", "schedule": "cosine", "learning_rate": 0.1},
        {"compiled": True},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_training_is_the_same_twice(changes):
    (done, once), (repeated, again) = trained(**changes), trained(**changes)
    assert done.steps == 20 and repeated == done
    assert all(torch.equal(once[name], again[name]) for name in once)


@pytest.mark.parametrize("dataset", ["cifar10", "mnist"])
@pytest.mark.parametrize("live_taps", [True, False])
def test_a_gpu_and_a_processor_compute_the_same_network(dataset, live_taps):
    cell = a_cell(dataset, live_taps=live_taps)
    shape = (3, 32, 32) if dataset == "cifar10" else (1, 28, 28)
    images = torch.randint(256, (16, *shape), generator=stream(0, "set"), dtype=torch.uint8)
    logits, slopes = [], []
    for device in (torch.device("cpu"), CUDA):
        net = build(cell, device).train()
        output = net(images.to(device))
        output.square().mean().backward()
        logits.append(output.detach().cpu())
        slopes.append(torch.cat([p.grad.flatten().cpu() for p in net.parameters()]))
    for one, other in (logits, slopes):
        assert (one - other).norm() <= 1e-3 * one.norm()


def test_adam_and_weights_go_on_from_round_to_round(digits_cell):
    cell = digits_cell(
        arm="margin", adam_state="rounds", start="warm", first_labels=192, epochs=2, rounds=3
    )
    first, state = one_round(cell)
    second, after = one_round(cell, [first], state)
    assert second == one_round(cell, [first], state)[0] and state != after
    fresh = cell.model_copy(update={"adam_state": "fresh", "start": "cold"})
    assert second["test_nll"] != one_round(fresh, [first])[0]["test_nll"]


def test_cells_that_share_a_gpu_give_what_they_give_alone(digits_cell, tmp_path, monkeypatch):
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path))
    cells = [digits_cell(arm=arm, rounds=2) for arm in POSTER_ARMS]
    store, place = Store("smoke"), Placement("", "cuda", 0, ("0",), 2)
    store.prepare()
    engine.run(cells, round.round_task("auto", {}), store, {}, place, print)
    for cell in cells:
        record = store.load(cell)
        assert record["status"] == "finished"
        first, _ = one_round(cell)
        assert list(map(plain, record["rounds"])) == [first, one_round(cell, [first])[0]]


def test_where_the_gpus_memory_ends_a_chunk_is_halved():
    net = build(a_cell("cifar10", stem="3x3"), CUDA)
    images = torch.randint(256, (600, 3, 32, 32), generator=stream(0, "set"), dtype=torch.uint8).to(
        CUDA
    )
    whole = scoring.predict(net, images)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    room = torch.cuda.memory_reserved(CUDA) + 200 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        sizes = [len(part) for part in scoring.feature_batches(net, images)]
        assert max(sizes) < scoring.SCORING_BATCH and sum(sizes) == 600
        assert torch.allclose(scoring.predict(net, images), whole, atol=1e-4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(training.NotFinite, match="lower learning_rate"):
        trained(optimiser="sgd", learning_rate=1e9)


def test_the_data_are_on_the_gpu_once(digits_cell):
    data.load("digits")
    before = torch.cuda.memory_allocated(CUDA)
    one_round(digits_cell(arm="margin"))
    one_round(digits_cell(arm="margin"))
    held = data.load("digits").train_images.nbytes
    assert torch.cuda.memory_allocated(CUDA) - before < 3 * held
