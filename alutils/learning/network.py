"""torchvision's ResNet-18 for small images, with one dropout layer before its last layer."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from alutils.learning.convolutions import SmallMapConv2d, shaped
from alutils.learning.features import load_features
from alutils.learning.head import FeatureNet
from alutils.learning.streams import stream
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS

ARITHMETIC = 1
"""Incremented by hand when a network's outputs or gradients change in their last bits, as with
another form of a convolution: older records are then checked like those of another machine."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Net(nn.Module):
    """ResNet-18 (He et al., arXiv 1512.03385) in two parts: a trunk to 512 features, and a head.

    The parts are separate because dropout is applied between them, so T stochastic passes run the
    trunk only once. Images are uint8 (B, C, H, W) and are normalised here, (x / 255 - 0.5) / 0.5.
    """

    def __init__(
        self, channels: int, size: int, classes: int, stem: str = "7x7", precision: str = "fp32"
    ):
        from torchvision.models import resnet18

        super().__init__()
        self.trunk = resnet18(num_classes=classes)
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
        """Logits (B, C); ``keep`` (B, 512) is the dropout mask, None switches dropout off."""
        features = self.features(images)
        return self.head(features if keep is None else features * keep)


Classifier = Net | FeatureNet
"""Both have ``features``, float32 (B, D), and a linear ``head``, and return logits."""


def build(
    cell: Cell, device: torch.device, drawn: tuple[str | int, ...] = ("weights",)
) -> Classifier:
    """Build a cell's network on ``device``, as its protocol specifies, initialised from its seed.

    With an encoder, it is a linear head on its features, which are computed first if necessary.
    ``drawn`` names the random stream from which the initial weights are drawn (see ``stream``).
    """
    facts = DATASETS[cell.dataset]
    if cell.encoder != "none":
        features = load_features(cell.dataset, cell.encoder)
        net = FeatureNet(features.mean, features.std, len(facts.classes))
        initialise(net, stream(cell.seed, *drawn))
        return net.to(device)
    net = Net(facts.channels, facts.size, len(facts.classes), cell.stem, cell.precision)
    initialise(net, stream(cell.seed, *drawn))
    shape_convolutions(net, cell.live_taps)
    if cell.compiled:
        torch.compiler.reset()  # what this process compiled before must not change the graph
        net.trunk.compile()
    return net.to(device, memory_format=torch.channels_last)


def initialise(net: nn.Module, rng: torch.Generator) -> None:
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
    """Replace torchvision's convolutions, in place, by their forms from ``convolutions``.

    With ``live_taps``, that is the cheapest exact form: a matrix product if the map is small or the
    kernel is 1 x 1.
    """
    sizes = {name: shape[-1] for name, shape in map_shapes(net).items()}
    for name, module in list(net.named_modules()):
        if type(module) is nn.Conv2d:
            parent, _, attribute = name.rpartition(".")
            setattr(net.get_submodule(parent), attribute, shaped(module, sizes[name], live_taps))


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
    """State dict that a plain torchvision ``resnet18`` loads; taps that are not kept are zero."""
    state = {key.removeprefix("trunk."): value for key, value in net.state_dict().items()}
    state |= {f"fc.{key}": state.pop(f"head.{key}") for key in ("weight", "bias")}
    for name, module in net.trunk.named_modules():
        if isinstance(module, SmallMapConv2d):
            state[f"{name}.weight"] = module.full_weight()
    return state


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
