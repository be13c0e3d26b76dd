"""Images that are handed to a network after training, brought to what it saw in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from super_selfish.data.conversion import RANGE_TOLERANCE, checked_values
from super_selfish.data.value_range import ValueRange, parse_value_range


def unit_images(images: Any, in_channels: int, value_range: Any = None) -> Tensor:
    """Images as networks eat them.

    Args:
        images: `[B, C, H, W]`, `C` channels: float in [0, 1], or numbers as the dataset has them
            in whole ones, uint8 and uint16 or, with a `value_range`, others.
        in_channels: `C`.
        value_range: `(low, high)`, the whole numbers that are black and white; None where the type
            says it.

    Returns:
        `[B, C, H, W]`, float32 in [0, 1].

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it has another shape, or its numbers are no such images.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images must be a tensor [B, {in_channels}, H, W], got {_kind(images)}: "
            "torch.from_numpy(array) makes one of an array, and torchvision.io.read_image(path) of "
            "a file (images[None] a batch of one)"
        )
    if images.ndim != 4 or images.shape[1] != in_channels:
        raise ValueError(
            f"images must be [B, {in_channels}, H, W], got shape {list(images.shape)}"
            + (": images[None] makes a batch of one" if images.ndim == 3 else "")
        )
    if images.is_floating_point():
        return _require_unit(images.float(), value_range)
    wanted = parse_value_range(value_range)
    values = wanted if isinstance(wanted, ValueRange) else None
    if values is None and images.dtype not in (torch.bool, torch.uint8, torch.uint16):
        raise ValueError(
            "images must be uint8, uint16 or float in [0, 1], got "
            f"{str(images.dtype).removeprefix('torch.')}: images.to(torch.uint8) if they lie in "
            "0 to 255"
        )
    shown = checked_values(images, values)
    white = {torch.uint8: 255.0, torch.uint16: 65535.0}.get(shown.dtype)
    return shown if white is None else shown.to(torch.float32).div_(white)


def _require_unit(images: Tensor, value_range: Any) -> Tensor:
    if not images.numel():
        return images
    low, high = (float(bound) for bound in torch.aminmax(images))
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # not with NaN either
        how = "divide numbers from 0 to 255 by 255, or give them as uint8"
        if value_range is not None:
            black, white = value_range
            how = f"(images - low) / (high - low) with low={black}, high={white}, clamped, does it"
        raise ValueError(
            f"float images must be finite and lie in [0, 1], got {low:.4g} to {high:.4g}: {how}; "
            "leave Normalize out, since the supervisor normalises"
        )
    return images.clamp(0, 1) if low < 0 or high > 1 else images


def _kind(value: Any) -> str:
    return f"the text {value!r}" if isinstance(value, str) else f"a {type(value).__name__}"
