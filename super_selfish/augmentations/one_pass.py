"""Colour jitter written for a compiler: nothing in place, each channel by itself.

The formulas are those of color.py, which writes in place and is twice as fast as this when nothing
is compiled; compiled, this is three times as fast as that. The tests hold one against the other.

Shapes: `b` samples, `H, W` image. Images are float in [0, 1], RGB.
"""

from __future__ import annotations

import torch
from torch import Tensor

from super_selfish.augmentations.color import GRAY_WEIGHTS


def jitter_in_one_pass(images: Tensor, before: Tensor, shifts: Tensor, after: Tensor) -> Tensor:
    """A linear map, a turn of the hue, another linear map.

    Args:
        images: `[b, 3, H, W]`.
        before: `[b, 4]`, coefficients of a `ColorMatrix`, transposed.
        shifts: `[b]`, in turns, in [-0.5, 0.5].
        after: `[b, 4]`.

    Returns:
        `[b, 3, H, W]`.
    """
    return _linear(_turned(_linear(images, before), shifts), after)


def _linear(images: Tensor, coefficients: Tensor) -> Tensor:
    """`color.transform_linearly`."""
    own, gray, mean, offset = coefficients.T.reshape(4, -1, 1, 1).unbind()  # (b, 1, 1) each
    red, green, blue = images.unbind(1)
    plane = red * GRAY_WEIGHTS[0] + green * GRAY_WEIGHTS[1] + blue * GRAY_WEIGHTS[2]
    shift = plane.mean(dim=(1, 2), keepdim=True) * mean + offset
    plane = plane * gray + shift
    return torch.stack([(c * own + plane).clamp(0.0, 1.0) for c in (red, green, blue)], dim=1)


def _turned(images: Tensor, shifts: Tensor) -> Tensor:
    """`color.shift_hue`."""
    red, green, blue = images.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = (high - low).clamp(min=torch.finfo(images.dtype).eps ** 2)
    angle = (green + blue - red + high - 2.0 * low) / chroma
    angle = torch.where(green < blue, -angle, angle)
    hue = (angle * (1 / 6) + (shifts + 1.0).view(-1, 1, 1)).frac()  # in [0, 1): red at both ends

    def away_from(center: float) -> Tensor:
        return (hue - center).abs().clamp(1 / 6, 1 / 3) * (6.0 * chroma)  # in [d, 2d]

    channels = (
        low - chroma + away_from(1 / 2),
        low + 2.0 * chroma - away_from(1 / 3),
        low + 2.0 * chroma - away_from(2 / 3),
    )
    return torch.stack(channels, dim=1)
