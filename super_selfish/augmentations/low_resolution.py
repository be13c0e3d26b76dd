"""Images that were small once: shrunk to a random size and enlarged again.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.draws import uniform
from super_selfish.augmentations.interpolation import interpolation_matrices


class SmallerSizes(NamedTuple):
    """The size to which each sample is shrunk."""

    heights: Tensor  # (B,) int64, pixels
    widths: Tensor  # (B,) int64, pixels


class LowResolution(Augmentation):
    """Shrinks each sample to a random size, and enlarges it to its own again.

    Doersch, Gupta and Efros, 2015, arXiv 1505.05192, do so to a third of their patches, so that
    features do not hang on details of single pixels; the default range is theirs, of 96 pixels.
    """

    def __init__(self, low: float = 10 / 96, high: float = 95 / 96, least: int = 1) -> None:
        """Takes the range; the area is drawn uniformly, as in the paper.

        Args:
            low: Smallest side, as a fraction of the sample's, in (0, 1].
            high: Largest side.
            least: Pixels that are left of a side at least, if it has as many.

        Raises:
            ValueError: If the range is empty or leaves (0, 1], or `least` is below 1.
        """
        if least < 1:
            raise ValueError(f"least must be >= 1 pixel, got {least}")
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"sides need 0 < low <= high <= 1, got low {low}, high {high}")
        self.low = low
        self.high = high
        self.least = least

    def draw(self, shape: Shape, generator: torch.Generator) -> SmallerSizes:
        """Draws the sizes."""
        sides = uniform(shape[0], self.low**2, self.high**2, generator).sqrt()
        heights, widths = (
            (sides * side).round().long().clamp(min=min(self.least, side)) for side in shape[2:]
        )
        return SmallerSizes(heights, widths)

    def apply(self, images: Tensor, parameters: SmallerSizes) -> Tensor:
        """Resamples by one matrix an axis."""
        rows = _there_and_back(parameters.heights, images.shape[-2]).to(images, non_blocking=True)
        columns = _there_and_back(parameters.widths, images.shape[-1]).to(images, non_blocking=True)
        return rows[:, None] @ images @ columns[:, None].transpose(-1, -2)


def _there_and_back(sides: Tensor, side: int) -> Tensor:
    """`[B, N, N]`: shrinks an axis of `N` pixels to some, and enlarges these to `N`, bilinearly."""
    different, place = sides.unique(return_inverse=True)
    matrices = []
    start = torch.zeros(1)
    for smaller in different.tolist():
        down = interpolation_matrices(start, torch.tensor([float(side)]), side, smaller)
        up = interpolation_matrices(start, torch.tensor([float(smaller)]), smaller, side)
        matrices.append(up[0] @ down[0])
    return torch.stack(matrices)[place] if matrices else torch.empty(0, side, side)
