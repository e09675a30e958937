"""torchvision's ResNet-18 for small images, with one dropout layer before its last layer."""

import math
import os
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alutils.parameters import ParameterError
from alutils.protocol import DATASETS, Protocol
from alutils.streams import stream

FEATURES = 512
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BF16_PRODUCTS = any("bf16" in name and has for name, has in torch.cpu.get_capabilities().items())
"""Whether this processor multiplies bfloat16 numbers itself."""


class Net(nn.Module):
    """ResNet-18 (He et al., arXiv 1512.03385) in two parts: a trunk to 512 features, and a head.

    The parts are apart because dropout stands between them: T stochastic passes need the trunk
    once. Images go in as uint8 (B, C, H, W) and are normalised here, (x / 255 - 0.5) / 0.5.
    """

    def __init__(self, channels: int, size: int, stem: str = "7x7", precision: str = "fp32"):
        from torchvision.models import resnet18

        super().__init__()
        self.trunk = resnet18(num_classes=10)
        self.head, self.trunk.fc = self.trunk.fc, nn.Identity()
        if stem == "3x3":
            self.trunk.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.trunk.maxpool = nn.Identity()
        elif channels != 3:
            self.trunk.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.shape = (channels, size, size)
        self.precision = precision

    def features(self, images: Tensor) -> Tensor:
        """Features before the last layer, float32 (B, 512), of uint8 images (B, C, H, W)."""
        inputs = images.to(torch.float32).sub_(127.5).div_(127.5).to(PRECISIONS[self.precision])
        return self.trunk(inputs.contiguous(memory_format=torch.channels_last)).float()

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits (B, 10); ``keep`` (B, 512) is the dropout mask, None switches dropout off."""
        features = self.features(images)
        return self.head(features if keep is None else features * keep)


def _product(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """``op(x, weight)`` in the precision of ``x``; the weight is kept in float32.

    A processor without bfloat16 products multiplies the rounded values in float32 and rounds the
    result: the same but for the order of sums, at float32's speed.
    """
    weight = weight.to(x.dtype)
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not BF16_PRODUCTS:
        return op(x.float(), weight.float()).to(x.dtype)
    return op(x, weight)


class Conv2d(nn.Conv2d):
    """A convolution without bias, in the precision of its input."""

    def forward(self, x: Tensor) -> Tensor:
        convolve = partial(F.conv2d, stride=self.stride, padding=self.padding)
        return _product(convolve, x, self.weight)


class PointwiseConv2d(Conv2d):
    """A 1 x 1 convolution as what it is: a matrix product on every ``stride``-th pixel."""

    def forward(self, x: Tensor) -> Tensor:
        step = self.stride[0]
        pixels = x.permute(0, 2, 3, 1)[:, ::step, ::step].contiguous()
        return _product(F.linear, pixels, self.weight.flatten(1)).permute(0, 3, 1, 2)


class SmallMapConv2d(nn.Module):
    """A convolution on a map so small that every output pixel sees every input pixel.

    Then it is one matrix product, and kernel taps that only ever meet padding are left out: their
    gradient is exactly zero, and Adam without weight decay never moves them. Weight decay would
    shrink them, each by itself, which no output can tell. Same function and same gradients as the
    convolution it replaces; at 32 x 32 inputs 4.2 M parameters live on instead of 11.2 M. Measured
    on a 2.4 GHz AVX2 core, batch 64, a 256-channel 3 x 3 convolution on 2 x 2 maps: 24.5 ms forward
    and backward as a convolution, 7.2 ms so.
    """

    def __init__(self, conv: nn.Conv2d, size: int):
        super().__init__()
        line, kernel = _line(conv, size), conv.kernel_size[0]
        self.side = len(line)
        taps = [y * kernel + x for rows in line for columns in line for y in rows for x in columns]
        self.live = sorted(set(taps))
        self.register_buffer("full", conv.weight.detach().clone(), persistent=False)
        live = self.full.flatten(2)[:, :, self.live].transpose(1, 2)
        self.weight = nn.Parameter(live.contiguous())
        index = torch.tensor([self.live.index(tap) for tap in taps])
        self.register_buffer("index", index if self.side > 1 else None, persistent=False)

    @staticmethod
    def fits(conv: nn.Conv2d, size: int) -> bool:
        """Whether every output pixel of ``conv`` on a ``size`` x ``size`` map sees all of it."""
        return all(0 <= tap < conv.kernel_size[0] for row in _line(conv, size) for tap in row)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.index is None else self.weight.index_select(1, self.index)
        outputs = len(weight)
        pixels = x.permute(0, 2, 3, 1).flatten(1)
        y = _product(F.linear, pixels, weight.reshape(outputs * self.side**2, -1))
        y = y.view(-1, outputs, self.side, self.side)
        return y.contiguous(memory_format=torch.channels_last)

    def full_weight(self) -> Tensor:
        """The convolution's whole kernel, dead taps as they were initialised, decay or not."""
        full = self.full.clone()
        full.flatten(2)[:, :, self.live] = self.weight.detach().transpose(1, 2)
        return full


def _line(conv: nn.Conv2d, size: int) -> list[list[int]]:
    """Kernel tap by output and input pixel along one axis; outside the kernel: not connected."""
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    outputs = range((size + 2 * padding - kernel) // stride + 1)
    return [[i - o * stride + padding for i in range(size)] for o in outputs]


def build(
    protocol: Protocol,
    dataset: str,
    seed: int,
    device: torch.device,
    drawn: tuple[str | int, ...] = ("weights",),
) -> Net:
    """The network of one seed, on ``device``, in the form and precision of the protocol.

    ``drawn`` names the stream of the seed that its initial weights are drawn from.
    """
    facts = DATASETS[dataset]
    net = Net(facts.channels, facts.size, protocol.stem, protocol.precision)
    initialise(net, stream(seed, *drawn))
    shape_convolutions(net, protocol.live_taps)
    if protocol.compiled:
        torch.compiler.reset()  # what this process compiled before must not change the graph
        net.trunk.compile()
    return net.to(device, memory_format=torch.channels_last)


def initialise(net: Net, rng: torch.Generator) -> None:
    """torchvision's initialisation, drawn from ``rng`` instead of the global generator."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=rng
            )
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=rng)
            nn.init.uniform_(module.bias, -bound, bound, generator=rng)


def shape_convolutions(net: Net, live_taps: bool) -> None:
    """Give each convolution of torchvision's network, in place, the form that computes it here.

    With ``live_taps`` that is its cheapest exact form: a matrix product where the map is small or
    the kernel is a single pixel.
    """
    sizes = {name: shape[-1] for name, shape in map_shapes(net).items()}
    for name, module in list(net.named_modules()):
        if type(module) is nn.Conv2d:
            parent, _, attribute = name.rpartition(".")
            setattr(net.get_submodule(parent), attribute, _shaped(module, sizes[name], live_taps))


def _shaped(conv: nn.Conv2d, size: int, live_taps: bool) -> nn.Module:
    if live_taps and SmallMapConv2d.fits(conv, size):
        return SmallMapConv2d(conv, size)
    kind = PointwiseConv2d if live_taps and conv.kernel_size == (1, 1) else Conv2d
    same = kind(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
        bias=False, device="meta",
    )  # fmt: skip
    same.weight = conv.weight
    return same


@torch.no_grad()
def map_shapes(net: Net, output: bool = False) -> dict[str, tuple[int, ...]]:
    """Shape (C, H, W) of the input (or output) of every module, by its name."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, module: nn.Module, args: tuple[Tensor, ...], result: Tensor) -> None:
        shapes.setdefault(name, tuple((result if output else args[0]).shape[1:]))

    hooks = [
        module.register_forward_hook(partial(note, name)) for name, module in net.named_modules()
    ]
    was_training = net.training
    net.eval().head(net.trunk(torch.zeros(1, *net.shape, dtype=net.head.weight.dtype)))
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    return shapes


def torchvision_state(net: Net) -> dict[str, Tensor]:
    """State dict that a plain torchvision ``resnet18`` loads, dead taps included."""
    state = {key.removeprefix("trunk."): value for key, value in net.state_dict().items()}
    state |= {f"fc.{key}": state.pop(f"head.{key}") for key in ("weight", "bias")}
    for name, module in net.trunk.named_modules():
        if isinstance(module, SmallMapConv2d):
            state[f"{name}.weight"] = module.full_weight()
    return state


def pick_device(name: str) -> torch.device:
    """The device by name; ``auto`` takes cuda, then mps, then cpu; else ``ParameterError``."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, present in there.items() if present), "cpu")
    if not there.get(name, True):
        raise ParameterError(f"device = {name!r} is not on this machine: use auto or cpu")
    return torch.device(name)


def visible_gpus() -> tuple[str, ...]:
    """CUDA's names of the GPUs that this process may use."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return tuple(name.strip() for name in named.split(",")[:count])


def stages(net: Net) -> list[dict]:
    """The network's stages, read off the module: title, kind, output (C, H, W), parameters."""
    from torchvision.models.resnet import BasicBlock

    shapes = map_shapes(net, output=True)
    modules = dict(net.named_modules())
    stem = modules["trunk.conv1"]
    kernel = f"{stem.kernel_size[0]} × {stem.kernel_size[0]} conv / {stem.stride[0]}"
    rows = [("trunk.bn1", kernel, "conv")]
    if not isinstance(modules["trunk.maxpool"], nn.Identity):
        rows.append(("trunk.maxpool", "max-pool", "pool"))
    for name, module in modules.items():
        if isinstance(module, BasicBlock):
            rows.append((name, name.removeprefix("trunk.").replace(".", ", block "), "block"))
    rows += [("trunk.avgpool", "average pool", "pool"), ("head", "dropout, fc", "head")]
    return [
        {
            "title": title,
            "kind": kind,
            "output": shapes[name],
            "parameters": sum(p.numel() for p in modules[name].parameters())
            + (stem.weight.numel() if kind == "conv" else 0),
        }
        for name, title, kind in rows
    ]
