"""What the model says about the candidates, computed on demand."""

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from alutils.learning import process_settings
from alutils.learning.network import Classifier
from alutils.learning.scoring import SCORING_BATCH, feature_batches
from alutils.learning.training import dropout_mask

KEPT_FEATURES = 2**16
"""Pool size up to which the trunk runs once and its features are kept (128 MB for ResNet-18).

In a larger pool, features are kept only for a strategy that asks for them; everything else is
computed chunk by chunk, in memory that doesn't grow with the pool.
"""


class PoolView:
    """What the model says about N candidates: all that a strategy gets to see.

    Each quantity is computed once, at its first use. Scoring is in eval mode, never augments and
    never leaves out a candidate; stochastic passes switch on only dropout. C is the number of
    classes, T that of passes, and D that of features (512 for ResNet-18).

    Parameters
    ----------
    net, images : the trained network, and the training set, on its device: images, uint8
        (n, C, H, W), or an encoder's features, float16 (n, D)
    candidates, labelled : dataset indices, int64 (N,) and (M,), on the CPU
    mc_passes, dropout : T, and the probability that a pass drops a feature
    clusters, mc_score : settings of the K-means and of the Bayesian arm
    rng : draws the masks of the passes
    scoring : returns a context manager that is entered around everything the network computes
    """

    def __init__(
        self,
        net: Classifier,
        images: Tensor,
        candidates: Tensor,
        labelled: Tensor,
        mc_passes: int,
        dropout: float,
        clusters: int,
        rng: torch.Generator,
        mc_score: str = "entropy",
        scoring: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self.net, self.images = net, images
        self.candidates, self.labelled = candidates, labelled
        self.mc_passes, self.dropout, self.clusters = mc_passes, dropout, clusters
        self.rng, self.mc_score, self.scoring = rng, mc_score, scoring

    def __len__(self) -> int:
        return len(self.candidates)

    @cached_property
    def embeddings_N_D(self) -> Tensor:
        """Features before the last layer, float32 (N, D), on the network's device."""
        return self._whole(feature_batches(self.net, self.images, self.candidates), len(self))

    @cached_property
    def labelled_embeddings_M_D(self) -> Tensor:
        """Features of the M labelled images, float32 (M, D), on the network's device."""
        if not len(self.labelled):
            return self.embeddings_N_D[:0]
        return self._whole(
            feature_batches(self.net, self.images, self.labelled), len(self.labelled)
        )

    @cached_property
    def probs_N_C(self) -> Tensor:
        """Class probabilities, float32 (N, C), of one pass without dropout, on the CPU."""
        return self._of_features(lambda x: self.net.head(x).softmax(1).cpu())

    @cached_property
    def mc_mean_N_C(self) -> Tensor:
        """Mean class probabilities, float32 (N, C), of T stochastic passes, on the CPU.

        The passes (Gal and Ghahramani, arXiv 1506.02142) differ only in their dropout, which is
        applied before the last layer. A pass uses one mask for all candidates, as in BatchBALD
        (arXiv 1906.08158): the mask is applied to the last layer's weights, the trunk runs once for
        all passes, and the T masked layers are one matrix product.
        """
        return self._of_features(lambda x: self._passes(x).mean(1).cpu())

    @cached_property
    def mc_probs_T_N_C(self) -> Tensor:
        """Class probabilities of each stochastic pass, float32 (T, N, C), on the CPU."""
        return self._of_features(lambda x: self._passes(x).cpu()).transpose(0, 1)

    def over_passes(self, score: Callable[[Tensor], Tensor], rows: int | None = None) -> Tensor:
        """``score`` of the stochastic passes (N, ...), on the CPU, in bounded memory.

        ``score`` gets their probabilities chunk by chunk, (T, B, C), and returns one value or row
        per candidate, or at most ``rows`` in total, so memory doesn't grow with T * N.
        """
        return self._of_features(lambda x: score(self._passes(x).cpu().transpose(0, 1)), rows)

    @cached_property
    def _thinned(self) -> tuple[Tensor, Tensor]:
        """Weights (T * C, D) and biases (T * C,) of the last layer under T dropout masks."""
        head = self.net.head
        keep_T_1_D = dropout_mask(
            self.mc_passes, head.in_features, self.dropout, self.rng
        ).unsqueeze(1)
        weight = head.weight.detach() * keep_T_1_D.to(head.weight.device)
        return weight.flatten(0, 1), head.bias.detach().repeat(self.mc_passes)

    @property
    def pass_logits_N_T_C(self) -> Tensor:
        """Logits of each stochastic pass, float32 (N, T, C), on the network's device."""
        return self._of_features(self._pass_logits)

    def _pass_logits(self, features_B_D: Tensor) -> Tensor:
        logits = F.linear(features_B_D, *self._thinned)
        return logits.view(len(features_B_D), self.mc_passes, -1)

    def _passes(self, features_B_D: Tensor) -> Tensor:
        return self._pass_logits(features_B_D).softmax(2)

    def _features(self) -> Iterable[Tensor]:
        """Features chunk by chunk: those kept, or else from a new pass through the trunk."""
        if len(self) <= KEPT_FEATURES or "embeddings_N_D" in self.__dict__:
            return self.embeddings_N_D.split(SCORING_BATCH)
        return feature_batches(self.net, self.images, self.candidates)

    def _of_features(self, function: Callable[[Tensor], Tensor], rows: int | None = None) -> Tensor:
        """``function`` of the candidates' features: one row each, or at most ``rows`` in total."""
        return self._whole(map(function, self._features()), len(self) if rows is None else rows)

    def _whole(self, parts: Iterable[Tensor], rows: int) -> Tensor:
        """Concatenate the parts, at most ``rows`` rows; each is computed here and freed at once."""
        filled = 0
        with self.scoring(), torch.inference_mode():
            for part in parts:
                if not filled:
                    whole = part.new_empty(rows, *part.shape[1:])
                whole[filled : filled + len(part)] = part
                filled += len(part)
        return whole[:filled]


class GivenView:
    """A view of arrays that come from elsewhere, for using the strategies in your own code.

    If a strategy needs an array that was not given, an ``AttributeError`` names it.

    Parameters
    ----------
    probs_N_C : class probabilities (N, C) of one pass without dropout
    embeddings_N_D : features (N, D)
    labelled_embeddings_M_D : features (M, D) of what is labelled, ``embeddings_N_D[:0]`` for none
    mc_probs_T_N_C : class probabilities (T, N, C) of stochastic passes
    clusters, mc_score : settings of the K-means and of the Bayesian arm
    labels_N, labelled_labels_M : classes, from 0, for the oracle, which is not a strategy

    Anything that converts to a tensor is accepted, and stored as float32, classes as int64, on the
    CPU. Raises ``ValueError`` if the shapes don't fit together.
    """

    def __init__(
        self,
        probs_N_C: ArrayLike,
        embeddings_N_D: ArrayLike | None = None,
        labelled_embeddings_M_D: ArrayLike | None = None,
        mc_probs_T_N_C: ArrayLike | None = None,
        clusters: int = 12,
        mc_score: str = "entropy",
        labels_N: ArrayLike | None = None,
        labelled_labels_M: ArrayLike | None = None,
    ):
        self.clusters, self.mc_score, self._sizes = clusters, mc_score, {}
        self._take("probs_N_C", probs_N_C)
        self._take("embeddings_N_D", embeddings_N_D)
        self._take("labelled_embeddings_M_D", labelled_embeddings_M_D)
        self._take("mc_probs_T_N_C", mc_probs_T_N_C)
        self._take("labels_N", labels_N, torch.int64)
        self._take("labelled_labels_M", labelled_labels_M, torch.int64)
        if mc_probs_T_N_C is not None:
            self.mc_mean_N_C = self.mc_probs_T_N_C.mean(0)

    def __len__(self) -> int:
        return self._sizes["N"]

    def __getattr__(self, name: str) -> Any:
        wanted = {"mc_mean_N_C": "mc_probs_T_N_C"}.get(name, name)
        if wanted not in GivenView.__init__.__annotations__:
            raise AttributeError(f"a GivenView has no {name!r}")
        raise AttributeError(
            f"{wanted} is needed but was not given: pass it to GivenView, an array of shape "
            f"({', '.join(_letters(wanted))})"
        )

    def over_passes(self, score: Callable[[Tensor], Tensor], rows: int | None = None) -> Tensor:
        """``score`` of the stochastic passes, chunk by chunk, as in ``PoolView``."""
        return torch.cat([score(part) for part in self.mc_probs_T_N_C.split(SCORING_BATCH, 1)])

    def _take(self, name: str, given: ArrayLike | None, dtype: torch.dtype = torch.float32) -> None:
        """Store an array, whose name gives its shape, if its sizes match those of the others."""
        if given is None:
            return
        array = torch.as_tensor(given, dtype=dtype, device="cpu").detach().clone()
        letters = _letters(name)
        sizes = dict(zip(letters, array.shape, strict=False))
        alike = all(self._sizes.get(letter, size) == size for letter, size in sizes.items())
        if array.ndim != len(letters) or not alike:
            known = ", ".join(f"{letter} = {size}" for letter, size in self._sizes.items())
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}: give it as ({', '.join(letters)})"
                f"{known and f', where {known} in what was given before'}"
            )
        self._sizes |= sizes
        setattr(self, name, array)


def _letters(name: str) -> list[str]:
    """The capital letters in an array's name, one per dimension."""
    return [part for part in name.split("_") if part.isupper()]


class LabelledView:
    """A view with the true labels, for an oracle; everything else comes from the shared view.

    The shared view holds no labels, so a strategy can't ask for them.

    Attributes
    ----------
    labels_N, labelled_labels_M : of the candidates and of what is labelled, int64, on the CPU
    """

    def __init__(self, shared: PoolView, labels: Tensor):
        self._shared = shared
        labels = labels.cpu()
        self.labels_N, self.labelled_labels_M = labels[shared.candidates], labels[shared.labelled]

    def __len__(self) -> int:
        return len(self._shared)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)


class PrivateView:
    """A view for a single strategy, which may change in place whatever it gets.

    All quantities come from a view that several arms share, which computes each once; what is asked
    for is copied, and the copy is freed with this view. They are computed with the settings that
    PyTorch has when this view is created, whatever the strategy sets.
    """

    def __init__(self, shared: PoolView):
        self._shared, self._settings = shared, process_settings.read()

    def __len__(self) -> int:
        return len(self._shared)

    def __getattr__(self, name: str) -> Any:
        with process_settings.applied(self._settings):
            value = getattr(self._shared, name)
        copied = value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        setattr(self, name, copied)
        return copied

    def over_passes(self, score: Callable[[Tensor], Tensor], rows: int | None = None) -> Tensor:
        """As in the shared view, but copied, like everything that this view returns."""
        with process_settings.applied(self._settings):
            return self._shared.over_passes(score, rows).clone()  # out of inference mode
