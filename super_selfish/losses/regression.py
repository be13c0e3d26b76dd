"""Regression losses: towards a direction, or towards pixels.

Shapes: `B` batch, `D` embedding, `C, H, W` image.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def cosine_regression(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of the directions, `2 - 2 cos`: 0, 2 and 4 at 0, 90 and 180 degrees.

    Grill et al., 2020, arXiv 2006.07733, equation 2. Targets are not detached here: those of a
    momentum encoder come without gradient.

    Args:
        predictions: `[B, D]`, of any length.
        targets: `[B, D]`, of any length.

    Returns:
        Scalar in [0, 4], mean over the batch, in float32 (float64 for float64).

    Raises:
        ValueError: If the shapes are not one `[B, D]`.
    """
    _check_vectors(predictions, targets)
    # The squared distance and not 2 - 2 cos: exact for equal vectors.
    difference = F.normalize(predictions, dim=1) - F.normalize(targets, dim=1)
    return difference.square().sum(dim=1).mean()


@in_full_precision
def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Cosine of the directions, negated: -1, 0 and 1 at 0, 90 and 180 degrees.

    Chen and He, 2020, arXiv 2011.10566, equation 1. Targets are not detached here: that is for the
    caller to do (equation 3).

    Args:
        predictions: `[B, D]`, of any length.
        targets: `[B, D]`, of any length.

    Returns:
        Scalar in [-1, 1], mean over the batch, in float32 (float64 for float64).

    Raises:
        ValueError: If the shapes are not one `[B, D]`.
    """
    _check_vectors(predictions, targets)
    cosines = (F.normalize(predictions, dim=1) * F.normalize(targets, dim=1)).sum(dim=1)
    return -cosines.mean()


@in_full_precision
def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared error, averaged over everything.

    Args:
        predictions: Any shape.
        targets: The same shape; never broadcast.

    Returns:
        Scalar, in float32 (float64 for float64).

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(predictions, targets)
    return (predictions - targets).square().mean()


@in_full_precision
def masked_mean_squared_error(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Squared error, averaged over the pixels that count (Pathak et al., 2016, equation 1).

    Context encoders, arXiv 1604.07379. The sum of weighted squares is divided by the sum of the
    weights, so the value does not depend on the size of the hole.

    Args:
        predictions: `[B, C, H, W]`.
        targets: `[B, C, H, W]`.
        mask: `[B, 1, H, W]` or `[B, C, H, W]`, bool or weights >= 0; 1 where pixels count.

    Returns:
        Scalar, in float32 (float64 for float64); 0 if no pixel counts.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_same_shape(predictions, targets)
    shape = predictions.shape
    if mask.ndim != 4 or mask.shape not in (shape, (shape[0], 1, *shape[2:])):
        raise ValueError(
            f"mask must be {[shape[0], 1, *shape[2:]]} or {list(shape)}, got {list(mask.shape)}"
        )
    weights = mask.to(predictions.dtype).expand_as(predictions)
    total = weights.sum()
    # Where nothing counts the numerator is 0 as well; no branch, which would wait for the device.
    return (weights * (predictions - targets).square()).sum() / total.where(total > 0, 1.0)


def _check_vectors(predictions: Tensor, targets: Tensor) -> None:
    if predictions.ndim != 2:
        raise ValueError(f"predictions must be [B, D], got {list(predictions.shape)}")
    _check_same_shape(predictions, targets)


def _check_same_shape(predictions: Tensor, targets: Tensor) -> None:
    if predictions.shape != targets.shape:
        raise ValueError(
            "predictions and targets must have one shape, got "
            f"{list(predictions.shape)} and {list(targets.shape)}"
        )
