"""Masking noise and Gaussian noise.

Noise is as many numbers as there are pixels, and still drawn on the CPU: that a CPU and a GPU see
the same views is worth more than the draw costs. It is kept small: four 16-bit numbers come out of
one 64-bit draw, one a pixel (not one a channel), and a mask travels to the device as one byte a
pixel. One thread: 3 us for 32 x 32, 0.12 ms for 225 x 225 pixels, a third to a seventh of
`torch.rand`, a tenth of `bernoulli_`.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.draws import uniform


def drop_pixels(images: Tensor, keep_mask: Tensor, fill: float | Tensor = 0.0) -> Tensor:
    """Replaces pixels, all channels of a pixel together.

    Args:
        images: `[B, C, H, W]`, of any range: normalised images may be filled with 0, their mean.
        keep_mask: `[B, 1, H, W]`, bool; False is replaced.
        fill: A number, or `[C]`.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If a shape does not fit.
        TypeError: If the mask is not bool.
    """
    batch, channels, height, width = images.shape
    if keep_mask.dtype != torch.bool:
        raise TypeError(f"keep_mask must be bool, got {keep_mask.dtype}")
    if keep_mask.shape != (batch, 1, height, width):
        raise ValueError(
            f"keep_mask must be {(batch, 1, height, width)} for images "
            f"{tuple(images.shape)}, got {tuple(keep_mask.shape)}"
        )
    keep_mask = keep_mask.to(images.device, non_blocking=True)
    if isinstance(fill, Tensor):
        if fill.shape != (channels,):
            raise ValueError(f"fill must be a number or ({channels},), got {tuple(fill.shape)}")
        fill = fill.to(images, non_blocking=True).view(channels, 1, 1)
    return torch.where(keep_mask, images, fill)


def draw_keep_mask(shape: Shape, p: float, generator: torch.Generator) -> Tensor:
    """Draws which pixels stay.

    Args:
        shape: `(B, C, H, W)` of the images.
        p: Probability that a pixel is dropped, rounded to a multiple of 2^-16.
        generator: CPU generator.

    Returns:
        `[B, 1, H, W]`, bool.
    """
    batch, _, height, width = shape
    pixels = batch * height * width
    levels = round(p * 2**16)
    if levels == 2**16:  # one more than 16 bits can be compared with
        return torch.zeros(batch, 1, height, width, dtype=torch.bool)
    words = torch.empty(math.ceil(pixels / 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)  # all 64 bits are random
    mask = words.view(torch.int16)[:pixels] >= levels - 2**15
    return mask.view(batch, 1, height, width)


def add_gaussian_noise(images: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Adds noise of a strength of its own per sample, and clamps.

    Args:
        images: `[B, C, H, W]`.
        noise: Same shape, standard normal.
        sigmas: `[B]`, standard deviation on the scale of the images.

    Returns:
        `[B, C, H, W]` in [0, 1].

    Raises:
        ValueError: If a shape does not fit.
    """
    if noise.shape != images.shape or sigmas.shape != images.shape[:1]:
        raise ValueError(
            f"images {tuple(images.shape)} need noise of the same shape and one sigma per sample, "
            f"got {tuple(noise.shape)} and {tuple(sigmas.shape)}"
        )
    noise = noise.to(images, non_blocking=True)
    sigmas = sigmas.to(images, non_blocking=True).view(-1, 1, 1, 1)
    return torch.addcmul(images, noise, sigmas).clamp_(0.0, 1.0)


class DropoutParameters(NamedTuple):
    """What pixel dropout drew."""

    keep_mask: Tensor  # (B, 1, H, W) bool


class PixelDropout(Augmentation):
    """Masking noise: drops each pixel with probability `p`.

    Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders", ICML
    2008, section 2.3, whose corruption sets a fixed share of the inputs to 0; ours is Bernoulli.
    """

    def __init__(self, p: float, fill: float | Tensor = 0.0) -> None:
        """Takes how many pixels are dropped, and what replaces them.

        Args:
            p: Probability, in [0, 1].
            fill: A number, or `[C]`: the mean colour has the effect of dropping after
                normalisation.

        Raises:
            ValueError: If `p` is no probability.
        """
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p is a probability in [0, 1], got {p}")
        self.p = p
        self.fill = fill

    def draw(self, shape: Shape, generator: torch.Generator) -> DropoutParameters:
        """Draws which pixels stay."""
        return DropoutParameters(draw_keep_mask(shape, self.p, generator))

    def apply(self, images: Tensor, parameters: DropoutParameters) -> Tensor:
        """Replaces the pixels that do not stay."""
        return drop_pixels(images, parameters.keep_mask, self.fill)


class NoiseParameters(NamedTuple):
    """What Gaussian noise drew."""

    noise: Tensor  # (B, C, H, W), standard normal
    sigmas: Tensor  # (B,)


class RandomGaussianNoise(Augmentation):
    """`add_gaussian_noise` with a standard deviation from U(low, high)."""

    def __init__(self, low: float, high: float) -> None:
        """Takes the range of the standard deviation, where images are in [0, 1].

        Args:
            low: At least 0.
            high: At least `low`.

        Raises:
            ValueError: If the range is empty or negative.
        """
        if not 0.0 <= low <= high:
            raise ValueError(f"noise needs 0 <= low <= high, got low {low}, high {high}")
        self.low = low
        self.high = high

    def draw(self, shape: Shape, generator: torch.Generator) -> NoiseParameters:
        """Draws the noise and its strength."""
        sigmas = uniform(shape[0], self.low, self.high, generator)
        return NoiseParameters(torch.randn(shape, generator=generator), sigmas)

    def apply(self, images: Tensor, parameters: NoiseParameters) -> Tensor:
        """Adds the noise."""
        return add_gaussian_noise(images, parameters.noise, parameters.sigmas)
