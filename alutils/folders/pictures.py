"""One image file as uint8 (3, S, S): what is read, what is left out, and how it is made square.

The encoders' input is S = 112 pixels wide, so that is the size kept: the largest centred square of
an image, resized with antialiasing (bilinear), which amounts to resizing the shorter side to S and
cropping the centre. Smaller images are enlarged.
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
"""Side length (pixels) of a kept image: the encoders' input size."""
SMALLEST = 8
"""Images with a side below this (pixels) are left out."""
LARGEST = 89_478_485
"""Images with more pixels are left out: Pillow's own limit against decompression bombs."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever the file's extension; none of them runs another program."""
LOSSLESS = 256
"""Previews are lossless up to this side length (pixels)."""
PREPARATION = "rgb-112-1"
"""Changed by hand when the same file would give another image; part of a dataset's checksum."""


class Unusable(ValueError):
    """A file is not a usable image; the message says why."""


def picture(file: BinaryIO) -> np.ndarray:
    """The first frame of an image file, upright, as uint8 (3, SIZE, SIZE).

    Transparent parts become white; 16-bit grey keeps its upper 8 bits. Raises ``Unusable`` if the
    file can't be fully decoded or its size is out of bounds, and ``OSError`` with an ``errno`` if
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
    """Return an image file as a WebP preview: uncropped, at most ``side`` pixels wide and high.

    Prepared as in ``picture`` but not cropped, and never enlarged; lossless if it is small. Raises
    the same errors as ``picture``.
    """
    with _reading():
        whole = _decoded(file, side)
        whole.thumbnail((side, side))
        return _webp(whole)


def picture_preview(picture_3_S_S: np.ndarray) -> bytes:
    """Return the result of ``picture``, uint8 (3, S, S), as WebP."""
    from PIL import Image

    return _webp(Image.fromarray(np.ascontiguousarray(picture_3_S_S.transpose(1, 2, 0))))


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height (pixels) of an image file as it is stored, before it is turned upright.

    Raises ``OSError`` if it can't be read.
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
    """Turn errors from a file's bytes into ``Unusable``, and lack of memory into ``OSError``."""
    try:
        yield
    except Unusable:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on corrupt bytes
        if getattr(error, "errno", None):
            raise
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise OSError(ENOMEM, os.strerror(ENOMEM)) from error
        raise Unusable(f"can't be decoded: {_plain(error)}") from error


def _decoded(file: BinaryIO, side: int):
    """The first frame, upright, in RGB; a JPEG may be reduced, to no less than ``side`` pixels."""
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
    """The image rotated as its EXIF says, or unchanged if the EXIF is corrupt."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # only corrupt EXIF: the pixels are already decoded
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
    """An error's first line without bracketed parts, which may differ between runs."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r" ?[<(].*[>)]", "", lines[0])[:100]
