"""How much there is to gain by choosing: picks made with the true labels, which no strategy has."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alutils.strategies.ranking import highest
from alutils.strategies.view import LabelledView

RIDGE = 0.1
"""Strength of the ridge penalty, on features whose squared length is 1 on average.

On held-out images of CIFAR-10 (EfficientNet-Lite0's features, 20 to 200 labels, 3 seeds), values
from 0.01 to 0.3 give the head the same accuracy within the spread over seeds; 3 gives one to two
points less. Choosing among the 30 best by squared error with cross-entropy or 0/1 error instead
shows no gain either.
"""
CANDIDATE_SAMPLE = 1000
"""Candidates among which a round chooses; all of them in a pool up to this size."""
SAMPLE = 1000
"""Candidates on which the error is measured; all of them in a pool up to this size.

Doubling both numbers gave 1 to 2 points more from 20 to 100 labels and none at 200, and takes four
times as long per pick.
"""
TIE = 1e-9
"""Difference of two errors, relative to the error, that may be due to rounding (float64)."""


def oracle(view: LabelledView, budget: int, rng: torch.Generator) -> Tensor:
    """Always the candidate that, with its true label, leaves the least error on the pool.

    This is not a strategy: it sees the labels that strategies have to ask for. It is expected error
    reduction (Roy and McCallum, ICML 2001) with the true labels in place of the model's
    expectations. The model is ridge regression on one-hot labels, which can be refitted with one
    more label in closed form, and the error is its squared error, measured on ``SAMPLE``
    candidates. The picks come from ``CANDIDATE_SAMPLE`` candidates, or ``budget`` if that is more.
    Both sets are drawn with ``rng``, separately, so that memory doesn't grow with the pool: K
    candidates to pick from take (``SAMPLE`` + K) * K float64 numbers, 0.9 GB for a ``budget`` of
    10,000.
    """
    looked_at = torch.randperm(len(view), generator=rng)[: max(CANDIDATE_SAMPLE, budget)]
    sample = torch.randperm(len(view), generator=rng)[:SAMPLE]
    ridge = Ridge(*_labelled_rows(view, sample, looked_at))
    picks: list[int] = []
    for _ in range(budget):
        reduction_K = ridge.reductions()
        reduction_K[picks] = -torch.inf
        best = reduction_K.max()
        reduction_K[reduction_K >= best - TIE * ridge.error] = best
        picks.append(highest(reduction_K, rng))
        ridge.add(picks[-1])
    return looked_at[picks]


Rows = tuple[Tensor, Tensor]
"""Features with a 1 appended for the bias (B, D), and one-hot labels (B, C); both float64."""


class Ridge:
    """Ridge regression on the labelled images, its error on a sample, and K candidates to add.

    Adding a candidate changes the prediction for an image by the product of two numbers: what the
    two images share (``shared_R_K``), and the candidate's residual (``lacks_R_C``), scaled (Sherman
    and Morrison, 1950).
    """

    def __init__(self, labelled: Rows, sample: Rows, candidates: Rows):
        x_M_D, y_M_C = labelled
        x_R_D, y_R_C = (torch.cat(both) for both in zip(sample, candidates, strict=True))
        self.sampled = len(sample[0])
        inner_D_D = x_M_D.T @ x_M_D
        inner_D_D.diagonal().add_(RIDGE)
        root_D_D = torch.linalg.cholesky(inner_D_D)
        x_R_D = torch.linalg.solve_triangular(root_D_D, x_R_D.T, upper=False).T
        w_D_C = torch.linalg.solve_triangular(root_D_D, x_M_D.T @ y_M_C, upper=False)
        self.lacks_R_C = y_R_C - x_R_D @ w_D_C
        self.shared_R_K = x_R_D @ x_R_D[self.sampled :].T

    @property
    def error(self) -> float:
        """Squared error, summed over the sample and the classes."""
        return float(self.lacks_R_C[: self.sampled].square().sum())

    def reductions(self) -> Tensor:
        """By how much adding each candidate, with its label, would lower the error (K,)."""
        lacks_S_C, lacks_K_C = self.lacks_R_C.tensor_split([self.sampled])
        shared_S_K, shared_K_K = self.shared_R_K.tensor_split([self.sampled])
        step_K_C = lacks_K_C / (1 + shared_K_K.diagonal()).unsqueeze(1)
        met_K = (shared_S_K.T @ lacks_S_C * step_K_C).sum(1)
        return 2 * met_K - shared_S_K.square().sum(0) * step_K_C.square().sum(1)

    def add(self, candidate: int) -> None:
        """Refit with one of the candidates."""
        row = self.sampled + candidate
        shared_R = self.shared_R_K[:, candidate].clone()
        scaled_R = shared_R / (1 + shared_R[row])
        self.lacks_R_C -= torch.outer(scaled_R, self.lacks_R_C[row].clone())
        self.shared_R_K.addr_(scaled_R, shared_R[self.sampled :], alpha=-1)


def _labelled_rows(view: LabelledView, *parts: Tensor) -> list[Rows]:
    """Rows of the labelled images, then of the candidates at each of ``parts``, on one scale.

    The candidates' mean is subtracted from the features, which are then divided by the root mean
    square length of the centred candidates, unless it is 0. Classes above the highest label that
    occurs get no column.
    """
    points_N_D, points_M_D = view.embeddings_N_D, view.labelled_embeddings_M_D
    variance_D, mean_D = torch.var_mean(points_N_D, 0, correction=0)
    scale = variance_D.sum().sqrt()
    if not scale.isfinite():
        raise ValueError("a feature is not finite")
    scale = scale if scale > 0 else 1.0
    features = [points_M_D, *(points_N_D[part.to(points_N_D.device)] for part in parts)]
    labels = [view.labelled_labels_M, *(view.labels_N[part] for part in parts)]
    rows = [F.pad((x - mean_D) / scale, (0, 1), value=1.0).cpu().double() for x in features]
    classes = 1 + max(int(y.max()) for y in labels if len(y))
    return [(x, F.one_hot(y, classes).double()) for x, y in zip(rows, labels, strict=True)]
