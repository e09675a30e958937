"""The pool: what may be labelled, what has been, and what the model says about the rest."""

import time
from functools import cached_property

import torch
from torch import Tensor

from alutils.model import Net
from alutils.train import chunks, dropout_mask


class Pool:
    """Two masks over one training set; only here are positions mapped to dataset indices.

    Raises ``ValueError`` when an index is labelled twice or was held out.
    """

    def __init__(self, size: int, heldout_fraction: float, rng: torch.Generator):
        order = torch.randperm(size, generator=rng)
        cut = int(size * heldout_fraction)
        self.heldout = order[:cut].sort().values
        self.may_label = torch.ones(size, dtype=torch.bool)
        self.may_label[self.heldout] = False
        self.is_labelled = torch.zeros(size, dtype=torch.bool)

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
        if not fresh.all() or len(indices.unique()) < len(indices):
            raise ValueError(f"labelled twice or held out: {indices[~fresh].tolist()[:5]}")
        self.is_labelled[indices] = True

    def candidates(self, count: int, rng: torch.Generator) -> Tensor:
        """The unlabelled indices, or ``count`` of them at random, ascending; 0 means all."""
        unlabelled = self.unlabelled
        if not count or count >= len(unlabelled):
            return unlabelled
        chosen = torch.randperm(len(unlabelled), generator=rng)[:count]
        return unlabelled[chosen].sort().values


class PoolView:
    """What the model says about N candidates: all that a strategy gets to see.

    Each quantity is computed at its first use, once. Scoring is in eval mode, never augments and
    never drops a candidate; stochastic passes switch on dropout alone. ``seconds`` counts the
    time that the trunk took.
    """

    def __init__(
        self,
        net: Net,
        images: Tensor,
        candidates: Tensor,
        labelled: Tensor,
        mc_passes: int,
        dropout: float,
        clusters: int,
        rng: torch.Generator,
    ):
        self.net, self.images = net, images
        self.candidates, self.labelled = candidates, labelled
        self.mc_passes, self.dropout, self.clusters = mc_passes, dropout, clusters
        self.rng = rng
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self.candidates)

    @cached_property
    def embeddings_N_D(self) -> Tensor:
        """Features before the last layer, float32 (N, 512), on the network's device."""
        return self._features(self.candidates)

    @cached_property
    def labelled_embeddings_M_D(self) -> Tensor:
        """The same of the M labelled images."""
        return self._features(self.labelled)

    @cached_property
    def probs_N_C(self) -> Tensor:
        """Class probabilities of one deterministic pass, dropout off."""
        return self._probs(self.net.head.weight)

    @cached_property
    def mc_probs_T_N_C(self) -> Tensor:
        """Class probabilities of T stochastic passes (Gal and Ghahramani, arXiv 1506.02142).

        A pass keeps its dropout mask for all candidates, as in BatchBALD (arXiv 1906.08158): the
        mask then thins the last layer's weights, and the trunk runs once for all passes.
        """
        keep = dropout_mask(self.mc_passes, self.dropout, self.rng).to(self.net.head.weight.device)
        return torch.stack([self._probs(self.net.head.weight * mask) for mask in keep])

    def _features(self, indices: Tensor) -> Tensor:
        start = time.perf_counter()
        features = torch.cat(list(chunks(self.net, self.images, indices)))
        self.seconds += time.perf_counter() - start
        return features

    def _probs(self, weight_C_D: Tensor) -> Tensor:
        with torch.inference_mode():
            return (self.embeddings_N_D @ weight_C_D.T + self.net.head.bias).softmax(1).cpu()
