"""The trained head as files for use elsewhere: weights, metadata, and a usage example."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from alutils.folders.pictures import PREPARATION
from alutils.labelling.batches import Head
from alutils.labelling.export import atomic_folder, write_file
from alutils.learning.head import FeatureNet
from alutils.protocol.encoders import ENCODERS
from alutils.protocol.parameters import StudyError

WEIGHTS, FACTS, EXAMPLE = "head.safetensors", "head.json", "example.txt"
"""The files in the folder of a saved head."""
FIRST_PREPARED = {
    "efficientnet-lite0": [
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 112, 1, "rgb-112-1"
    ],
    "resnet18": [
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", 112, 1, "rgb-112-1"
    ],
}  # fmt: skip
"""By encoder, the value of ``prepared`` when heads were saved without it; never changed."""
USE = """\
# Predict classes of images from their features: rows of {features} numbers by {encoder}.
# From image files to a table of classes, in the folder of the study that made this:
#     .venv/bin/python -m alutils predict HEAD IMAGES > predictions.csv
import json
import torch
from safetensors.torch import load_file

facts, head = json.load(open("head.json")), load_file("head.safetensors")
features = torch.zeros(1, {features})  # replace by your own, float (N, {features})
standardised = (features.float() - head["mean"]) / head["std"]
probabilities = (standardised @ head["weight"].T + head["bias"]).softmax(1)
print([facts["classes"][i] for i in probabilities.argmax(1)])
"""


class HeadDamaged(StudyError):
    """The files of a saved head do not match each other, or not the encoder's current features."""


def prepared(encoder: str) -> list[str | int]:
    """What an image file's features depend on: the encoder, and how its picture is made.

    Empty for an unknown encoder.
    """
    return [*ENCODERS[encoder].identity, PREPARATION] if encoder in ENCODERS else []


@dataclass(frozen=True)
class SavedHead:
    """A head read from disk, and the name of its features' encoder."""

    head: Head
    encoder: str


def save_head(folder: Path, head: Head, encoder: str) -> None:
    """Write a head into its own folder, completely or not at all.

    ``head.safetensors`` has ``weight`` (C, D), ``bias`` (C,), and ``mean`` and ``std`` (D,) of the
    features, all float32; ``head.json`` the classes in the order of the outputs, the encoder, what
    its features depend on (``prepared``), the number of labels, and the SHA-256 of the weights'
    file. Raises as ``atomic_folder``.
    """
    net = head.net
    tensors = {"weight": net.head.weight, "bias": net.head.bias, "mean": net.mean, "std": net.std}
    weights = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    facts = {
        "classes": list(head.classes),
        "encoder": encoder,
        "prepared": prepared(encoder),
        "features": net.head.in_features,
        "labels": head.labels,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    example = USE.format(features=net.head.in_features, encoder=encoder or "the encoder")
    with atomic_folder(folder) as part:
        write_file(part / WEIGHTS, weights)
        write_file(part / FACTS, (json.dumps(facts, indent=1) + "\n").encode())
        write_file(part / EXAMPLE, example.encode())


def load_head(folder: Path) -> SavedHead:
    """A head as ``save_head`` wrote it.

    Raises ``HeadDamaged`` if its files are missing or were changed, or if the encoder's features
    are no longer those that it was trained on.
    """
    try:
        weights = (Path(folder) / WEIGHTS).read_bytes()
        facts: dict[str, Any] = json.loads((Path(folder) / FACTS).read_text(encoding="utf-8"))
        needed = ("sha256", "classes", "labels", "encoder")
        digest, classes, labels, encoder = (facts[key] for key in needed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeadDamaged(
            f"{folder} holds no exported head ({error}): give the folder head of an export"
        ) from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise HeadDamaged(
            f"{WEIGHTS} in {folder} is not the file that {FACTS} describes: export the head again"
        )
    tensors = load(weights)
    outputs, features = tensors["weight"].shape
    of_encoder = ENCODERS[encoder].features if str(encoder) in ENCODERS else features
    if not isinstance(classes, list) or (len(classes), of_encoder) != (outputs, features):
        raise HeadDamaged(
            f"{FACTS} in {folder} does not fit {WEIGHTS}, which is for {outputs} classes and "
            f"{features} features: export the head again"
        )
    now = prepared(str(encoder))
    if now and (then := facts.get("prepared", FIRST_PREPARED.get(encoder))) != now:
        raise HeadDamaged(
            f"the head in {folder} was trained on other features of {encoder} than are computed "
            f"now ({then} then, {now} now): export it again, from its ledger"
        )
    net = FeatureNet(tensors["mean"], tensors["std"], len(classes))
    with torch.no_grad():
        net.head.weight.copy_(tensors["weight"])
        net.head.bias.copy_(tensors["bias"])
    return SavedHead(Head(net.eval(), tuple(classes), labels), encoder)
