from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from alutils.learning.convolutions import PointwiseConv2d, SmallMapConv2d, _product
from alutils.learning.devices import pick_device
from alutils.learning.network import (
    Net,
    build,
    initialise,
    map_shapes,
    shape_convolutions,
    stages,
    torchvision_state,
)
from alutils.learning.streams import stream
from alutils.learning.training import make_optimiser
from alutils.protocol.cell import Protocol
from tests.cells import a_cell

CPU = torch.device("cpu")
CASES = [(3, 32), (1, 28)]


def pair(channels: int, size: int, stem: str = "7x7") -> tuple[Net, Net]:
    """A plain network in float64 and its equal with live taps."""
    plain = Net(channels, size, 10, stem)
    initialise(plain, stream(0, "weights"))
    plain.features = lambda images: plain.trunk(images)
    plain.shape = (channels, size, size)
    live = Net(channels, size, 10, stem)
    live.load_state_dict(plain.state_dict())
    shape_convolutions(live, live_taps=True)
    live.features = lambda images: live.trunk(images)
    return plain.double(), live.double()


@pytest.mark.parametrize(("channels", "size"), CASES)
def test_live_taps_give_the_same_outputs_and_gradients(channels, size):
    plain, live = pair(channels, size)
    images = torch.randn(8, channels, size, size, dtype=torch.double, generator=stream(1, "x"))
    labels = torch.arange(8)
    for net in (plain, live):
        nn.functional.cross_entropy(net(images), labels).backward()
    assert apart(plain(images), live(images)) < 1e-10
    kinds = [type(m) for m in live.modules() if type(m) in (SmallMapConv2d, PointwiseConv2d)]
    assert kinds.count(SmallMapConv2d) == 7 and kinds.count(PointwiseConv2d) == 3
    for name, parameter in live.named_parameters():
        module = live.get_submodule(name.rpartition(".")[0])
        gradient = plain.get_parameter(name).grad
        if isinstance(module, SmallMapConv2d):
            taps = gradient.flatten(2).transpose(1, 2)
            dead = [tap for tap in range(taps.shape[1]) if tap not in module.live]
            assert not taps[:, dead].any()
            gradient = taps[:, module.live]
        assert apart(gradient, parameter.grad) < 1e-10, name


def apart(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Relative distance."""
    return ((expected - actual).norm() / expected.norm()).item()


@pytest.mark.parametrize(("channels", "size"), CASES)
def test_live_taps_stay_equal_over_adam_steps(channels, size):
    plain, live = pair(channels, size)
    rng = stream(2, "x")
    images = torch.randn(4, channels, size, size, dtype=torch.double, generator=rng)
    labels = torch.randint(10, (4,), generator=rng)
    for net in (plain, live):
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
        for _ in range(5):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimiser.step()
    expected, actual = torchvision_state(plain), torchvision_state(live)
    for name, module in live.trunk.named_modules():
        if isinstance(module, SmallMapConv2d):
            dead = [tap for tap in range(module.kernel**2) if tap not in module.live]
            assert not actual[f"{name}.weight"].flatten(2)[:, :, dead].any()
            expected[f"{name}.weight"].flatten(2)[:, :, dead] = 0
    assert all(torch.allclose(expected[key], actual[key], rtol=1e-8, atol=1e-8) for key in expected)


@pytest.mark.parametrize(("channels", "size"), CASES)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_live_taps_stay_the_same_function_under_weight_decay(channels, size, optimiser):
    """Dead taps shrink in torchvision and are left out in ours: neither changes an output."""
    plain, live = pair(channels, size)
    rng = stream(2, "x")
    images = torch.randn(4, channels, size, size, dtype=torch.double, generator=rng)
    labels = torch.randint(10, (4,), generator=rng)
    protocol = Protocol(optimiser=optimiser, learning_rate=5e-4, weight_decay=0.5)
    for net in (plain, live):
        steps = make_optimiser(net, protocol)
        for _ in range(6):
            steps.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            steps.step()
    torchvision = resnet18(num_classes=10)
    if channels != 3:
        torchvision.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    torchvision.double().eval().load_state_dict(torchvision_state(live))
    fresh_images = torch.randn(4, channels, size, size, dtype=torch.double, generator=rng)
    with torch.no_grad():
        expected = plain.eval()(fresh_images)
        assert apart(expected, live.eval()(fresh_images)) < 1e-8
        assert apart(expected, torchvision(fresh_images)) < 1e-8


def test_live_taps_are_the_same_function_with_the_small_stem():
    plain, live = pair(3, 32, "3x3")
    images = torch.randn(2, 3, 32, 32, dtype=torch.double, generator=stream(1, "x"))
    assert apart(plain(images), live(images)) < 1e-10
    kinds = [type(m) for m in live.modules() if type(m) in (SmallMapConv2d, PointwiseConv2d)]
    assert kinds == [PointwiseConv2d] * 3


@pytest.mark.parametrize(
    ("op", "inputs", "weights"),
    [
        (F.linear, (64, 1024), (256, 1024)),
        (partial(F.conv2d, padding=1), (16, 64, 8, 8), (64, 64, 3, 3)),
        (partial(F.conv2d, padding=3, stride=2), (16, 3, 32, 32), (64, 3, 7, 7)),
    ],
    ids=["linear", "3x3", "7x7"],
)
def test_bf16_products_without_instructions_for_them_differ_in_the_order_of_sums_alone(
    op, inputs, weights, monkeypatch
):
    """Product and both gradients: all but a few round to the same, and those to the next number."""
    rng = stream(0, "x")
    images = torch.randn(inputs, generator=rng).bfloat16()
    kernel = 0.03 * torch.randn(weights, generator=rng)
    upstream = torch.randn(op(images.float(), kernel).shape, generator=rng).bfloat16()
    computed = []
    for supported in (True, False):
        monkeypatch.setattr("alutils.learning.convolutions.BF16_PRODUCTS", supported)
        leaves = images.clone().requires_grad_(), kernel.clone().requires_grad_()
        product = _product(op, *leaves)
        product.backward(upstream)
        computed.append((product.detach(), *(leaf.grad for leaf in leaves)))
    for native, emulated in zip(*computed, strict=True):
        assert native.dtype == emulated.dtype
        assert (native == emulated).float().mean() > 0.99
        assert (native - emulated).norm() < 1e-3 * native.norm()


def test_live_taps_leave_a_third_of_the_parameters():
    net = build(a_cell("cifar10"), CPU)
    assert sum(p.numel() for p in net.parameters()) == 4_234_826


def test_the_state_loads_into_plain_torchvision():
    net = build(a_cell("cifar10", seed=3), CPU).eval()
    plain = resnet18(num_classes=10)
    plain.load_state_dict(torchvision_state(net))
    images = torch.randint(256, (4, 3, 32, 32), generator=stream(0, "x"), dtype=torch.uint8)
    with torch.inference_mode():
        theirs = plain.eval()((images / 255 - 0.5) / 0.5)
        assert torch.allclose(net(images), theirs, atol=1e-4)


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    net = build(a_cell("mnist", seed=5), CPU)
    torch.manual_seed(2)
    same_seed = build(a_cell("mnist", seed=5), CPU)
    other_seed = build(a_cell("mnist", seed=6), CPU)
    assert all(
        torch.equal(a, b) for a, b in zip(net.parameters(), same_seed.parameters(), strict=True)
    )
    assert not torch.equal(net.head.weight, other_seed.head.weight)


def test_initialisation_has_torchvisions_spread():
    ours, theirs = Net(3, 32, 10), resnet18(num_classes=10)
    initialise(ours, stream(0, "weights"))
    for name, module in theirs.named_modules():
        if isinstance(module, nn.Conv2d):
            spread = ours.trunk.get_submodule(name).weight.std().item()
            assert spread == pytest.approx(module.weight.std().item(), rel=0.05)
    assert ours.head.weight.abs().max() <= 512**-0.5


def test_stem_and_feature_maps():
    shapes = map_shapes(Net(3, 32, 10), output=True)
    assert shapes["trunk.conv1"] == (64, 16, 16) and shapes["trunk.layer4"] == (512, 1, 1)
    small = map_shapes(Net(3, 32, 10, stem="3x3"), output=True)
    assert small["trunk.layer1"] == (64, 32, 32) and small["trunk.layer4"] == (512, 4, 4)
    assert map_shapes(Net(1, 28, 10, stem="3x3"), output=True)["trunk.layer4"] == (512, 4, 4)
    assert map_shapes(Net(1, 28, 10), output=True)["trunk.layer3"] == (256, 2, 2)


def test_stages_account_for_every_parameter():
    for stem, pools in (("7x7", 2), ("3x3", 1)):
        net = Net(3, 32, 10, stem)
        rows = stages(net)
        assert sum(s["parameters"] for s in rows) == sum(p.numel() for p in net.parameters())
        kinds = [s["kind"] for s in rows]
        assert kinds.count("block") == 8 and kinds.count("pool") == pools


def test_dropout_is_before_the_last_layer_alone():
    net = build(a_cell("mnist"), CPU).eval()
    images = torch.randint(256, (2, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    keep = torch.zeros(2, 512)
    assert not any(isinstance(module, nn.Dropout) for module in net.modules())
    assert torch.equal(net(images, keep), net.head.bias.expand(2, 10))
    assert torch.equal(net(images, torch.ones(2, 512)), net(images))


def test_normalisation_is_minus_one_to_one():
    net = build(a_cell("mnist"), CPU)
    net.trunk = nn.Identity()
    values = net.features(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None])
    assert values.flatten().tolist() == [-1, 1]


def test_the_network_is_compiled_where_that_is_asked_for(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    build(a_cell("mnist"), CPU)
    net = build(a_cell("mnist", compiled=True), CPU)
    assert compiled == [net.trunk]


def test_what_was_compiled_before_leaves_no_trace_in_the_graph(monkeypatch):
    """After images of another shape the graph would else be one for any shape."""
    graphs = []

    def backend(graph, inputs):
        graphs.append([value for value in inputs if isinstance(value, torch.SymInt)])
        return graph.forward

    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile(module, backend=backend))
    for dataset, channels, size in (("mnist", 1, 28), ("cifar10", 3, 32)):
        net = build(a_cell(dataset, compiled=True), CPU).eval()
        with torch.no_grad():
            net.features(torch.zeros(4, channels, size, size, dtype=torch.uint8))
    assert graphs == [[], []]


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="device = 'cuda' is not on this machine"):
        pick_device("cuda")
    assert pick_device("auto").type in ("cpu", "mps")


def test_bf16_is_computed_in_bf16_and_is_near_fp32():
    kinds, features = [], {}
    images = torch.randint(256, (4, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    for precision in ("fp32", "bf16"):
        net = build(a_cell(precision=precision), CPU).eval()
        net.trunk.layer1.register_forward_hook(lambda *given: kinds.append(given[-1].dtype))
        with torch.inference_mode():
            features[precision] = net.features(images)
    assert kinds == [torch.float32, torch.bfloat16]
    assert features["bf16"].dtype == torch.float32
    apart = (features["bf16"] - features["fp32"]).norm() / features["fp32"].norm()
    assert 0 < apart < 0.05
