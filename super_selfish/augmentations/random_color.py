"""Colour adjustments with random parameters, one at a time.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1].
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape, put_samples
from super_selfish.augmentations.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    to_grayscale,
)
from super_selfish.augmentations.draws import uniform


class Factors(NamedTuple):
    """One number a sample."""

    factors: Tensor  # (B,)


class RandomFactor(Augmentation):
    """An adjustment by a factor from U(low, high), for every sample; a subclass writes `apply`."""

    def __init__(self, low: float, high: float) -> None:
        """Takes the range of the factor; 1 is the identity.

        Args:
            low: At least 0.
            high: At least `low`.

        Raises:
            ValueError: If the range is empty or negative.
        """
        if not 0.0 <= low <= high:
            raise ValueError(f"factors need 0 <= low <= high, got low {low}, high {high}")
        self.low = low
        self.high = high

    def draw(self, shape: Shape, generator: torch.Generator) -> Factors:
        """Draws the factors."""
        return Factors(uniform(shape[0], self.low, self.high, generator))

    @abstractmethod
    def apply(self, images: Tensor, parameters: Factors) -> Tensor:
        """Applies the adjustment."""


class RandomBrightness(RandomFactor):
    """`adjust_brightness` by a random factor."""

    def apply(self, images: Tensor, parameters: Factors) -> Tensor:
        """Brightens or darkens every sample."""
        return adjust_brightness(images, parameters.factors)


class RandomContrast(RandomFactor):
    """`adjust_contrast` by a random factor."""

    def apply(self, images: Tensor, parameters: Factors) -> Tensor:
        """Changes the contrast of every sample."""
        return adjust_contrast(images, parameters.factors)


class RandomSaturation(RandomFactor):
    """`adjust_saturation` by a random factor (AutoAugment's "colour")."""

    def apply(self, images: Tensor, parameters: Factors) -> Tensor:
        """Changes the saturation of every sample."""
        return adjust_saturation(images, parameters.factors)


class GrayscaleParameters(NamedTuple):
    """Who becomes gray."""

    selected: Tensor  # (B,) bool


class RandomGrayscale(Augmentation):
    """`to_grayscale` for each sample with probability `p`."""

    def __init__(self, p: float) -> None:
        """Args: p: Probability, in [0, 1]."""
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p is a probability in [0, 1], got {p}")
        self.p = p

    def draw(self, shape: Shape, generator: torch.Generator) -> GrayscaleParameters:
        """Draws who becomes gray."""
        return GrayscaleParameters(torch.rand(shape[0], generator=generator) < self.p)

    def apply(self, images: Tensor, parameters: GrayscaleParameters) -> Tensor:
        """Turns the selected samples gray; leaves images without three channels as they are."""
        if images.shape[1] != 3 or not parameters.selected.any():
            return images
        return self.apply_(images.clone(), parameters)

    def apply_(self, images: Tensor, parameters: GrayscaleParameters) -> Tensor:
        """Turns the selected samples gray in place."""
        index = parameters.selected.nonzero().flatten()
        if images.shape[1] != 3 or len(index) == 0:
            return images
        index = index.to(images.device, non_blocking=True)
        return put_samples(images, index, to_grayscale(images.index_select(0, index)))


class KeepOneChannel(Augmentation):
    """Leaves one of three colour channels, another one for each sample; the others are black.

    The "color dropping" of CPC v2 (section 3), by which patches cannot be matched by the fringes
    that a lens puts round edges. Images with any other number of channels stay as they are.
    """

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws which channel stays, `[B]`, int64, uniform."""
        return torch.randint(3, (shape[0],), generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Blackens the other two channels."""
        if images.shape[1] != 3:
            return images
        kept = torch.nn.functional.one_hot(parameters, 3).to(images.device, non_blocking=True)
        return images * kept[:, :, None, None]


class KeptChannels(NamedTuple):
    """Which channel of a sample stays, and what the others show."""

    kept: Tensor  # (B,) int64
    noise: Tensor  # (B, 3, H, W), on the scale of the images


class ReplaceChannels(Augmentation):
    """Leaves one of three colour channels, another one for each sample; the others become noise.

    The "color dropping" of Doersch, Gupta and Efros, 2015, arXiv 1505.05192, section 3.1: a lens
    bends colours differently, the more the further from the centre, so that fringes round edges
    tell where in the image a patch lies. The others lie at the mean of the channel that stays, and
    vary by half a grey level. Images with any other number of channels stay as they are.
    """

    def draw(self, shape: Shape, generator: torch.Generator) -> KeptChannels:
        """Draws which channel stays, and the noise."""
        kept = torch.randint(3, (shape[0],), generator=generator)
        if shape[1] != 3:
            return KeptChannels(kept, torch.empty(shape[0], 0))
        return KeptChannels(kept, (torch.rand(shape, generator=generator) - 0.5) / 255.0)

    def apply(self, images: Tensor, parameters: KeptChannels) -> Tensor:
        """Replaces the other two channels."""
        if images.shape[1] != 3:
            return images
        stays = torch.nn.functional.one_hot(parameters.kept, 3).bool()
        stays = stays.to(images.device, non_blocking=True)[:, :, None, None]
        means = images.mean(dim=(2, 3), keepdim=True)  # (B, 3, 1, 1)
        mean = torch.where(stays, means, 0.0).sum(dim=1, keepdim=True)
        noise = parameters.noise.to(images, non_blocking=True)
        return torch.where(stays, images, (mean + noise).clamp(0.0, 1.0))


class WithoutGreenMagenta(Augmentation):
    """Projects colours onto the plane that tells no green from magenta; draws nothing.

    The "projection" of Doersch, Gupta and Efros, 2015, arXiv 1505.05192, section 3.1, along
    (-1, 2, -1): fringes of lenses are mostly of these two colours. Contrast becomes three quarters
    of what it was, about 0.5, which keeps all colours in [0, 1]. Images with any other number of
    channels stay as they are.
    """

    def draw(self, shape: Shape, generator: torch.Generator) -> None:
        """Draws nothing."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Projects."""
        if images.shape[1] != 3:
            return images
        red, green, blue = images.unbind(1)
        excess = (2.0 * green - red - blue) / 6.0  # (B, H, W)
        projected = torch.stack((red + excess, green - 2.0 * excess, blue + excess), dim=1)
        return (projected - 0.5) * 0.75 + 0.5
