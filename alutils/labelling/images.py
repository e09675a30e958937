"""The images of a folder: as a pool of features to label, and as pictures for a page."""

import hashlib
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from alutils.folders import index, pictures
from alutils.labelling.batches import Head
from alutils.labelling.entries import folded_name
from alutils.labelling.pool import FeaturePool, digest_of_contents
from alutils.learning import data
from alutils.learning.features import load_features
from alutils.learning.scoring import predict
from alutils.protocol.parameters import ParameterError


class FolderImages:
    """The images of a folder's or table's dataset that may be labelled: its training part.

    Attributes
    ----------
    dataset : its name
    folder : where its files are
    pool : their features by an encoder
    digests : by image, the SHA-256 of its file
    for_test : names of the images of its test part, which is not labelled
    labels : by image, its class; empty where the folder has no labels
    classes : of the folder, in its order
    test_rows, test_labels : features and classes (positions in ``classes``) of that part, float16
        (T, D) and int64 (T,)
    """

    def __init__(self, dataset: str, encoder: str):
        """Read features, or compute them first; raises as ``load_features``.

        Raises ``ParameterError`` if the dataset is not one of a folder.
        """
        if not dataset.startswith(index.PREFIX):
            raise ParameterError(
                f"dataset = {dataset!r} is not a folder: to label images, give their folder's path"
            )
        facts, self._kept = index.facts(dataset), data.load(dataset).train_images
        features = load_features(dataset, encoder).dataset
        every = list(index.rows(dataset))
        rows = [row for row in every if row.part == "train"]
        self.for_test = {row.file for row in every if row.part == "test"}
        self.dataset, self.folder = dataset, Path(facts.folder)
        self.digests = {row.file: row.sha256 for row in rows}
        contents = digest_of_contents(self.digests)
        names = [row.file for row in rows]
        self.pool = FeaturePool.of(names, features.train_images, encoder, contents)
        known = [row for row in rows if row.label >= 0]
        self.labels = {row.file: facts.classes[row.label] for row in known}
        self.classes = facts.classes
        self.test_rows, self.test_labels = features.test_images, features.test_labels

    def preview(self, image: str, side: int) -> bytes:
        """An image as a page shows it, at most ``side`` pixels wide and high, in WebP.

        If its file is gone or has changed, it is the stored picture, which its features are
        computed from.
        """
        with suppress(OSError, pictures.Unusable):
            content = (self.folder / image).read_bytes()
            if hashlib.sha256(content).hexdigest() == self.digests[image]:
                return pictures.preview(io.BytesIO(content), side)
        return pictures.picture_preview(self._kept[self.pool.position[image]].numpy())

    def picture(self, image: str) -> np.ndarray:
        """The stored square picture of an image, uint8 (S, S, 3)."""
        return self._kept[self.pool.position[image]].permute(1, 2, 0).numpy()

    def sizes(self, images: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Width and height (pixels) of images' files as they are stored, without missing files."""
        found = {}
        for image in images:
            with suppress(OSError):
                found[image] = pictures.stored_size(self.folder / image)
        return found

    def test_accuracy(self, head: Head) -> float | None:
        """Accuracy (%) of a head on the test part.

        None if the folder has no labelled test part or the head knows none of its classes. An image
        whose class the head doesn't know counts as wrong. Class names are the same if their
        ``folded_name`` is.
        """
        code = {folded_name(name): i for i, name in enumerate(head.classes)}
        true_K = torch.tensor([code.get(folded_name(name), -1) for name in self.classes])
        if not len(self.test_labels) or (true_K < 0).all():
            return None
        guessed = predict(head.net, self.test_rows).argmax(1)
        return 100 * int((guessed == true_K[self.test_labels]).sum()) / len(guessed)
