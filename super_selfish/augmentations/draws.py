"""Draws that several augmentations share, and checks of what was drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """One number a sample from U(low, high); draws nothing where there is no choice.

    Args:
        batch: `B`.
        low: Smallest value.
        high: Largest value.
        generator: CPU generator.

    Returns:
        `[B]`.
    """
    if low == high:
        return torch.full((batch,), low)
    return torch.rand(batch, generator=generator) * (high - low) + low


def per_sample(images: Tensor, values: Tensor, name: str) -> Tensor:
    """Checks that there is one value a sample and returns them as `(B, 1, 1, 1)`."""
    if values.shape != images.shape[:1]:
        raise ValueError(
            f"{name} must hold one number per sample, shape ({len(images)},), "
            f"got {tuple(values.shape)}"
        )
    return values.view(-1, 1, 1, 1)


def factors_per_sample(images: Tensor, factors: Tensor) -> Tensor:
    """The same of factors, which must not be negative, as the images are: type and device."""
    factors = per_sample(images, factors, "factors")
    # Only where looking is free: on another device it would wait for everything before it.
    if factors.device.type == "cpu" and bool((factors < 0.0).any()):
        raise ValueError(f"factors must be >= 0, got {span(factors)}")
    return factors.to(images, non_blocking=True)


def span(values: Tensor) -> str:
    """The smallest and the largest, in words."""
    return f"{float(values.min()):.4g} ... {float(values.max()):.4g}"
