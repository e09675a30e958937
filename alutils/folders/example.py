"""A small folder of example images, generated for users who have none at hand.

It holds scikit-learn's handwritten digits (8 x 8 pixels, dark on white) in class folders, with
fewer images of each successive digit, since real classes are seldom equal in size. The files are
byte-identical on every machine, so that records get the same names: as a PNG's compressed bytes
differ between versions of zlib, the pixels are stored uncompressed.
"""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np

from alutils.paths import data_cache
from alutils.waiting import exclusive_lock

NAME = "example-digits"
IMAGES = range(96, 16, -8)
"""Images of each digit, from 0 to 9."""


def example_folder() -> Path:
    """Return the folder in the data cache; if missing, create it, completely or not at all.

    Raises a one-line ``ValueError`` if it can't be written.
    """
    folder = data_cache() / NAME
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(
                folder.with_suffix(".lock"), f"waiting for another process to make {NAME}"
            ):
                if not folder.is_dir():
                    _make(folder)
    except OSError as error:
        raise ValueError(
            f"the example can't be written to {folder.parent} ({error.strerror or error}): make "
            "room, change its permissions, or name another folder in ALUTILS_DATA"
        ) from error
    return folder


def _make(folder: Path) -> None:
    """Write the class folders into a temporary folder, and rename that once it is complete."""
    from sklearn.datasets import load_digits

    for left in folder.parent.glob(f".{NAME}-*"):
        shutil.rmtree(left)
    part = folder.with_name(f".{NAME}-{os.getpid()}")
    digits = load_digits()
    pixels_N_8_8 = 255 - (digits.images * (255 / 16)).astype(np.uint8)
    for label, count in enumerate(IMAGES):
        (part / str(label)).mkdir(parents=True)
        for number, pixels in enumerate(pixels_N_8_8[digits.target == label][:count]):
            (part / str(label) / f"{number:02}.png").write_bytes(png(pixels))
    part.rename(folder)


def png(pixels_H_W: np.ndarray) -> bytes:
    """Encode a grey image (uint8) as an uncompressed PNG file.

    The data are one stored deflate block (RFC 1951) of at most 65,535 bytes, in the zlib format
    (RFC 1950).
    """
    height, width = pixels_H_W.shape
    rows = np.insert(pixels_H_W, 0, 0, axis=1).tobytes()  # filter type before each row: none
    block = struct.pack("<BHH", 1, len(rows), len(rows) ^ 0xFFFF) + rows
    stream = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
