"""Predicted classes of image files, by an exported head."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alutils.folders import pictures
from alutils.labelling.saved_head import SavedHead
from alutils.learning.encoders import Encoder, load_encoder
from alutils.learning.features import on_all_cores

FILES_AT_ONCE = 64


@dataclass(frozen=True)
class Predicted:
    """A head's prediction for a file.

    Attributes
    ----------
    file : as it was given
    probs_C : probability of each of the head's classes, float32; None if it is no usable image
    problem : why it is not
    """

    file: Path
    probs_C: Tensor | None
    problem: str = ""


def predictions(saved: SavedHead, files: Sequence[Path]) -> Iterator[Predicted]:
    """A head's predictions for image files, in order, on all cores and in bounded memory.

    An image is prepared as those of a folder are (``folders.pictures``), and its features are
    rounded to float16 as in the data cache. Raises ``EncoderUnavailable``.
    """
    encoder = load_encoder(saved.encoder)

    def predict(start: int) -> list[Predicted]:
        return _batch(saved, encoder, files[start : start + FILES_AT_ONCE])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd files
        for some in on_all_cores(predict, range(0, len(files), FILES_AT_ONCE)):
            yield from some


def _batch(saved: SavedHead, encoder: Encoder, files: Sequence[Path]) -> list[Predicted]:
    opened = [_picture(file) for file in files]
    usable = [picture for picture, _ in opened if picture is not None]
    probs_N_C = iter(())
    if usable:
        with torch.inference_mode():
            rows = encoder(torch.stack(usable)).half()
            probs_N_C = iter(saved.head.net(rows).softmax(1))
    return [
        Predicted(file, None if picture is None else next(probs_N_C), problem)
        for file, (picture, problem) in zip(files, opened, strict=True)
    ]


def _picture(file: Path) -> tuple[Tensor | None, str]:
    """A file as input for the encoder, uint8 (3, S, S), or why it can't be."""
    try:
        if not file.is_file():  # reading a pipe would block
            return None, "not a file"
        with file.open("rb") as opened:
            return torch.from_numpy(pictures.picture(opened)), ""
    except pictures.Unusable as error:
        return None, str(error)
    except OSError as error:
        return None, f"can't be read: {error.strerror or error}"
