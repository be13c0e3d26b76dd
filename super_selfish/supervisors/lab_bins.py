"""Colours as classes: a grid on lightness, and one on colour.

Shapes: `B` images, `h, w` grid of places.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.lab import LAB_CENTER, LAB_SCALE
from super_selfish.losses.full_precision import in_full


class LabBins(NamedTuple):
    """A grid on L*, and one on a* and b*, in units of L*a*b*."""

    l_step: float
    l_offset: float
    ab_step: float
    a_offset: float
    b_offset: float

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of bins along L*, a* and b*."""
        offsets, steps = self._per_channel
        highest = (center + scale for center, scale in zip(LAB_CENTER, LAB_SCALE, strict=True))
        l_size, a_size, b_size = (
            math.ceil((high + offset) / step)
            for high, offset, step in zip(highest, offsets, steps, strict=True)
        )
        return l_size, a_size, b_size

    def classes(self, lab: Tensor) -> tuple[Tensor, Tensor]:
        """The bins of colours; those beyond the grid belong to the bin at its border.

        Args:
            lab: `[B, 3, h, w]`, L*a*b*.

        Returns:
            Lightness bin and colour bin (that of a* times the bins of b*, plus that of b*), each
            `[B, h, w]` int64.
        """
        channels = zip(lab.unbind(1), *self._per_channel, self.sizes, strict=True)
        lightness, a, b = (
            ((value + offset) / step).floor().long().clamp(0, size - 1)
            for value, offset, step, size in channels
        )
        return lightness, a * self.sizes[2] + b

    def expected(self, lightnesses: Tensor, colors: Tensor) -> tuple[Tensor, Tensor]:
        """Means of what the bins stand for, under their probabilities.

        Args:
            lightnesses: `[B, bins, h, w]`, logits.
            colors: `[B, bins, h, w]`, logits.

        Returns:
            L* `[B, 1, h, w]`, and a* and b* `[B, 2, h, w]`.
        """
        l_values, a_values, b_values = (
            (torch.arange(size, device=colors.device) + 0.5) * step - offset
            for size, offset, step in zip(self.sizes, *self._per_channel, strict=True)
        )
        chances = in_full(colors).softmax(dim=1).unflatten(1, self.sizes[1:])
        a = torch.einsum("bijhw,i->bhw", chances, a_values)
        b = torch.einsum("bijhw,j->bhw", chances, b_values)
        lightness = torch.einsum("blhw,l->bhw", in_full(lightnesses).softmax(dim=1), l_values)
        return lightness[:, None], torch.stack([a, b], dim=1)

    @property
    def _per_channel(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        offsets = (self.l_offset, self.a_offset, self.b_offset)
        return offsets, (self.l_step, self.ab_step, self.ab_step)
