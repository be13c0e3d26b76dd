"""Losses of a network that is taught by another one: features to match, and classes of a queue.

Shapes: `B` images, `D` features of the teacher, `h, w` map, `K` earlier images.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def feature_match(
    predictions: Tensor, targets: Tensor, cosine_weight: float = 0.9, smooth_weight: float = 0.1
) -> Tensor:
    """How far features are from those of a teacher: in direction, and number by number.

    `a * mean(1 - cos(p, t)) + b * mean(s(p - t))` with `s(d) = d^2 / 2` for `|d| < 1` and
    `|d| - 1/2` beyond. Ranzinger, Heinrich, Kautz, Molchanov, 2023, AM-RADIO, arXiv 2312.06709,
    section 3: `L_match`, with `a = 0.9` and `b = 0.1`. Targets are not detached here.

    Args:
        predictions: `[B, D]`, or maps `[B, D, h, w]`, whose cosines are those of each place.
        targets: The same shape.
        cosine_weight: `a`, at least 0 and finite.
        smooth_weight: `b`, at least 0 and finite.

    Returns:
        Scalar, in float32 (float64 for float64); 0 where both are the same.

    Raises:
        ValueError: If the shapes are not one of these, or a weight is out of its range.
    """
    _check_weights(cosine_weight=cosine_weight, smooth_weight=smooth_weight)
    if predictions.ndim not in (2, 4) or predictions.shape != targets.shape:
        raise ValueError(
            "predictions and targets must both be [B, D] or [B, D, h, w], got "
            f"{list(predictions.shape)} and {list(targets.shape)}"
        )
    cosines = F.cosine_similarity(predictions, targets, dim=1)
    distance = F.smooth_l1_loss(predictions, targets)
    return cosine_weight * (1 - cosines).mean() + smooth_weight * distance


class FeatureMatchLoss(nn.Module):
    """`feature_match` with weights of its own."""

    def __init__(self, cosine_weight: float = 0.9, smooth_weight: float = 0.1) -> None:
        """Takes the weights.

        Args:
            cosine_weight: Of directions, at least 0 and finite.
            smooth_weight: Of numbers, at least 0 and finite.

        Raises:
            ValueError: If one is out of its range, or both are 0.
        """
        super().__init__()
        _check_weights(cosine_weight=cosine_weight, smooth_weight=smooth_weight)
        if cosine_weight == smooth_weight == 0:
            raise ValueError(
                "cosine_weight and smooth_weight are not both 0: nothing would be lost"
            )
        self.cosine_weight = cosine_weight
        self.smooth_weight = smooth_weight

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Computes `feature_match` of `[B, D]` or `[B, D, h, w]`."""
        return feature_match(predictions, targets, self.cosine_weight, self.smooth_weight)

    def extra_repr(self) -> str:
        """Shows the weights."""
        return f"cosine_weight={self.cosine_weight}, smooth_weight={self.smooth_weight}"


@in_full_precision
def pseudo_classes(
    predictions: Tensor,
    targets: Tensor,
    queue: Tensor,
    temperature: float = 0.2,
    teacher_temperature: float = 0.01,
) -> Tensor:
    """Cross-entropy of whom the teacher finds an image like, with whom the student does.

    The classes are the teacher's embeddings of earlier images and, last, its embedding of the image
    itself; an image belongs to a class as `softmax_k(cos(., class_k) / t)` says. Fang, Wang, Wang,
    Zhang, Yang, Liu, 2021, SEED, arXiv 2101.04731, section 3.2. Targets and queue are not detached
    here.

    Args:
        predictions: `[B, D]`, the student's embeddings, of any length.
        targets: `[B, D]`, the teacher's.
        queue: `[K, D]`, the teacher's of earlier images, unit vectors.
        temperature: Of the student, above 0, and finite.
        teacher_temperature: Of the teacher; the smaller, the more decided.

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit, or a temperature is out of its range.
    """
    _check_temperatures(temperature=temperature, teacher_temperature=teacher_temperature)
    fits = predictions.ndim == queue.ndim == 2 and predictions.shape[1] == queue.shape[1]
    if not fits or predictions.shape != targets.shape:
        raise ValueError(
            "predictions and targets must be [B, D] and queue [K, D], got "
            f"{list(predictions.shape)}, {list(targets.shape)} and {list(queue.shape)}"
        )
    taught, teacher = F.normalize(predictions, dim=1), F.normalize(targets, dim=1)  # (B, D) each
    said, wanted = (
        torch.cat([each @ queue.T, (each * teacher).sum(dim=1, keepdim=True)], dim=1)
        for each in (taught, teacher)
    )  # (B, K + 1) each
    shares = (wanted / teacher_temperature).softmax(dim=1)
    return -(shares * (said / temperature).log_softmax(dim=1)).sum(dim=1).mean()


class PseudoClassLoss(nn.Module):
    """`pseudo_classes` with temperatures of its own."""

    def __init__(self, temperature: float = 0.2, teacher_temperature: float = 0.01) -> None:
        """Takes the temperatures.

        Args:
            temperature: Of the student, above 0, and finite.
            teacher_temperature: Of the teacher, above 0, and finite.

        Raises:
            ValueError: If one is out of its range.
        """
        super().__init__()
        _check_temperatures(temperature=temperature, teacher_temperature=teacher_temperature)
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature

    def forward(self, predictions: Tensor, targets: Tensor, queue: Tensor) -> Tensor:
        """Computes `pseudo_classes` of `[B, D]`, `[B, D]` and `[K, D]`."""
        return pseudo_classes(
            predictions, targets, queue, self.temperature, self.teacher_temperature
        )

    def extra_repr(self) -> str:
        """Shows the temperatures."""
        return f"temperature={self.temperature}, teacher_temperature={self.teacher_temperature}"


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be >= 0 and finite, got {weight}")


def _check_temperatures(**temperatures: float) -> None:
    for name, temperature in temperatures.items():
        if not 0 < temperature < math.inf:
            raise ValueError(f"{name} must be > 0 and finite, got {temperature}")
