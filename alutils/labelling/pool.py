"""The images that may be labelled, as an encoder sees them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from alutils.learning.features import scale
from alutils.protocol.parameters import ParameterError
from alutils.records.record import canonical


@dataclass(frozen=True)
class FeaturePool:
    """Images by name with their features, and the mean and spread of these.

    Attributes
    ----------
    names : stable names, each once: relative paths, or ids made from the content
    rows : features, float16 or float32 (N, D), possibly memory-mapped
    mean, std : of every feature over the pool, float32 (D,); a constant one has std 1
    encoder : name of the encoder of the features
    contents : digest of the images' contents (``digest_of_contents``); empty if unknown
    """

    names: tuple[str, ...]
    rows: Tensor
    mean: Tensor
    std: Tensor
    encoder: str = ""
    contents: str = ""

    @classmethod
    def of(
        cls, names: Sequence[str], rows: Tensor, encoder: str = "", contents: str = ""
    ) -> "FeaturePool":
        """A pool with the scale of its own features.

        Raises ``ParameterError`` if names and rows don't match, or a feature is not finite.
        """
        if rows.ndim != 2 or len(rows) != len(names) or not rows.numel():
            raise ParameterError(
                f"features have the shape {tuple(rows.shape)} for {len(names)} images: give a row "
                "of features for each of them, and one image at least"
            )
        name, times = Counter(names).most_common(1)[0]
        if times > 1 or not all(names):
            raise ParameterError(
                f"{times} images are called {name!r}: give every image a name of its own"
                if times > 1
                else "an image has an empty name: give it another one"
            )
        mean, std = scale(rows)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise ParameterError("a feature is not finite: compute the features again")
        return cls(tuple(names), rows, mean, std, encoder, contents)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of every image, by its name."""
        return {name: i for i, name in enumerate(self.names)}

    @property
    def facts(self) -> dict[str, str | int]:
        """What a ledger keeps of it: number of images, digests of names and contents, encoder."""
        names = digest_of_names(self.names)
        known = {"image_contents": self.contents} if self.contents else {}
        return {"images": len(self), "image_names": names, "encoder": self.encoder} | known


def digest_of_names(names: Sequence[str]) -> str:
    """The digest by which a ledger recognises its images."""
    return _digest(list(names))


def digest_of_contents(sha256s: Mapping[str, str]) -> str:
    """The digest by which a ledger recognises image contents, from their SHA-256 by name."""
    return _digest(list(sha256s.items()))


def _digest(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
