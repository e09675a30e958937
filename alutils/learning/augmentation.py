"""Random augmentation of training images; scoring and evaluation never change an image."""

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4
"""Black pixels on every side before a crop (He et al., arXiv 1512.03385, section 4.2)."""


def crop_flip(images: Tensor, rng: torch.Generator) -> Tensor:
    """A random crop of each padded image, flipped horizontally with probability 1/2.

    Images and result are uint8 (B, C, H, W), on any one device; ``rng`` is on the CPU. Draws are
    independent, and uniform over the (2 * ``PADDING`` + 1) ** 2 crops.
    """
    count, _, height, width = images.shape
    offset_2_B = torch.randint(2 * PADDING + 1, (2, count), generator=rng)
    mirrored_B = torch.randint(2, (count,), generator=rng)
    top, left, mirrored = torch.cat([offset_2_B, mirrored_B[None]]).to(images.device)[..., None]
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(mirrored.bool(), columns.flip(0), columns)
    padded = F.pad(images, (PADDING,) * 4)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
