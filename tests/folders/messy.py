"""Folders of images for tests: small clean ones, and one with every kind of file that is met."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def noise(seed: int, height: int = 40, width: int = 40) -> np.ndarray:
    """A picture that no other seed has, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plain_folder(folder: Path, classes: tuple[str, ...] = CLASSES, each: int = 10) -> Path:
    """Class folders of PNG images, each of its own content."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(noise(1000 * number + i)).save(folder / label / f"{i}.png")
    return folder


def unusual_images(folder: Path) -> dict[str, np.ndarray]:
    """Files of every kind that is read, with the middle pixel (3,) that each has to give."""
    folder.mkdir(parents=True)
    red = Image.new("RGB", (64, 48), (200, 40, 40))
    made = {}

    def save(name: str, image: Image.Image, middle, **options) -> None:
        image.save(folder / name, **options)
        made[name] = np.array(middle)

    save("rgb.png", red, (200, 40, 40))
    save("rgb.jpg", red, (200, 40, 40), quality=95)
    save("rgb.webp", red, (200, 40, 40), lossless=True)
    save("rgb.tiff", red, (200, 40, 40), compression="tiff_lzw")
    save("rgb.bmp", red, (200, 40, 40))
    save("cmyk.jpg", red.convert("CMYK"), (200, 40, 40), quality=95)
    save("grey.png", Image.new("L", (20, 300), 77), (77, 77, 77))
    save("bits.png", Image.new("1", (30, 30), 1), (255, 255, 255))
    save("palette.png", red.convert("P", palette=Image.Palette.ADAPTIVE), (200, 40, 40))
    save("alpha.png", Image.new("RGBA", (30, 30), (0, 0, 0, 51)), (204, 204, 204))
    save("grey-alpha.png", Image.new("LA", (30, 30), (10, 0)), (255, 255, 255))
    clear = Image.new("P", (30, 30), 3)
    clear.putpalette([0] * 9 + [9, 9, 9])
    save("clear-palette.png", clear, (255, 255, 255), transparency=3)
    deep = Image.fromarray(np.full((30, 30), 0x81FF, np.uint16))
    save("16-bit.png", deep, (0x81,) * 3)
    save("16-bit.tif", deep, (0x81,) * 3)
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((0, 200, 0), (0, 0, 200))]
    for ending in ("gif", "webp", "png"):
        options = {} if ending == "gif" else {"lossless": True} if ending == "webp" else {}
        save(
            f"animated.{ending}", frames[0], (0, 200, 0),
            save_all=True, append_images=frames[1:], **options,
        )  # fmt: skip
    save("no-suffix", Image.new("RGB", (9, 8), (1, 2, 3)), (1, 2, 3), format="PNG")
    save("huge.jpg", Image.new("RGB", (4000, 3000), (10, 90, 10)), (10, 90, 10))
    return made


def bad_files(folder: Path) -> dict[str, str]:
    """Files of every kind that is left out, with a part of what has to be said of each."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(77, 300, 300)).save(folder / "whole.png")
    Image.fromarray(noise(78, 300, 300)).save(folder / "whole.jpg")
    for name in ("whole.png", "whole.jpg"):
        content = (folder / name).read_bytes()
        (folder / f"truncated-{name}").write_bytes(content[: len(content) // 2])
        (folder / name).unlink()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    Image.fromarray(noise(79, 7, 90)).save(folder / "tiny.png")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (folder / "large.png").write_bytes(png_header(10_000, 9_000))
    Image.fromarray(np.full((30, 30), 0.5, np.float32)).save(folder / "float.tiff")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")  # which waits for ever when it is opened
    return {
        "pipe.png": "not a file",
        "truncated-whole.png": "can't be decoded: image file is truncated",
        "truncated-whole.jpg": "can't be decoded: image file is truncated",
        "empty.jpg": "not an image that is read here (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)",
        "notes.txt": "not an image that is read here (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)",
        "tiny.png": "90 × 7 pixels: a side below 8 pixels",
        "bomb.png": "more than 89,478,485 pixels",
        "large.png": "10000 × 9000 pixels: more than 89,478,485 pixels",
        "float.tiff": "floating-point pixels, whose range is unknown",
        "dangling.png": "can't be read: No such file or directory",
    }


def png_header(width: int, height: int) -> bytes:
    """A PNG of so many pixels and hardly a byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
