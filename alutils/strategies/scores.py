"""Scores of predictions: entropy, mutual information, agreement of passes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def entropies(probs: Tensor) -> Tensor:
    """Entropy (...) in nats over the last axis of (..., C); 0 log 0 is 0."""
    return torch.special.entr(probs).sum(-1)


def mutual_information(probs_T_N_C: Tensor) -> Tensor:
    """Of label and weights (N,): entropy of the mean prediction minus the passes' mean entropy."""
    return entropies(probs_T_N_C.mean(0)) - entropies(probs_T_N_C).mean(0)


def gap(probs_N_C: Tensor) -> Tensor:
    """Difference (N,) between the probabilities of the two likeliest classes."""
    first_N, second_N = probs_N_C.topk(2, dim=1).values.unbind(1)
    return first_N - second_N


def votes(probs_T_N_C: Tensor) -> Tensor:
    """How many passes predict each class, int64 (N, C)."""
    return F.one_hot(probs_T_N_C.argmax(2), probs_T_N_C.shape[2]).sum(0)


def modal_share(probs_T_N_C: Tensor) -> Tensor:
    """Share (N,) of the passes that predict the class which most of them predict."""
    return votes(probs_T_N_C).max(1).values / len(probs_T_N_C)
