"""Barlow Twins and VICReg: two views agree in every number, and no two numbers say the same.

Shapes: `N` images of all processes, `D` embedding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision

EPSILON = 1e-5  # added to variances, as the batch norm of Barlow Twins' authors does
VARIANCE_EPSILON = 1e-4  # VICReg, section 4.1


class Correlations(NamedTuple):
    """What the cross-correlation matrix of two views says."""

    own: Tensor  # (D,), the diagonal: each number with itself in the other view
    others: Tensor  # scalar, sum of squares of all that is not on the diagonal


class VICRegTerms(NamedTuple):
    """The three terms of VICReg, without their weights."""

    invariance: Tensor  # scalar, mean squared distance of both views' numbers
    variance: Tensor  # scalar, how far numbers deviate less than they shall
    covariance: Tensor  # scalar, squares of what numbers have in common


def standardised(embeddings: Tensor) -> Tensor:
    """Numbers with mean 0 and variance 1 over the images, each dimension by itself.

    Args:
        embeddings: `[N, D]`.

    Returns:
        `[N, D]`; 0 where all images have the same.
    """
    centred = embeddings - embeddings.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + EPSILON).sqrt()


def correlations(first: Tensor, second: Tensor, divisor: int | None = None) -> Correlations:
    """The diagonal and the rest of `C = Z_1' Z_2 / N` of standardised embeddings.

    The sum of squares of a product of matrices is that of the products of images where these are
    fewer than the numbers of an embedding: `|Z_1' Z_2|^2 = sum((Z_1 Z_1') * (Z_2 Z_2'))`, with
    `N^2 D` instead of `N D^2` multiplications.

    Args:
        first: `[N, D]`, standardised; of those that are only centred, the covariances.
        second: `[N, D]`, as the first.
        divisor: Instead of `N`.
    """
    images, size = first.shape
    divisor = images if divisor is None else divisor
    own = (first * second).sum(dim=0) / divisor  # (D,)
    if images < size:
        squares = ((first @ first.T) * (second @ second.T)).sum() / divisor**2
    else:
        squares = (first.T @ second / divisor).square().sum()
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
    _check_weights(off_diagonal_weight=off_diagonal_weight)
    _check_views(first, second)
    found = correlations(standardised(first), standardised(second))
    return (1 - found.own).square().sum() + off_diagonal_weight * found.others


def vicreg_terms(first: Tensor, second: Tensor, deviation: float = 1.0) -> VICRegTerms:
    """What VICReg adds up: how far views differ, and what is wrong with the numbers of each.

    `s = mean((z - z')^2)`, `v(Z) = mean_d max(0, gamma - sqrt(Var z_d + 1e-4))` and
    `c(Z) = sum_{i != j} Cov_ij^2 / D`. Bardes, Ponce and LeCun, 2021, arXiv 2105.04906, equations 1
    to 5, and for the mean over the numbers of `s` algorithm 1. Of both views, `variance` is the
    mean of `v`, as in the authors' code, and `covariance` the sum of `c`. Variances and covariances
    of `N` images are divided by `N - 1`; of one image they are 0.

    Args:
        first: `[N, D]`, embeddings of the first views of all processes.
        second: `[N, D]`, those of the second views.
        deviation: Standard deviation that numbers shall have, above 0; the paper's gamma.

    Returns:
        Scalars.
    """
    images, size = first.shape
    variance = covariance = first.new_zeros(())
    for view in (first, second):
        centred = view - view.mean(dim=0)
        found = correlations(centred, centred, max(images - 1, 1))
        deviations = (found.own + VARIANCE_EPSILON).sqrt()  # (D,)
        variance = variance + (deviation - deviations).relu().mean() / 2
        covariance = covariance + found.others / size
    return VICRegTerms((first - second).square().mean(), variance, covariance)


@in_full_precision
def vicreg(
    first: Tensor,
    second: Tensor,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    deviation: float = 1.0,
) -> Tensor:
    """Views alike, numbers that differ between images, and that have nothing in common.

    The weighed sum of `vicreg_terms`: Bardes, Ponce and LeCun, 2021, arXiv 2105.04906, equation 6.

    Embeddings that are the same for all images cost `variance_weight * (deviation - 0.01)`.

    Args:
        first: `[N, D]`, embeddings of the first views of all processes.
        second: `[N, D]`, those of the second views.
        invariance_weight: At least 0; the paper's lambda.
        variance_weight: At least 0; the paper's mu.
        covariance_weight: At least 0; the paper's nu.
        deviation: Standard deviation that numbers shall have, above 0; the paper's gamma.

    Returns:
        Scalar, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or a number is out of its range.
    """
    _check_vicreg(invariance_weight, variance_weight, covariance_weight, deviation)
    _check_views(first, second)
    terms = vicreg_terms(first, second, deviation)
    return (
        invariance_weight * terms.invariance
        + variance_weight * terms.variance
        + covariance_weight * terms.covariance
    )


class BarlowTwinsLoss(nn.Module):
    """`barlow_twins` with a weight of its own."""

    def __init__(self, off_diagonal_weight: float = 5e-3) -> None:  # section 2.2
        """Args: off_diagonal_weight: At least 0.

        Raises:
            ValueError: If the weight is below 0 or not finite.
        """
        super().__init__()
        _check_weights(off_diagonal_weight=off_diagonal_weight)
        self.off_diagonal_weight = off_diagonal_weight

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes `barlow_twins` of two `[N, D]`."""
        return barlow_twins(first, second, self.off_diagonal_weight)

    def extra_repr(self) -> str:
        """Shows the weight."""
        return f"off_diagonal_weight={self.off_diagonal_weight}"


class VICRegLoss(nn.Module):
    """`vicreg` with weights of its own."""

    def __init__(
        self,
        invariance_weight: float = 25.0,  # section 4.2
        variance_weight: float = 25.0,  # section 4.2
        covariance_weight: float = 1.0,  # section 4.2
        deviation: float = 1.0,  # section 4.1
    ) -> None:
        """Args: as `vicreg`.

        Raises:
            ValueError: If a number is out of its range.
        """
        super().__init__()
        _check_vicreg(invariance_weight, variance_weight, covariance_weight, deviation)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.deviation = deviation

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes `vicreg` of two `[N, D]`."""
        weights = (self.invariance_weight, self.variance_weight, self.covariance_weight)
        return vicreg(first, second, *weights, self.deviation)

    def extra_repr(self) -> str:
        """Shows the weights."""
        return (
            f"invariance_weight={self.invariance_weight}, variance_weight={self.variance_weight}, "
            f"covariance_weight={self.covariance_weight}, deviation={self.deviation}"
        )


def _check_views(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            f"expected two tensors of one shape [N, D], got {list(first.shape)} and "
            f"{list(second.shape)}"
        )


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be >= 0 and finite, got {weight}")


def _check_vicreg(
    invariance_weight: float, variance_weight: float, covariance_weight: float, deviation: float
) -> None:
    _check_weights(
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    if not 0 < deviation < math.inf:
        raise ValueError(f"deviation must be > 0 and finite, got {deviation}")
