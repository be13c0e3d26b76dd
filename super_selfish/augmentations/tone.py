"""Point operations and histogram operations: invert, solarize, posterize, contrast, sharpness.

Definitions are torchvision's (`transforms.v2.functional`). Posterize and equalize are defined on
bytes; they work on `round(255 x)`. Any number of channels; histogram operations treat each channel
by itself.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.draws import factors_per_sample, per_sample, uniform
from super_selfish.augmentations.random_color import (
    Factors,
    RandomFactor,
)


def invert(images: Tensor) -> Tensor:
    """The negative, `1 - x`.

    Args:
        images: `[B, C, H, W]`.

    Returns:
        `[B, C, H, W]`.
    """
    return 1.0 - images


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Inverts the values at or above the threshold.

    Args:
        images: `[B, C, H, W]`.
        thresholds: `[B]`, in [0, 1]; the papers' 128 is 128 / 255.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one threshold a sample.
    """
    limits = per_sample(images, thresholds, "thresholds").to(images, non_blocking=True)
    return torch.where(images >= limits, 1.0 - images, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest bits of `round(255 x)`.

    Args:
        images: `[B, C, H, W]`.
        bits: `[B]`, integers in 0 ... 8; 8 only rounds to bytes.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one number a sample, or one is out of range.
        TypeError: If the numbers are not integers.
    """
    if bits.is_floating_point():
        raise TypeError(f"bits must be integers, got {bits.dtype}")
    # Only where looking is free: on another device it would wait for everything before it.
    if bits.device.type == "cpu" and bool(((bits < 0) | (bits > 8)).any()):
        raise ValueError(f"bits must be in 0 ... 8, got {int(bits.min())} ... {int(bits.max())}")
    mask = (256 - 2 ** (8 - per_sample(images, bits, "bits"))).to(torch.uint8)
    mask = mask.to(images.device, non_blocking=True)
    return _from_bytes(_to_bytes(images).bitwise_and_(mask), images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel to 0 ... 1; a flat channel stays.

    Args:
        images: `[B, C, H, W]`.

    Returns:
        `[B, C, H, W]`.
    """
    low = images.amin(dim=(2, 3), keepdim=True)
    span = images.amax(dim=(2, 3), keepdim=True) - low
    flat = span == 0.0
    return (images - low.masked_fill(flat, 0.0)).div_(span.masked_fill(flat, 1.0)).clamp_(0.0, 1.0)


def equalize(images: Tensor) -> Tensor:
    """Flattens the histogram of each channel of `round(255 x)`, by PIL's rule.

    With `step = (pixels - pixels of the brightest value) // 255`, a value becomes
    `(pixels darker than it + step // 2) // step`; a channel whose step is 0 stays.

    Args:
        images: `[B, C, H, W]`.

    Returns:
        `[B, C, H, W]`.
    """
    batch, channels, height, width = images.shape
    values = _to_bytes(images).long().view(batch * channels, height * width)
    histogram = torch.zeros(len(values), 256, dtype=torch.int32, device=images.device)
    one = torch.ones(1, 1, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(1, values, one.expand_as(values))
    darker = histogram.cumsum(1, dtype=torch.int32) - histogram  # (B * C, 256)
    brightest = values.amax(dim=1, keepdim=True)
    step = darker.gather(1, brightest) // 255  # all pixels but the brightest are darker than it
    table = (darker + step // 2) // step.clamp(min=1)
    identity = torch.arange(256, dtype=torch.int32, device=images.device)
    table = torch.where(step == 0, identity, table.clamp_(max=255)).to(images.dtype).div_(255.0)
    return table.gather(1, values).view(images.shape)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blends every sample with a smoothed one (3x3, weight 5 in the middle); the border stays.

    Args:
        images: `[B, C, H, W]`; with a side below 3 there is no inside, and nothing changes.
        factors: `[B]`, at least 0; 0 is smooth, 1 the identity, 2 sharp.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one factor a sample, or one is negative.
    """
    weights = factors_per_sample(images, factors)
    output = images.clone()
    if min(images.shape[2:]) < 3:
        return output
    rows = (images[:, :, :-2] + images[:, :, 1:-1]).add_(images[:, :, 2:])
    box = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])  # sum of 3x3
    # f x + (1 - f) (box + 4 x) / 13, since the middle is in the box once and has weight 5.
    blend = (1.0 - weights) / 13.0
    output[:, :, 1:-1, 1:-1].mul_(weights + 4.0 * blend).add_(box.mul_(blend))
    return output.clamp_(0.0, 1.0)


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255.0).round_().to(torch.uint8)


def _from_bytes(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).div_(255.0)


class _Fixed(Augmentation):
    """Draws nothing: every sample is treated alike."""

    def draw(self, shape: Shape, generator: torch.Generator) -> None:
        """Draws nothing."""


class Invert(_Fixed):
    """`invert`, for every sample."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Inverts."""
        return invert(images)


class AutoContrast(_Fixed):
    """`autocontrast`, for every sample."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Stretches each channel."""
        return autocontrast(images)


class Equalize(_Fixed):
    """`equalize`, for every sample."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Flattens the histogram of each channel."""
        return equalize(images)


class SolarizeParameters(NamedTuple):
    """What solarize drew."""

    thresholds: Tensor  # (B,)


class RandomSolarize(Augmentation):
    """`solarize` with a threshold from U(low, high)."""

    def __init__(self, low: float = 128 / 255, high: float = 128 / 255) -> None:
        """Takes the range of the threshold; BYOL, DINO and 0.0.6 fix it at 128.

        Args:
            low: In [0, 1].
            high: At least `low`, at most 1.

        Raises:
            ValueError: If the range is empty or leaves [0, 1].
        """
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"thresholds need 0 <= low <= high <= 1, got low {low}, high {high}")
        self.low = low
        self.high = high

    def draw(self, shape: Shape, generator: torch.Generator) -> SolarizeParameters:
        """Draws the thresholds."""
        thresholds = uniform(shape[0], self.low, self.high, generator)
        return SolarizeParameters(thresholds)

    def apply(self, images: Tensor, parameters: SolarizeParameters) -> Tensor:
        """Solarizes every sample."""
        return solarize(images, parameters.thresholds)


class PosterizeParameters(NamedTuple):
    """What posterize drew."""

    bits: Tensor  # (B,) int64


class RandomPosterize(Augmentation):
    """`posterize` to a random number of bits, both ends included."""

    def __init__(self, low: int, high: int) -> None:
        """Takes the range of bits.

        Args:
            low: At least 0.
            high: At least `low`, at most 8.

        Raises:
            ValueError: If the range is empty or leaves 0 ... 8.
        """
        if not 0 <= low <= high <= 8:
            raise ValueError(f"bits need 0 <= low <= high <= 8, got low {low}, high {high}")
        self.low = low
        self.high = high

    def draw(self, shape: Shape, generator: torch.Generator) -> PosterizeParameters:
        """Draws the numbers of bits."""
        bits = torch.randint(self.low, self.high + 1, (shape[0],), generator=generator)
        return PosterizeParameters(bits)

    def apply(self, images: Tensor, parameters: PosterizeParameters) -> Tensor:
        """Posterizes every sample."""
        return posterize(images, parameters.bits)


class RandomSharpness(RandomFactor):
    """`adjust_sharpness` by a random factor."""

    def apply(self, images: Tensor, parameters: Factors) -> Tensor:
        """Smooths or sharpens every sample."""
        return adjust_sharpness(images, parameters.factors)
