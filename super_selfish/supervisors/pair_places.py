"""Where pairs of patches lie in an image, side by side but for a gap.

Doersch, Gupta, Efros, 2015, arXiv 1505.05192, section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Rows down and columns right, in the order of the classes, which is that of the authors' code.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
SMALLEST_PATCH = 4  # pixels; smaller ones show nothing


class PairPlaces:
    """Draws where pairs of patches lie: anywhere in the image, at a gap, jittered."""

    def __init__(self, side: int, gap: int, jitter: int) -> None:
        """Takes the side of a patch, the gap between two, and how far each is moved, in pixels."""
        self.side = side
        self.gap = gap
        self.jitter = jitter

    def __call__(
        self, number: int, height: int, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draws.

        Args:
            number: Of pairs.
            height: Of the images, in pixels.
            width: Of the images, in pixels.
            generator: CPU generator.

        Returns:
            Targets `[number]`, and corners `[number, 2, 2]`: top and left of the first patch, and
            of the second one.
        """
        targets = torch.randint(len(NEIGHBOURS), (number,), generator=generator)
        steps = torch.tensor(NEIGHBOURS)[targets] * (self.side + self.gap)  # (number, 2)
        most = torch.tensor([height - self.side, width - self.side])  # the last place of a patch
        lowest, highest = (-steps).clamp(min=0), most - steps.clamp(min=0)
        drawn = torch.rand(number, 2, generator=generator)
        first = lowest + (drawn * (highest - lowest + 1)).long()
        corners = torch.stack((first, first + steps), dim=1)  # (number, 2, 2)
        moved = torch.randint(2 * self.jitter + 1, corners.shape, generator=generator)
        corners = corners + moved - self.jitter
        return targets, torch.minimum(corners.clamp(min=0), most)


def fitting_places(
    image_size: tuple[int, int], patch_fraction: float, gap: float, jitter: float
) -> PairPlaces:
    """Sizes in pixels of patches, gap and jitter.

    Args:
        image_size: Height and width of the images, pixels.
        patch_fraction: Side of a patch, as a fraction of the shorter side of the image.
        gap: As a fraction of the side of a patch.
        jitter: As a fraction of the side of a patch.

    Raises:
        ValueError: If a patch is too small, two do not fit, or jitter leaves no gap.
    """
    shorter = min(image_size)
    if not (0.0 < patch_fraction < 1.0 and 0.0 <= gap < math.inf and 0.0 <= jitter < math.inf):
        raise ValueError(
            "patch_fraction must be in (0, 1), gap and jitter at least 0, got "
            f"{patch_fraction}, {gap} and {jitter}"
        )
    side = int(patch_fraction * shorter)
    space, moved = _between(side, gap, jitter)
    if side < SMALLEST_PATCH or 2 * side + space > shorter:
        raise ValueError(
            f"two patches of at least {SMALLEST_PATCH} pixels have to fit, with their gap, into "
            f"images of {image_size[0]}x{image_size[1]}; got patches of {side} and a gap of "
            f"{space} by patch_fraction={patch_fraction} and gap={gap}"
        )
    if space <= 2 * moved:
        raise ValueError(
            f"gap={gap} leaves no gap between patches of {side} pixels that are moved by up to "
            f"{moved}, and edges that run on give the place away: take a larger gap or less jitter"
        )
    return PairPlaces(side, space, moved)


def _between(side: int, gap: float, jitter: float) -> tuple[int, int]:
    """Gap and jitter of patches of a side, pixels."""
    return int(gap * side), max(1, int(jitter * side)) if jitter > 0 else 0


def zoomed_places(
    side: int, zoom: tuple[float, float], gap: float, jitter: float
) -> list[PairPlaces]:
    """Places of the smaller patches that are cut out of images which are then enlarged.

    Args:
        side: Of the patches of images that keep their size, pixels.
        zoom: Least and largest factor.
        gap: As a fraction of the side of a patch.
        jitter: As a fraction of the side of a patch.

    Returns:
        One for each smaller side, the smallest first.

    Raises:
        ValueError: If the factors are none, or patches become too small.
    """
    low, high = zoom if isinstance(zoom, tuple | list) and len(zoom) == 2 else (math.nan, math.nan)
    if not 1.0 <= low <= high < math.inf:
        raise ValueError(f"zoom is two factors of at least 1, the lower one first, got {zoom}")
    places = []
    for smaller in range(round(side / high), side):
        space, moved = _between(smaller, gap, jitter)
        if smaller < SMALLEST_PATCH or space <= 2 * moved:
            raise ValueError(
                f"zoom={zoom} enlarges patches of {smaller} pixels, which are too small or leave "
                f"no gap: lower the factors, or raise patch_fraction (patches of {side} pixels)"
            )
        places.append(PairPlaces(smaller, space, moved))
    return places
