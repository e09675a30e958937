"""One image file as uint8 (3, S, S): what is read, what is left out, and how it is made square.

The encoders' input is S = 112 pixels wide, so that is what is kept: of an image the largest square
about its centre, resized with antialiasing (bilinear), which is the shorter side resized to S and a
centre crop. Smaller images are enlarged.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOMEM
from pathlib import Path
from typing import BinaryIO

import numpy as np

SIZE = 112
"""Pixels of a side of what is kept: what the encoders take."""
SMALLEST = 8
"""Pixels of a side below which an image is left out."""
LARGEST = 89_478_485
"""Pixels above which an image is left out: Pillow's own bound against decompression bombs."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read, whatever a file's name ends with; no format that runs another program."""
LOSSLESS = 256
"""Pixels of a side up to which a preview is without loss."""
PREPARATION = "rgb-112-1"
"""Changed by hand when the same file would give another picture: it enters a dataset's checksum."""


class Unusable(ValueError):
    """A file is no image that can be learnt from; the message says why."""


def picture(file: BinaryIO) -> np.ndarray:
    """The first frame of an image file, upright, as uint8 (3, SIZE, SIZE).

    Transparent parts become white; grey of 16 bits keeps its upper 8. Raises ``Unusable`` for what
    can't be decoded to its end and for sizes out of bounds, and ``OSError`` with an ``errno`` where
    the system can't read the file or memory runs out.
    """
    from PIL import Image

    with _reading():
        whole = _decoded(file, 2 * SIZE)
        side, (width, height) = min(whole.size), whole.size
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        kept = whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(kept).transpose(2, 0, 1))


def preview(file: BinaryIO, side: int) -> bytes:
    """An image file as a page shows it: whole, at most ``side`` pixels wide and high, in WebP.

    Prepared as ``picture`` but for the crop, and never enlarged; without loss where it is small.
    Raises as ``picture``.
    """
    with _reading():
        whole = _decoded(file, side)
        whole.thumbnail((side, side))
        return _webp(whole)


def picture_preview(picture_3_S_S: np.ndarray) -> bytes:
    """What ``picture`` gave, uint8 (3, S, S), in WebP."""
    from PIL import Image

    return _webp(Image.fromarray(np.ascontiguousarray(picture_3_S_S.transpose(1, 2, 0))))


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height (pixels) of an image file as it is stored, before it is turned upright.

    Raises ``OSError`` where it can't be read.
    """
    from PIL import Image

    with Image.open(path, formats=FORMATS) as image:
        return image.size


def _webp(image) -> bytes:
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=max(image.size) <= LOSSLESS, quality=90, method=2)
    return content.getvalue()


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever a file's bytes raise is ``Unusable``, and want of memory an ``OSError``."""
    try:
        yield
    except Unusable:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on spoiled bytes
        if getattr(error, "errno", None):
            raise
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise OSError(ENOMEM, os.strerror(ENOMEM)) from error
        raise Unusable(f"can't be decoded: {_plain(error)}") from error


def _decoded(file: BinaryIO, side: int):
    """The first frame, upright, in RGB; of a photograph no more than ``side`` pixels need hold."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Unusable(f"not an image that is read here ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise Unusable(f"more than {LARGEST:,} pixels") from error
    width, height = image.size
    if min(width, height) < SMALLEST:
        raise Unusable(f"{width} × {height} pixels: a side below {SMALLEST} pixels")
    if width * height > LARGEST:
        raise Unusable(f"{width} × {height} pixels: more than {LARGEST:,} pixels")
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (side, side))  # decodes a large photograph several times faster
    image.load()
    return _rgb(_upright(image))


def _upright(image):
    """The image turned as its EXIF says; as it is where that is spoiled."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of spoiled EXIF alone: the pixels are decoded already
        return image


def _rgb(image):
    """The image in 8-bit RGB, on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise Unusable("grey values of more than 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise Unusable("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _plain(error: Exception) -> str:
    """An error's first line, without what it has in brackets, which may differ between runs."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r" ?[<(].*[>)]", "", lines[0])[:100]
