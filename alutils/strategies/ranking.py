"""From scores to positions: best first, with ties broken at random, never by order."""

import torch
from torch import Tensor


def smallest(scores_N: Tensor, budget: int, rng: torch.Generator) -> Tensor:
    """Positions of the ``budget`` smallest scores; ties in a random order drawn from ``rng``.

    ``scores_N`` is (N,) on any device, positions int64 (budget,) on the CPU. Raises ``ValueError``
    where a score is not finite.
    """
    scores_N = scores_N.cpu()
    if not torch.isfinite(scores_N).all():
        raise ValueError("a score is not finite")
    shuffled = torch.randperm(len(scores_N), generator=rng)
    return shuffled[scores_N[shuffled].argsort(stable=True)[:budget]]


def highest(scores_N: Tensor, rng: torch.Generator) -> int:
    """Position of the highest score; ties are broken with ``rng``.

    ``scores_N`` is (N,) on any device. Raises ``ValueError`` where a score is NaN.
    """
    tied = (scores_N == scores_N.max()).nonzero().squeeze(1)
    if not len(tied):
        raise ValueError("a score is not finite")
    return int(tied[torch.randint(len(tied), (), generator=rng)])


def drawn(weights_N: Tensor, rng: torch.Generator) -> int:
    """A position drawn with ``rng`` in proportion to its weight, which is 0 or more."""
    return int(torch.multinomial(weights_N.cpu().double(), 1, generator=rng))
