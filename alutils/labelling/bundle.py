"""All results of labelling in one folder: labels in four formats, predictions, the head."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from alutils.folders.listing import NO_IMAGES
from alutils.labelling import class_folders, export
from alutils.labelling.batches import Head
from alutils.labelling.class_folders import CHANGED
from alutils.labelling.entries import Answers
from alutils.labelling.images import FolderImages
from alutils.labelling.saved_head import save_head
from alutils.labelling.session import Session
from alutils.learning.head import FeatureNet
from alutils.learning.scoring import predict
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite, unused

FILES = {
    "labels.csv": "one row per answered image",
    "classes": "one folder per class, with links to its images",
    "coco.json": "the labels in COCO format, without boxes",
    "label-studio.json": "tasks to import into Label Studio",
    "label-studio.xml": "the labelling interface for them",
    "predictions.csv": "the head's predictions, with probabilities, for every other image that may "
    "be asked for, except those of no class",
    "head": "the head as safetensors, with an example of its use",
}
"""The files and what they hold; the last two are written if two classes have labels."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes
    ----------
    folder : where it is
    without : images that have no link, as their files are gone or have changed
    unlinked : why there are no links at all; empty if there are some
    """

    folder: Path
    without: list[str]
    unlinked: str = ""


def write_all(place: Path, session: Session, images: FolderImages) -> Export:
    """Write everything into the first unused folder ``export`` in ``place``.

    It is written completely or not at all, except ``classes`` on a file system without links.
    Images whose files have changed are only in ``labels.csv``, as another picture now has their
    name. Classes without a label, such as a mistyped one, are in none of the files. A file
    ``NO_IMAGES`` makes datasets skip the folder if it lies beside the images. Raises
    ``ParameterError`` if nothing is labelled, and as ``export.atomic_folder``.
    """
    answers, classes = session.answers, session.answers.labelled_classes
    if not answers.labels:
        raise ParameterError("nothing is labelled yet: label some images, then export")
    head = _of_classes(session.head(), classes) if len(classes) > 1 else None
    target = unused(place / "export")
    without = class_folders.without_file(answers.labels, images.folder, images.digests)
    changed = {image for image, problem in without.items() if problem == CHANGED}
    sizes = images.sizes(answers.labels.keys() - without.keys())
    with export.atomic_folder(target) as folder:
        export.write_file(folder / NO_IMAGES, b"")
        export.write_csv(folder / "labels.csv", answers)
        unlinked = _link(folder / "classes", answers, images.folder, without)
        export.write_coco(folder / "coco.json", answers, sizes, changed)
        export.write_label_studio(folder / "label-studio.json", answers, images.folder, changed)
        interface = export.label_studio_interface(classes)
        export.write_file(folder / "label-studio.xml", interface.encode())
        if head:
            pool = session.pool
            probs_N_C = predict(head.net, pool.rows).numpy()
            path = folder / "predictions.csv"
            export.write_predictions(path, answers, pool.names, head.classes, probs_N_C)
            save_head(folder / "head", head, pool.encoder)
    return Export(target, list(without), unlinked)


def _of_classes(head: Head, classes: Sequence[str]) -> Head:
    """A head restricted to some of its classes."""
    net = FeatureNet(head.net.mean, head.net.std, len(classes))
    outputs = [head.classes.index(name) for name in classes]
    with torch.no_grad():
        net.head.weight.copy_(head.net.head.weight[outputs])
        net.head.bias.copy_(head.net.head.bias[outputs])
    return Head(net.eval(), tuple(classes), head.labels)


def _link(folder: Path, answers: Answers, root: Path, without: Collection[str]) -> str:
    """Write the class folders; returns why that failed, or an empty string."""
    try:
        class_folders.write_folders(folder, answers, root, without)
    except CanNotWrite as error:
        return getattr(error.__cause__, "strerror", None) or str(error)
    return ""
