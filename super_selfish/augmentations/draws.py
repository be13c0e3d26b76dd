"""Draws that several augmentations share."""

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
