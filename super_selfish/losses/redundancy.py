"""Barlow Twins: two views agree in every number, and no two numbers say the same.

Shapes: `N` images of all processes, `D` embedding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision

EPSILON = 1e-5  # added to variances, as the batch norm of the authors' code does


class Correlations(NamedTuple):
    """What the cross-correlation matrix of two views says."""

    own: Tensor  # (D,), the diagonal: each number with itself in the other view
    others: Tensor  # scalar, sum of squares of all that is not on the diagonal


def standardised(embeddings: Tensor) -> Tensor:
    """Numbers with mean 0 and variance 1 over the images, each dimension by itself.

    Args:
        embeddings: `[N, D]`.

    Returns:
        `[N, D]`; 0 where all images have the same.
    """
    centred = embeddings - embeddings.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + EPSILON).sqrt()


def correlations(first: Tensor, second: Tensor) -> Correlations:
    """The diagonal and the rest of `C = Z_1' Z_2 / N` of standardised embeddings.

    The sum of squares of a product of matrices is that of the products of images where these are
    fewer than the numbers of an embedding: `|Z_1' Z_2|^2 = sum((Z_1 Z_1') * (Z_2 Z_2'))`, with
    `N^2 D` instead of `N D^2` multiplications.

    Args:
        first: `[N, D]`, standardised.
        second: `[N, D]`, standardised.
    """
    images, size = first.shape
    own = (first * second).mean(dim=0)  # (D,)
    if images < size:
        squares = ((first @ first.T) * (second @ second.T)).sum() / images**2
    else:
        squares = (first.T @ second / images).square().sum()
    return Correlations(own, squares - own.square().sum())


@in_full_precision
def barlow_twins(first: Tensor, second: Tensor, off_diagonal_weight: float) -> Tensor:
    """Distance of the cross-correlation matrix of two views from the identity.

    `sum_i (1 - C_ii)^2 + w sum_i sum_{j != i} C_ij^2`. Zbontar, Jing, Misra, LeCun and Deny, 2021,
    arXiv 2103.03230, equations 1 and 2. `C` is that of embeddings with mean 0 and variance 1 over
    the images, as in algorithm 1.

    Of finitely many images independent numbers correlate by chance: equal views cost about
    `w D (D - 1) / N`, however good the network.

    Args:
        first: `[N, D]`, embeddings of the first views of all processes.
        second: `[N, D]`, those of the second views.
        off_diagonal_weight: At least 0; the paper's lambda.

    Returns:
        Scalar, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or the weight is below 0 or not finite.
    """
    _check_weight(off_diagonal_weight)
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            f"expected two tensors of one shape [N, D], got {list(first.shape)} and "
            f"{list(second.shape)}"
        )
    found = correlations(standardised(first), standardised(second))
    return (1 - found.own).square().sum() + off_diagonal_weight * found.others


class BarlowTwinsLoss(nn.Module):
    """`barlow_twins` with a weight of its own."""

    def __init__(self, off_diagonal_weight: float = 5e-3) -> None:  # section 2.2
        """Args: off_diagonal_weight: At least 0.

        Raises:
            ValueError: If the weight is below 0 or not finite.
        """
        super().__init__()
        _check_weight(off_diagonal_weight)
        self.off_diagonal_weight = off_diagonal_weight

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes `barlow_twins` of two `[N, D]`."""
        return barlow_twins(first, second, self.off_diagonal_weight)

    def extra_repr(self) -> str:
        """Shows the weight."""
        return f"off_diagonal_weight={self.off_diagonal_weight}"


def _check_weight(weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise ValueError(f"off_diagonal_weight must be >= 0 and finite, got {weight}")
