"""The strong recipe of CPC v2, and its pool of primitives.

Henaff et al., 2019, "Data-Efficient Image Recognition with Contrastive Predictive Coding", arXiv
1905.09272, describe it in a sentence each: two random primitives of AutoAugment (Cubuk et al.,
2018, arXiv 1805.09501), elastic deformation, shear, change of the colour histogram, colour jitter,
grayscale. Release 0.0.6 of this package simplified it: three primitives out of thirteen, elastic
deformation, grayscale. That is the default here; `paper=True` is the original.

Differences of the default from 0.0.6: the four enhancers draw their factor from U(0.1, 1.9), as
AutoAugment does, instead of U(0, 1), which only ever weakens; elastic deformation is relative to
the size of the image. Of AutoAugment's sixteen primitives the one that blends in another image of
the batch is left out: a view shows one image.

Channels: with any other number than three, saturation and grayscale leave images as they are.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply, Shape
from super_selfish.augmentations.choice import RandomChoice
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.crops import RandomHorizontalFlip
from super_selfish.augmentations.elastic import RandomElastic
from super_selfish.augmentations.erasing import RandomErasing
from super_selfish.augmentations.geometry import (
    RandomAffine,
    RandomRotation,
    RandomShear,
    RandomTranslation,
)
from super_selfish.augmentations.random_color import (
    RandomBrightness,
    RandomContrast,
    RandomGrayscale,
    RandomSaturation,
)
from super_selfish.augmentations.resampling import resize
from super_selfish.augmentations.tone import (
    AutoContrast,
    Equalize,
    Invert,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)

Span = tuple[float, float]  # lowest and highest value


class Resize(Augmentation):
    """Brings images, as stacked, to a size, and to float in [0, 1]; draws nothing."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Args: size: (height, width) in pixels."""
        self.size = size

    def draw(self, shape: Shape, generator: torch.Generator) -> None:
        """Draws nothing."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Resizes `[B, C, H, W]`, uint8, uint16 or float, unless it has the size already."""
        return resize(images, self.size)

    def output_shape(self, shape: Shape) -> Shape:
        """The size asked for."""
        return (*shape[:2], *self.size)


def cpc_primitives(
    *,
    rotation: float = 30.0,
    shear: float = 30.0,
    translation: float = 0.3,
    thresholds: Span = (128 / 255, 128 / 255),
    bits: tuple[int, int] = (5, 8),
    factors: Span = (0.1, 1.9),  # AutoAugment; 0.0.6: (0, 1)
    erasing_area: Span = (0.02, 0.33),
    erasing_ratio: Span = (0.3, 3.3),
) -> tuple[Augmentation, ...]:
    """The thirteen primitives of release 0.0.6.

    Args:
        rotation: Largest angle, degrees.
        shear: Largest shear along x, degrees.
        translation: Largest shift, fraction of the side, along both axes.
        thresholds: Of solarize, in [0, 1].
        bits: That posterize keeps, both ends included.
        factors: Of saturation, brightness, contrast and sharpness; 1 changes nothing.
        erasing_area: Of the erased rectangle, fraction of the image's.
        erasing_ratio: Of the erased rectangle, height / width.

    Returns:
        Thirteen augmentations that keep the shape.
    """
    return (
        RandomRotation(rotation),
        RandomShear(shear),
        RandomTranslation(translation),
        AutoContrast(),
        Invert(),
        Equalize(),
        RandomSolarize(*thresholds),
        RandomPosterize(*bits),
        RandomSaturation(*factors),
        RandomBrightness(*factors),
        RandomContrast(*factors),
        RandomSharpness(*factors),
        RandomErasing(erasing_area, erasing_ratio),
    )


def autoaugment_primitives(
    *,
    rotation: float = 30.0,
    slope: float = 0.3,
    translation: float = 0.45,
    thresholds: Span = (0.0, 1.0),
    bits: tuple[int, int] = (4, 8),
    factors: Span = (0.1, 1.9),
    cutout: float = 0.18,
) -> tuple[Augmentation, ...]:
    """The primitives of AutoAugment that need no second image, with its ranges.

    Args:
        rotation: Largest angle, degrees.
        slope: Largest shear, pixels a pixel; along x and along y are two primitives.
        translation: Largest shift, fraction of the side; along x and along y are two primitives.
        thresholds: Of solarize, in [0, 1].
        bits: That posterize keeps, both ends included.
        factors: Of saturation, brightness, contrast and sharpness; 1 changes nothing.
        cutout: Largest side of the erased square, fraction of the image's.

    Returns:
        Fifteen augmentations that keep the shape.
    """
    degrees = math.degrees(math.atan(slope))
    return (
        RandomShear(degrees),
        RandomShear(0.0, degrees),
        RandomTranslation(translation, 0.0),
        RandomTranslation(0.0, translation),
        RandomRotation(rotation),
        AutoContrast(),
        Invert(),
        Equalize(),
        RandomSolarize(*thresholds),
        RandomPosterize(*bits),
        RandomSaturation(*factors),
        RandomBrightness(*factors),
        RandomContrast(*factors),
        RandomSharpness(*factors),
        RandomErasing((0.0, cutout**2), (1.0, 1.0)),
    )


def cpc_v2(
    size: tuple[int, int],
    *,
    count: int | None = None,
    primitives: Sequence[Augmentation] | None = None,
    elastic_sigma: float = 10.0,
    elastic_points: int = 3,
    p_elastic: float = 0.2,
    p_grayscale: float = 0.25,
    paper: bool = False,
) -> Augmentation:
    """A view of CPC v2, from images of any size as they are stacked.

    Args:
        size: (height, width) of the view in pixels.
        count: Primitives a view, drawn independently, so one may come twice. `None`: 3, in the
            paper 2.
        primitives: What is drawn from. `None`: `cpc_primitives()`, in the paper
            `autoaugment_primitives()`; both take every range as an argument.
        elastic_sigma: Of the displacements of control points, in pixels of a 225 pixel image.
        elastic_points: Control points a side.
        p_elastic: Probability of elastic deformation (in the paper with shear).
        p_grayscale: Probability of grayscale.
        paper: The recipe of the paper: two primitives; with probability `p_elastic` each, elastic
            deformation together with shear, and a change of the colour histogram (equalized or
            stretched); with 0.8 Inception's colour jitter; grayscale; a flip. The paper also
            drops colour channels of every patch, which is left to the algorithm that cuts patches.

    Returns:
        An augmentation that takes `[B, C, H, W]`, uint8, uint16 or float in [0, 1], and gives
        float in [0, 1] of `size`.

    Raises:
        ValueError: If the count is negative or a probability none.
    """
    if count is None:
        count = 2 if paper else 3
    if count < 0:
        raise ValueError(f"count must be >= 0, got {count}")
    if primitives is None:
        primitives = autoaugment_primitives() if paper else cpc_primitives()
    drawn = [Resize(size), *[RandomChoice(primitives)] * count]
    if not paper:
        elastic = RandomApply(RandomElastic(elastic_sigma, elastic_points), p_elastic)
        return Compose([*drawn, elastic, RandomGrayscale(p_grayscale)])
    # AutoAugment's slope of 0.3: the paper names no range.
    bend = RandomAffine(
        shear=math.degrees(math.atan(0.3)),
        elastic_sigma=elastic_sigma,
        elastic_points=elastic_points,
    )
    # Szegedy et al., 2015, arXiv 1512.00567: the ranges of the released preprocessing.
    jitter = ColorJitter(32 / 255, 0.5, 0.5, hue=0.2, p=0.8, p_grayscale=p_grayscale)
    histogram = RandomChoice([Equalize(), AutoContrast()])
    steps = [RandomApply(bend, p_elastic), RandomApply(histogram, p_elastic), jitter]
    return Compose([*drawn, *steps, RandomHorizontalFlip(0.5)])
