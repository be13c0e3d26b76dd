"""Brings an image to the size and the number of channels that the networks expect.

The shorter side is resized until the image covers the target, then the centre is cropped
(METHODS 1.2), with an antialiased bilinear filter. uint8 stays uint8: torch's resampling of
channels-last bytes agrees with PIL to one grey level and is several times faster than floats.

Shapes: `B` images, `C, H, W` channels, height, width. Everything here takes one image `[C, H, W]`
or several of one size `[B, C, H, W]`, and gives each of these the pixels that it would have alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional as F

from super_selfish.training.counting import plural
from super_selfish.training.typed import as_whole

Size = tuple[int, int]  # (H, W)


def parse_size(size: int | Sequence[int], name: str = "image_size") -> Size:
    """Reads a size given as one number or as `(height, width)`, in pixels.

    Args:
        size: The argument.
        name: Its name, for messages.

    Raises:
        TypeError: It is neither.
        ValueError: A side is below 1 or there are not two sides.
    """
    if isinstance(size, str | bytes) or not isinstance(size, Real | Iterable):
        raise TypeError(f"{name} must be one number or (height, width), got {size!r}")
    sides = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"{name} must be one number or (height, width), got {size}")
    sides = tuple(as_whole(name, side) for side in sides)
    if min(sides) < 1:
        raise ValueError(f"{name} must be at least 1 pixel a side, got {size}")
    return sides[0], sides[1]


def fit_channels(image: Tensor, in_channels: int) -> Tensor:
    """Repeats grey three times, or reduces RGB to luminance (ITU-R BT.601).

    Args:
        image: `[..., C, H, W]`; uint8, uint16 or float32.
        in_channels: Number of channels wanted.

    Returns:
        `[..., in_channels, H, W]`, of the same type; repeated channels share memory.

    Raises:
        ValueError: The step is another one than 1 to 3 or 3 to 1.
    """
    channels = image.shape[-3]
    if channels == in_channels:
        return image
    if channels == 1 and in_channels == 3:
        return image.expand(*image.shape[:-3], 3, -1, -1)
    if channels == 3 and in_channels == 1:
        if image.dtype == torch.uint8:  # fixed point, the same integers as PIL's
            red, green, blue = image.to(torch.int32).unbind(dim=-3)
            grey = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
            return grey.to(torch.uint8).unsqueeze(-3)
        red, green, blue = image.to(torch.float32).unbind(dim=-3)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        return _rounded_to(image.dtype, grey).unsqueeze(-3)
    raise ValueError(
        f"cannot turn {plural(channels, 'channel')} into {in_channels} (only 1 into 3 and 3 "
        "into 1): convert the images first"
    )


def fit_size(image: Tensor, size: Size, *, nearest: bool = False) -> Tensor:
    """Resizes until the image covers `size`, then crops the centre.

    Args:
        image: `[..., C, H, W]`; uint8, uint16 or float32.
        size: `(height, width)` wanted, in pixels.
        nearest: Whether each pixel is the nearest one of the image instead, as masks want it.

    Returns:
        `[..., C, height, width]`, of the same type; `image` itself where its size fits.
    """
    height, width = size
    if image.shape[-2:] == (height, width):
        return image
    scale = max(height / image.shape[-2], width / image.shape[-1])
    # Of a strip far longer than the target only the middle is resized: memory stays bounded.
    image = _middle(image, math.ceil(2 * height / scale), math.ceil(2 * width / scale))
    covering = (
        max(height, round(image.shape[-2] * scale)),
        max(width, round(image.shape[-1] * scale)),
    )
    if image.shape[-2:] != covering:
        batch = image if image.ndim == 4 else _as_batch(image)
        if batch.dtype != torch.uint8:
            batch = batch.to(torch.float32)
        if nearest:
            resized = F.interpolate(batch, size=covering, mode="nearest-exact")
        else:
            resized = F.interpolate(
                batch, size=covering, mode="bilinear", align_corners=False, antialias=True
            )
        image = _rounded_to(image.dtype, resized if image.ndim == 4 else resized[0])
    return _middle(image, height, width)


def _as_batch(image: Tensor) -> Tensor:
    """One image as `[1, C, H, W]`, of which torch sees that it is channels-last, if it is.

    `image[None]` hides that: torch asks the stride of the batch, although it has one image, and
    then resizes more slowly, into another layout.
    """
    sides, steps = image.shape, image.stride()
    whole = max(side * step for side, step in zip(sides, steps, strict=True))
    return image.as_strided((1, *sides), (whole, *steps))


def _middle(image: Tensor, height: int, width: int) -> Tensor:
    """The centre of `image`, at most `height` by `width`; a view."""
    for axis, kept in ((-2, height), (-1, width)):
        side = image.shape[axis]
        if side > kept:
            image = image.narrow(axis, (side - kept) // 2, kept)
    return image


def _rounded_to(dtype: torch.dtype, values: Tensor) -> Tensor:
    """Casts float32 back to uint16 by rounding; leaves other types alone."""
    if dtype == torch.uint16:  # through int32: torch casts no negative float to unsigned safely
        return values.round().clamp(0, 65535).to(torch.int32).to(torch.uint16)
    return values
