"""The papers' recipes, each from an image of any size to a view of `size`.

Sources for the numbers: the authors' released code. Differences that hold for all of them:

- A random crop at the size of the image takes a flip with it, so the flip comes first instead of
  last; the two commute with everything that follows.
- Colours are float from the first operation to the last, each of which ends in [0, 1] as theirs do;
  PIL rounds to 8 bits after each.
- Blur radii are in pixels at 224 and shrink with the image; images of at most 32 pixels are not
  blurred, as in SimCLR's and MoCo's own recipes for CIFAR.
"""

from __future__ import annotations

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.augmentations.random_color import RandomGrayscale
from super_selfish.augmentations.resampling import RandomHorizontalFlip, RandomResizedCrop
from super_selfish.augmentations.tone import (
    AutoContrast,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)

Size = tuple[int, int]

NATIVE_SIDE = 224  # pixels for which the papers give their blur
SMALL_SIDE = 32  # pixels up to which images are not blurred


def moco_v2(size: Size) -> Augmentation:
    """A view of MoCo v2 (Chen et al., 2020, arXiv 2003.04297, and the authors' code).

    Args:
        size: (height, width) of the view in pixels.

    Returns:
        Random resized crop of 20 to 100 % of the area, flip, colour jitter (0.4, 0.4, 0.4, 0.1)
        with probability 0.8, grayscale with 0.2, blur with 0.5.
    """
    return Compose(
        [
            RandomResizedCrop(size, scale=(0.2, 1.0), p_flip=0.5),
            ColorJitter(0.4, 0.4, 0.4, hue=0.1, p=0.8, p_grayscale=0.2),
            *blur(size, 0.5),
        ]
    )


def simclr(size: Size, strength: float = 1.0) -> Augmentation:
    """A view of SimCLR (Chen et al., 2020, arXiv 2002.05709, appendix A).

    Args:
        size: (height, width) of the view in pixels.
        strength: Of the colour jitter; 0.5 in the paper's recipe for CIFAR.

    Returns:
        Random resized crop of 8 to 100 % of the area, flip, colour jitter (0.8, 0.8, 0.8, 0.2)
        times `strength` with probability 0.8, grayscale with 0.2, blur with 0.5.
    """
    jitter = ColorJitter(
        0.8 * strength, 0.8 * strength, 0.8 * strength, hue=0.2 * strength, p=0.8, p_grayscale=0.2
    )
    return Compose(
        [RandomResizedCrop(size, scale=(0.08, 1.0), p_flip=0.5), jitter, *blur(size, 0.5)]
    )


def byol(size: Size, view: int) -> Augmentation:
    """A view of BYOL (Grill et al., 2020, arXiv 2006.07733, table 6).

    Args:
        size: (height, width) of the view in pixels.
        view: 1 or 2: always blurred and never solarised, or seldom blurred and sometimes solarised.

    Returns:
        Random bicubic resized crop of 8 to 100 % of the area, flip, colour jitter
        (0.4, 0.4, 0.2, 0.1) with probability 0.8, grayscale with 0.2, blur with 1 or 0.1,
        solarisation with 0 or 0.2.

    Raises:
        ValueError: If `view` is neither.
    """
    if view not in (1, 2):
        raise ValueError(f"view is 1 or 2, got {view}")
    steps: list[Augmentation] = [
        RandomResizedCrop(size, scale=(0.08, 1.0), mode="bicubic", p_flip=0.5),
        ColorJitter(0.4, 0.4, 0.2, hue=0.1, p=0.8, p_grayscale=0.2),
        *blur(size, 1.0 if view == 1 else 0.1),
    ]
    if view == 2:
        steps.append(RandomApply(RandomSolarize(0.5, 0.5), 0.2))
    return Compose(steps)


def jigsaw_tile(p_grayscale: float = 0.3) -> Augmentation:
    """A tile of a jigsaw puzzle, of any size; keeps it.

    Args:
        p_grayscale: Probability that a tile is gray (Noroozi and Favaro, 2016, arXiv 1603.09246,
            train on gray images in part, so that colour fringes do not tell the place).

    Returns:
        Colour jitter (0.4, 0.4, 0.4, 0.1), grayscale.
    """
    return ColorJitter(0.4, 0.4, 0.4, hue=0.1, p_grayscale=p_grayscale)


def pirl(size: Size) -> Augmentation:
    """The plain view of PIRL (Misra and van der Maaten, 2019, arXiv 1912.01991; authors' code).

    Args:
        size: (height, width) of the view in pixels.

    Returns:
        Random resized crop of 8 to 100 % of the area, flip, then the colours of `pirl_tile`.
    """
    return Compose([RandomResizedCrop(size, p_flip=0.5), *_pirl_colors()])


def pirl_tile() -> Augmentation:
    """A tile of PIRL's puzzle, of any size; keeps it.

    Returns:
        Flip, colour jitter (0.4, 0.4, 0.4, 0.2), with probability 0.66 posterisation to 4 to 8
        bits, sharpness 0.1 to 1.9, solarisation from any level on and autocontrast, all four one
        after the other; grayscale with 0.2.
    """
    return Compose([RandomHorizontalFlip(0.5), *_pirl_colors()])


def _pirl_colors() -> list[Augmentation]:
    photometric = Compose(
        [
            RandomPosterize(4, 8),
            RandomSharpness(0.1, 1.9),
            RandomSolarize(0.0, 1.0),
            AutoContrast(),
        ]
    )
    jitter = ColorJitter(0.4, 0.4, 0.4, hue=0.2)
    return [jitter, RandomApply(photometric, 0.66), RandomGrayscale(0.2)]


def blur(size: Size, p: float) -> list[Augmentation]:
    """Gaussian blur of the contrastive recipes, or nothing for small images.

    Args:
        size: (height, width) of the image in pixels.
        p: Probability.

    Returns:
        A list of one augmentation or none.
    """
    side = min(size)
    if side <= SMALL_SIDE:
        return []
    scale = side / NATIVE_SIDE
    return [RandomApply(RandomGaussianBlur((0.1 * scale, 2.0 * scale)), p)]
