"""All recipes, by name: each makes of an image as it is stacked, of any size, a view of `size`.

`RECIPES` has those that an `augmentation=` argument takes by name; `recipe` makes an augmentation
of whatever such an argument may be.

Sources for the numbers: the authors' released code. Differences that hold for all of them:

- A random crop at the size of the image takes a flip with it, so the flip comes first instead of
  last; the two commute with everything that follows.
- Colours are float from the first operation to the last, each of which ends in [0, 1] as theirs do;
  PIL rounds to 8 bits after each.
- Blur radii are in pixels at 224 and shrink with the image; images of at most 32 pixels are not
  blurred, as in SimCLR's and MoCo's own recipes for CIFAR.

Channels: with any other number than three, what needs colours (saturation, hue, grayscale, dropped
channels) leaves images as they are.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.choice import RandomChoice
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.elastic import RandomElastic
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.augmentations.geometry import RandomAffine
from super_selfish.augmentations.low_resolution import LowResolution
from super_selfish.augmentations.primitives import autoaugment_primitives, cpc_primitives
from super_selfish.augmentations.random_color import (
    KeepOneChannel,
    RandomGrayscale,
    ReplaceChannels,
    WithoutGreenMagenta,
)
from super_selfish.augmentations.resampling import (
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)
from super_selfish.augmentations.tone import (
    AutoContrast,
    Equalize,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)
from super_selfish.augmentations.torchvision_adapter import adapted

Size = tuple[int, int]
Recipe = Callable[[Size], Augmentation]
RecipeLike = str | Augmentation | Callable[[Tensor], Tensor]  # what an `augmentation=` takes

NATIVE_SIDE = 224  # pixels for which the papers give their blur
LEAST_PATCH = 10  # pixels a side that are left of a patch: the authors' code of context prediction
SMALL_SIDE = 32  # pixels up to which images are not blurred
PIRL_TILE = 64 / 85  # of a cell's side: tiles of 64 pixels, somewhere in the cells of a crop of 255


def cpc_v2(
    size: Size,
    *,
    count: int | None = None,
    primitives: Sequence[Augmentation] | None = None,
    elastic_sigma: float = 10.0,
    elastic_points: int = 3,
    p_elastic: float = 0.2,
    p_grayscale: float = 0.25,
    paper: bool = False,
) -> Augmentation:
    """A view of CPC v2 (Henaff et al., 2019, arXiv 1905.09272), who need a sentence an operation.

    Release 0.0.6 of this package simplified it to three primitives out of thirteen, elastic
    deformation, relative here to the size of the image, and grayscale. That is the default;
    `paper=True` is the original.

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
            drops colour channels of every patch: `cpc_paper`.

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


def cpc_paper(size: Size) -> Augmentation:
    """A patch of CPC v2 as in the paper: `cpc_v2(paper=True)`, then one colour channel is kept.

    Args:
        size: (height, width) of the patch in pixels.
    """
    return Compose([cpc_v2(size, paper=True), KeepOneChannel()])


def instance_discrimination(size: Size) -> Augmentation:
    """A view of instance discrimination (Wu et al., 2018, arXiv 1805.01978; authors' code).

    Args:
        size: (height, width) of the view in pixels.

    Returns:
        Random resized crop of 20 to 100 % of the area, flip, grayscale with probability 0.2,
        colour jitter (0.4, 0.4, 0.4, 0.4).
    """
    jitter = ColorJitter(0.4, 0.4, 0.4, hue=0.4, p_grayscale=0.2, grayscale_first=True)
    return Compose([RandomResizedCrop(size, scale=(0.2, 1.0), p_flip=0.5), jitter])


def cmc(size: Size) -> Augmentation:
    """A view of CMC (Tian, Krishnan, Isola, 2019, arXiv 1906.05849; authors' code).

    Args:
        size: (height, width) of the view in pixels.

    Returns:
        Random resized crop of 20 to 100 % of the area, flip.
    """
    return RandomResizedCrop(size, scale=(0.2, 1.0), p_flip=0.5)


def mae(size: Size) -> Augmentation:
    """What MAE cuts into patches (He et al., 2021, arXiv 2111.06377, section 4; authors' code).

    Args:
        size: (height, width) of the images in pixels.

    Returns:
        Random bicubic resized crop of 20 to 100 % of the area, flip: "cropping-only augmentation".
    """
    return RandomResizedCrop(size, scale=(0.2, 1.0), mode="bicubic", p_flip=0.5)


def split_brain(size: Size) -> Augmentation:
    """What a split-brain autoencoder sees; Zhang et al., 2017, crop half of the area.

    Args:
        size: (height, width) of the view in pixels.

    Returns:
        Random resized crop of 50 to 100 % of the area, flip.
    """
    return RandomResizedCrop(size, scale=(0.5, 1.0), p_flip=0.5)


def rotate(size: Size) -> Augmentation:
    """What RotateNet turns (Gidaris et al., 2018, arXiv 1803.07728; authors' code for CIFAR).

    Args:
        size: (height, width) of the images in pixels.

    Returns:
        A square of the shorter side, at a random place of the image after an eighth of that side
        is added all around in black; flip.
    """
    side = min(size)
    # "RandomCrop 32 pad 4" of the authors' CIFAR recipe, relative to the side.
    crop = RandomCrop(side, padding=side // 8)
    return Compose([Resize(size), crop, RandomHorizontalFlip(0.5)])


def mild_views(size: Size) -> Augmentation:
    """Views that show the same thing: what a good backbone should not mind.

    Args:
        size: (height, width) of the images in pixels.

    Returns:
        Random resized crop of 50 to 100 % of the area, flip, colour jitter (0.2, 0.2, 0.2, 0.05).
    """
    crop = RandomResizedCrop(size, scale=(0.5, 1.0), p_flip=0.5)
    return Compose([crop, ColorJitter(0.2, 0.2, 0.2, hue=0.05)])


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


def swav(size: Size, scale: tuple[float, float]) -> Augmentation:
    """A crop of SwAV (Caron et al., 2020, arXiv 2006.09882, appendix A, and the authors' code).

    Args:
        size: (height, width) of the crop in pixels.
        scale: Share of the area of the image; (0.14, 1) for large crops, (0.05, 0.14) for small.

    Returns:
        Random resized crop of that area, flip, colour jitter (0.8, 0.8, 0.8, 0.2) with probability
        0.8, grayscale with 0.2, blur with 0.5.
    """
    jitter = ColorJitter(0.8, 0.8, 0.8, hue=0.2, p=0.8, p_grayscale=0.2)
    return Compose([RandomResizedCrop(size, scale=scale, p_flip=0.5), jitter, *blur(size, 0.5)])


def lejepa(
    size: Size,
    scale: tuple[float, float],
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
) -> Augmentation:
    """A crop of LeJEPA (Balestriero and LeCun, 2025, arXiv 2511.08544; authors' code).

    Args:
        size: (height, width) of the crop in pixels.
        scale: Share of the area of the image; (0.3, 1) for large crops, (0.05, 0.3) for small ones,
            (0.08, 1) in the authors' minimal example.
        jitter: Of brightness, contrast, saturation and hue; (0.8, 0.8, 0.8, 0.2) in the minimal
            example.

    Returns:
        Random resized crop of that area, flip, colour jitter with probability 0.8, grayscale with
        0.2, blur with 0.5, solarisation with 0.2.
    """
    brightness, contrast, saturation, hue = jitter
    colors = ColorJitter(brightness, contrast, saturation, hue=hue, p=0.8, p_grayscale=0.2)
    solarize = RandomApply(RandomSolarize(0.5, 0.5), 0.2)
    crop = RandomResizedCrop(size, scale=scale, p_flip=0.5)
    return Compose([crop, colors, *blur(size, 0.5), solarize])


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
    blurred, solarised = (1.0, 0.0) if view == 1 else (0.1, 0.2)
    return _bicubic_view(size, (0.08, 1.0), blurred, solarised)


def dino(size: Size, scale: tuple[float, float], p_blur: float, p_solarize: float) -> Augmentation:
    """A crop of DINO (Caron et al., 2021, arXiv 2104.14294, and the authors' code).

    Args:
        size: (height, width) of the crop in pixels.
        scale: Share of the area of the image; (0.4, 1) for large crops, (0.05, 0.4) for small.
        p_blur: 1 for the first large crop, 0.1 for the second, 0.5 for small ones.
        p_solarize: 0.2 for the second large crop, else 0.

    Returns:
        Random bicubic resized crop of that area, flip, colour jitter (0.4, 0.4, 0.2, 0.1) with
        probability 0.8, grayscale with 0.2, blur, solarisation.
    """
    return _bicubic_view(size, scale, p_blur, p_solarize)


def _bicubic_view(
    size: Size, scale: tuple[float, float], p_blur: float, p_solarize: float
) -> Augmentation:
    """What BYOL and DINO share."""
    steps: list[Augmentation] = [
        RandomResizedCrop(size, scale=scale, mode="bicubic", p_flip=0.5),
        ColorJitter(0.4, 0.4, 0.2, hue=0.1, p=0.8, p_grayscale=0.2),
        *blur(size, p_blur),
    ]
    if p_solarize > 0:
        steps.append(RandomApply(RandomSolarize(0.5, 0.5), p_solarize))
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


def aet(size: Size) -> Augmentation:
    """What AET transforms (Zhang et al., 2019, arXiv 1901.04596; authors' code for CIFAR).

    Args:
        size: (height, width) of the images in pixels.

    Returns:
        An image of that size, at a random place after an eighth of the shorter side is added all
        around in black; flip.
    """
    crop = RandomCrop(size, padding=min(size) // 8)  # "RandomCrop 32 pad 4"
    return Compose([Resize(size), crop, RandomHorizontalFlip(0.5)])


def counting(size: Size, p_grayscale: float = 0.6) -> Augmentation:
    """What is counted in (Noroozi, Pirsiavash, Favaro, 2017, arXiv 1708.06734).

    Args:
        size: (height, width) of the view in pixels.
        p_grayscale: Probability that it is gray.

    Returns:
        Random resized crop of 80 to 100 % of the area (the paper cuts 228 of 256 pixels), flip,
        grayscale.
    """
    crop = RandomResizedCrop(size, scale=(0.8, 1.0), p_flip=0.5)
    return Compose([crop, RandomGrayscale(p_grayscale)])


# What becomes of the colours of a patch whose place is asked for.
PATCH_COLORS: Mapping[str, Callable[[], list[Augmentation]]] = {
    "drop": lambda: [ReplaceChannels()],
    "project": lambda: [WithoutGreenMagenta()],
    "keep": lambda: [],
}


def context_patch(p_low_resolution: float = 0.33, colors: str = "drop") -> Augmentation:
    """A patch whose place is asked for, of any size; keeps it.

    Doersch, Gupta and Efros, 2015, arXiv 1505.05192, section 3.1, and the authors' code.

    Args:
        p_low_resolution: Probability that a patch is shrunk and enlarged again. At least ten pixels
            a side are left, as in the paper, also of patches that are smaller than its 96: of an
            eighth of a small one nothing could be told.
        colors: `"drop"`: one colour channel is kept, the others become noise; `"project"`: green
            is not told from magenta; `"keep"`: nothing is done.

    Raises:
        ValueError: If there are no such colours, or it is no probability.
    """
    if colors not in PATCH_COLORS:
        raise ValueError(f"colors is one of {', '.join(PATCH_COLORS)}, got {colors!r}")
    smaller = LowResolution(least=LEAST_PATCH)
    return Compose([RandomApply(smaller, p_low_resolution), *PATCH_COLORS[colors]()])


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


def pirl_puzzle(size: Size) -> Augmentation:
    """What PIRL's puzzles are cut from: larger than the plain view, as 255 is than 225.

    Args:
        size: (height, width) of the plain view in pixels.

    Returns:
        Random resized crop of 60 to 100 % of the area, without a flip.
    """
    larger = (round(size[0] * 255 / 225), round(size[1] * 255 / 225))
    return RandomResizedCrop(larger, scale=(0.6, 1.0))


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


def _kept_size(tile: Callable[[], Augmentation], size: Size) -> Augmentation:
    return Compose([Resize(size), tile()])


RECIPES: Mapping[str, Recipe] = {
    "aet": aet,
    "byol-1": partial(byol, view=1),
    "byol-2": partial(byol, view=2),
    "cmc": cmc,
    "counting": counting,
    "context-patch": partial(_kept_size, context_patch),
    "cpc": cpc_v2,
    "cpc-paper": cpc_paper,
    "dino-1": partial(dino, scale=(0.4, 1.0), p_blur=1.0, p_solarize=0.0),
    "dino-2": partial(dino, scale=(0.4, 1.0), p_blur=0.1, p_solarize=0.2),
    "dino-small": partial(dino, scale=(0.05, 0.4), p_blur=0.5, p_solarize=0.0),
    "instance": instance_discrimination,
    "jigsaw-tile": partial(_kept_size, jigsaw_tile),
    "lejepa-large": partial(lejepa, scale=(0.3, 1.0)),
    "lejepa-small": partial(lejepa, scale=(0.05, 0.3)),
    "lejepa-whole": partial(lejepa, scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2)),
    "mae": mae,
    "mild": mild_views,
    "moco": moco_v2,
    "pirl": pirl,
    "pirl-tile": partial(_kept_size, pirl_tile),
    "rotate": rotate,
    "simclr": simclr,
    "simclr-small": partial(simclr, strength=0.5),
    "split-brain": split_brain,
    "swav-large": partial(swav, scale=(0.14, 1.0)),
    "swav-small": partial(swav, scale=(0.05, 0.14)),
}
"""Recipes by name; each is called with (height, width) in pixels."""


def recipe(
    augmentation: RecipeLike, size: Size, recipes: Mapping[str, Recipe] = RECIPES
) -> Augmentation:
    """The augmentation that an `augmentation=` argument means.

    Args:
        augmentation: The name of a recipe; an `Augmentation`; transforms of torchvision, which
            `FromTorchvision` adapts; or any function of a batch, adapted by `FromFunction`.
        size: (height, width) in pixels of the view. A recipe by name makes views of it; anything
            else gets images of it, and has to see for itself what size it makes.
        recipes: What the names mean.

    Returns:
        An augmentation that takes images as stacked: uint8, uint16 or float in [0, 1].

    Raises:
        ValueError: If the name is unknown, or the transforms normalise.
        TypeError: If it is none of these.
    """
    if isinstance(augmentation, str):
        if augmentation not in recipes:
            near = difflib.get_close_matches(augmentation, recipes, n=1, cutoff=0.6)
            guess = f': did you mean "{near[0]}"?' if near else ""
            raise ValueError(
                f"augmentation is one of {', '.join(sorted(recipes))}, an Augmentation, transforms "
                f"of torchvision or a function of a batch, got {augmentation!r}{guess}"
            )
        return recipes[augmentation](size)
    return Compose([Resize(size), adapted(augmentation)])
