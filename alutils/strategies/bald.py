"""Arms that score each candidate on its own, by how its MC passes differ."""

import torch
from torch import Tensor

from alutils.strategies.ranking import smallest
from alutils.strategies.scores import modal_share, mutual_information
from alutils.strategies.view import PoolView


def bald(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The highest mutual information between label and weights.

    Houlsby et al., arXiv 1112.5745; with MC dropout: Gal et al., arXiv 1703.02910.
    """
    return smallest(-view.over_passes(mutual_information), budget, rng)


def power_bald(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """Drawn in proportion to BALD's score, without replacement (Kirsch et al., arXiv 2106.12059).

    This equals taking the highest log scores after adding Gumbel noise. The paper's exponent beta
    is 1. Scores that are zero, or below zero through rounding, are drawn after all others.
    """
    score_N = view.over_passes(mutual_information).double()
    gumbel_N = -torch.empty_like(score_N).exponential_(generator=rng).log()
    tiny = torch.finfo(score_N.dtype).tiny
    return smallest(-(score_N.clamp_min(tiny).log() + gumbel_N), budget, rng)


def variation_ratios(view: PoolView, budget: int, rng: torch.Generator) -> Tensor:
    """The largest share of passes that don't predict the modal class (Freeman, 1965).

    With MC dropout: Gal, thesis (Cambridge, 2016), section 3.3. The score is 1 - f / T, where f of
    the T passes predict the modal class.
    """
    return smallest(view.over_passes(modal_share), budget, rng)
