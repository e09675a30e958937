"""Distances between features, block by block."""

import torch
from torch import Tensor

BLOCK = 2048
"""Rows and columns of a block of distances (16 MB)."""


class Points:
    """Rows of features (N, D) with their squared norms.

    Raises ``ValueError`` if a norm is not finite.
    """

    def __init__(self, rows_N_D: Tensor, squares_N: Tensor | None = None):
        if squares_N is None:
            squares_N = torch.linalg.vector_norm(rows_N_D, dim=1).square()
        if not torch.isfinite(squares_N).all():
            raise ValueError("a feature is not finite")
        self.rows_N_D, self.squares_N = rows_N_D, squares_N

    def __len__(self) -> int:
        return len(self.rows_N_D)

    def __getitem__(self, which: slice | list[int] | Tensor) -> "Points":
        return Points(self.rows_N_D[which], self.squares_N[which])

    def blocks(self) -> list["Points"]:
        """The same points in parts; no row is copied."""
        return [self[start : start + BLOCK] for start in range(0, len(self), BLOCK)]

    def squared_distances(self, others: "Points") -> Tensor:
        """Squared distances (N, K) to K other points."""
        rows_N_D, others_K_D = self.rows_N_D, others.rows_N_D
        sums_N_K = torch.addmm(others.squares_N, rows_N_D, others_K_D.T, alpha=-2)
        return sums_N_K.add_(self.squares_N.unsqueeze(1)).clamp_min_(0)


def nearest(points: Points, others: Points) -> Tensor:
    """Squared distance (N,) to the nearest of the others; infinite where there are none."""
    blocks = others.blocks()
    distances = []
    for part in points.blocks():
        nearest = torch.full_like(part.squares_N, torch.inf)
        for block in blocks:
            nearest = nearest.minimum(part.squared_distances(block).min(1).values)
        distances.append(nearest)
    return torch.cat(distances)
