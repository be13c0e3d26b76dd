"""Random rectangles: area uniform, aspect log-uniform, integer corners.

The way in which both the random resized crop (Szegedy et al., 2014, arXiv 1409.4842, section 6)
and random erasing (Zhong et al., 2017, arXiv 1708.04896, algorithm 1) draw their box.
A box is `(top, left, height, width)` in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ATTEMPTS = 10  # both papers' usual code draws again until the box fits, at most ten times


def check_area_and_aspect(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raises a `ValueError` unless both are ascending ranges that a rectangle can have."""
    if not 0.0 <= scale[0] <= scale[1] <= 1.0:
        raise ValueError(f"scale must be area fractions 0 <= low <= high <= 1, got {scale}")
    if not 0.0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio must be aspects 0 < low <= high, got {ratio}")


def draw_rectangles(
    count_shape: Sequence[int],
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
    may_span: bool = False,
) -> Tensor:
    """Draws independent rectangles inside an image.

    Args:
        count_shape: How many, e.g. `(B,)` or `(B, N)`.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        scale: Lowest and highest area, as fractions of the image's.
        ratio: Lowest and highest width / height.
        generator: CPU generator.
        may_span: Whether a rectangle may be as high or as wide as the image.

    Returns:
        `[*count_shape, 4]`, float32 with whole numbers. Where none of ten attempts fitted, the
        box is all zeros: an empty rectangle.

    Raises:
        ValueError: If a range is empty or out of bounds.
    """
    check_area_and_aspect(scale, ratio)
    shape = (*count_shape, ATTEMPTS)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    areas = scale[0] + (scale[1] - scale[0]) * torch.rand(shape, generator=generator)
    areas = areas * (height * width)
    aspects = torch.exp(low + (high - low) * torch.rand(shape, generator=generator))
    heights, widths = (areas / aspects).sqrt().round(), (areas * aspects).sqrt().round()
    spare = 0 if may_span else 1
    fits = (heights >= 1) & (widths >= 1)
    fits &= (heights <= height - spare) & (widths <= width - spare)
    first = fits.to(torch.uint8).argmax(dim=-1, keepdim=True)  # the first attempt that fits
    found = fits.any(dim=-1)
    sides = torch.stack((heights, widths), dim=-2).gather(
        -1, first[..., None, :].expand(*count_shape, 2, 1)
    )[..., 0]  # (*count_shape, 2)
    space = torch.tensor([height, width]) - sides + 1.0  # possible corners along each axis
    corners = (torch.rand((*count_shape, 2), generator=generator) * space).floor()
    # float32 can round a product up to the next whole number: stay inside the image.
    corners = torch.minimum(corners, space - 1.0)
    return torch.where(found[..., None], torch.cat((corners, sides), dim=-1), 0.0)
