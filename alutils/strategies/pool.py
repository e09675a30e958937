"""The pool: which images may be labelled, and which are."""

import torch
from torch import Tensor


class Pool:
    """Two masks over one training set; only here are positions mapped to dataset indices.

    ``kept``, a mask (N,) over the training set, marks the images that take part; the held-out share
    is drawn from these. Raises ``ValueError`` if an index is labelled twice or may not be labelled.
    """

    def __init__(self, kept: Tensor, heldout_fraction: float, rng: torch.Generator):
        indices = kept.nonzero().squeeze(1)
        order = torch.randperm(len(indices), generator=rng)
        cut = int(len(indices) * heldout_fraction)
        self.heldout = indices[order[:cut]].sort().values
        self.may_label = kept.clone()
        self.may_label[self.heldout] = False
        self.is_labelled = torch.zeros_like(kept)

    @property
    def labelled(self) -> Tensor:
        """Dataset indices with labels, ascending."""
        return self.is_labelled.nonzero().squeeze(1)

    @property
    def unlabelled(self) -> Tensor:
        """Dataset indices that may yet be labelled, ascending."""
        return (self.may_label & ~self.is_labelled).nonzero().squeeze(1)

    def label(self, indices: Tensor) -> None:
        """Mark dataset indices as labelled."""
        fresh = (self.may_label & ~self.is_labelled)[indices]
        different, times = indices.unique(return_counts=True)
        if wrong := [*indices[~fresh].tolist(), *different[times > 1].tolist()]:
            raise ValueError(f"labelled twice or not in the pool: {wrong[:5]}")
        self.is_labelled[indices] = True

    def candidates(self, count: int, rng: torch.Generator) -> Tensor:
        """The unlabelled indices, or ``count`` of them at random, ascending; 0 means all."""
        return some_of(self.unlabelled, count, rng)


def some_of(indices: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` random ones of ascending indices, ascending; all if ``count`` is 0 or too large."""
    if not 0 < count < len(indices):
        return indices
    return indices[torch.randperm(len(indices), generator=rng)[:count]].sort().values
