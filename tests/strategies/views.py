"""Made-up views of a pool, and what they are made of."""

import torch

from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.strategies.view import GivenView, PoolView
from tests.cells import a_cell


def fake_view(count: int = 200, seed: int = 0, **given) -> GivenView:
    """A view of what is given, and of made-up numbers of the same sizes for all else."""
    size = {"T": 5, "N": count, "C": 10, "D": 16, "M": 6}
    for name, array in given.items():
        size |= zip(filter(str.isupper, name.split("_")), getattr(array, "shape", ()), strict=False)
    rng, (T, N, C, D, M) = stream(seed, "fake"), size.values()
    made_up = dict(
        probs_N_C=torch.rand(N, C, generator=rng).softmax(1),
        mc_probs_T_N_C=torch.rand(T, N, C, generator=rng).softmax(2),
        embeddings_N_D=torch.randn(N, D, generator=rng),
        labelled_embeddings_M_D=torch.randn(M, D, generator=rng),
        labels_N=torch.arange(N) % 2,
        labelled_labels_M=torch.arange(M) % 2,
        clusters=4,
    )
    return GivenView(**made_up | given)


def rng(seed: int = 0) -> torch.Generator:
    return stream(seed, "acquisition")


def view_of(features: torch.Tensor, labelled=None, probs=None, **fields) -> GivenView:
    """A view of these features; nothing is labelled unless it is given."""
    labelled = features[:0] if labelled is None else labelled
    probs = probs_of(len(features)) if probs is None else probs
    return fake_view(
        embeddings_N_D=features, labelled_embeddings_M_D=labelled, probs_N_C=probs, **fields
    )


def view_of_passes(probs_T_N_C: torch.Tensor, chunk: int = 1000) -> GivenView:
    """A view of these passes, which hands them on in chunks as a real one does."""
    view = fake_view(mc_probs_T_N_C=probs_T_N_C, probs_N_C=probs_T_N_C[0])
    view.over_passes = lambda score, rows=None: torch.cat(
        [score(part) for part in probs_T_N_C.split(chunk, dim=1)]
    )
    return view


def network_view(count: int = 35, seed: int = 0) -> PoolView:
    """What an untrained network says of images of noise, of which 5 are labelled."""
    net = build(a_cell("mnist"), torch.device("cpu"))
    images = torch.randint(256, (5 + count, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    return PoolView(
        net, images, torch.arange(5, 5 + count), torch.arange(5), mc_passes=6, dropout=0.5,
        clusters=3, rng=stream(seed, "mc"),
    )  # fmt: skip


def points(count: int = 60, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, generator=stream(seed, "points"))


def rays(*degrees: float, length: float = 1.0) -> torch.Tensor:
    """Points at these angles on a circle."""
    angle = torch.tensor(degrees).deg2rad()
    return length * torch.stack([angle.cos(), angle.sin()], dim=1)


def probs_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, generator=stream(seed, "probs")).mul(4).softmax(1)


def random_passes(count: int = 30, classes: int = 3, passes: int = 5) -> torch.Tensor:
    return torch.rand(passes, count, classes, generator=stream(1, "p")).mul(5).softmax(2)
