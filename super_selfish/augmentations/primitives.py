"""Pools of primitives: AutoAugment's, and the thirteen of release 0.0.6.

Henaff et al., 2019, "Data-Efficient Image Recognition with Contrastive Predictive Coding", arXiv
1905.09272, draw two random primitives of AutoAugment (Cubuk et al., 2018, arXiv 1805.09501).

Differences from 0.0.6: the four enhancers draw their factor from U(0.1, 1.9), as AutoAugment does,
instead of U(0, 1), which only ever weakens. Of AutoAugment's sixteen primitives the one that blends
in another image of the batch is left out: a view shows one image.

Channels: with any other number than three, saturation leaves images as they are.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

import math

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.erasing import RandomErasing
from super_selfish.augmentations.geometry import RandomRotation, RandomShear, RandomTranslation
from super_selfish.augmentations.random_color import (
    RandomBrightness,
    RandomContrast,
    RandomSaturation,
)
from super_selfish.augmentations.tone import (
    AutoContrast,
    Equalize,
    Invert,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)

Span = tuple[float, float]  # lowest and highest value


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
