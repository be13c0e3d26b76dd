"""What the algorithms share that part an image into lightness and colour.

`models` may not know of `augmentations`, where L*a*b* lives, so the conversion is handed to the
networks here, as a function.

Shapes: `B` images, `H, W` image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.lab import LAB_CENTER, LAB_SCALE, lab_to_rgb, rgb_to_lab
from super_selfish.data.collate import Batch, Collator
from super_selfish.models import build_backbone, build_normalize, untrained_twin
from super_selfish.models.color_split import (
    ColorToRGB,
    GrayToRGB,
    HalfBackbone,
    LabChannels,
    SplitBackbone,
)
from super_selfish.models.wrappers import without_processes
from super_selfish.supervisors.given_weights import Weights, give_weights
from super_selfish.training.history import Row

SHOWN_LIGHTNESS = 65.0  # L* at which people are shown colours that have none


class LabTargets(NamedTuple):
    """Images, and what every place of them looked like."""

    images: Tensor  # (B, 3, H, W) RGB in [0, 1]
    lab: Tensor  # (B, 3, h, w) L*a*b*


class LabCollator(Collator):
    """Augments each image, and averages its L*a*b* over the cells of a grid."""

    def __init__(self, augmentation: Augmentation, stride: int) -> None:
        """Takes what is done to images, and the side of a cell in pixels."""
        super().__init__()
        self.augmentation = augmentation
        self.stride = stride

    def augment(self, batch: Batch, generator: torch.Generator) -> LabTargets:
        """Makes the images and their targets."""
        images = self.augmentation(batch.images, generator)
        # In L*a*b* and before the bins: the mean of two bins' numbers would be a third colour.
        return LabTargets(images, F.avg_pool2d(rgb_to_lab(images), self.stride))


def unit_lab(images: Tensor) -> Tensor:
    """L*a*b*, each channel scaled so that its sRGB range becomes [0, 1].

    METHODS.md, section 1.3, scales to -1 ... 1. Every backbone here eats [0, 1], and those that
    normalise inside count on it, so it is shifted and halved.

    Args:
        images: `[B, 3, H, W]`, float RGB in [0, 1].

    Returns:
        `[B, 3, H, W]`, float32, under autocast too.
    """
    # Plain numbers instead of a tensor of constants: nothing is copied to the device at each step.
    channels = zip(rgb_to_lab(images).unbind(1), LAB_CENTER, LAB_SCALE, strict=True)
    scaled = [(value - (center - scale)) / (2 * scale) for value, center, scale in channels]
    return torch.stack(scaled, dim=1)


def split_backbone(
    backbone: nn.Module | str | None,
    image_size: tuple[int, int],
    normalize: Any,
    stem: str = "auto",
    weights: Weights = None,
) -> SplitBackbone:
    """Two networks for RGB images, one of which sees lightness and the other one colour.

    A name or None means two networks of that name, with one and with two input channels. A module
    eats RGB, so it sees lightness as a gray picture, and an untrained twin of it sees colour
    through a 1x1 convolution from two channels to three.

    Args:
        backbone: A network for three channels, the name of one, or None for an EfficientNet-B0.
        image_size: Height and width of the images, pixels.
        normalize: What a module wants done to its input: None, `"imagenet"` or `(mean, std)`.
        stem: As for `build_backbone`.
        weights: As for `give_weights`; of networks that are built here both get them.

    Returns:
        The networks.

    Raises:
        ValueError: If `normalize` is given for networks that are built here.
    """
    color = LabChannels(unit_lab, "color")
    lightness = lightness_backbone(backbone, image_size, normalize, stem, weights)
    if not isinstance(backbone, nn.Module):
        built = build_backbone(backbone, 2, image_size, stem)
        give_weights(built, weights)
        return SplitBackbone(lightness, HalfBackbone(color, built))
    seed = int(torch.randint(2**62, ()))  # as all initial weights, from torch's global stream
    twin = untrained_twin(lightness.network, seed).requires_grad_(True)
    return SplitBackbone(
        lightness,
        HalfBackbone(nn.Sequential(color, ColorToRGB(), build_normalize(normalize, 3)), twin),
    )


def lightness_backbone(
    backbone: nn.Module | str | None,
    image_size: tuple[int, int],
    normalize: Any = None,
    stem: str = "auto",
    weights: Weights = None,
) -> HalfBackbone:
    """A network for RGB images that sees their lightness alone.

    A name or None means a network of that name with one input channel. A module eats RGB, so it
    sees lightness as a gray picture.

    Args:
        backbone: A network for three channels, the name of one, or None for an EfficientNet-B0.
        image_size: Height and width of the images, pixels.
        normalize: What a module wants done to its input: None, `"imagenet"` or `(mean, std)`.
        stem: As for `build_backbone`.
        weights: As for `give_weights`.

    Returns:
        The network.

    Raises:
        ValueError: If `normalize` is given for a network that is built here.
    """
    lightness = LabChannels(unit_lab, "lightness")
    if isinstance(backbone, nn.Module):
        give_weights(backbone, weights)
        gray = nn.Sequential(lightness, GrayToRGB(), build_normalize(normalize, 3))
        return HalfBackbone(gray, without_processes(backbone))
    if normalize is not None:
        raise ValueError(
            "normalize= is for a network of your own, which eats RGB: networks that are built "
            "by name see L*a*b* in [0, 1]; leave it out"
        )
    built = build_backbone(backbone, 1, image_size, stem)
    give_weights(built, weights)
    return HalfBackbone(lightness, built)


def require_color(algorithm: str, in_channels: int) -> None:
    """Refuses images without colour.

    Args:
        algorithm: Name of the class, for the message.
        in_channels: Channels of the images.

    Raises:
        ValueError: If there are not three.
    """
    if in_channels != 3:
        raise ValueError(
            f"{algorithm} needs colour: RGB images of 3 channels, got {in_channels}; for such "
            "images choose an algorithm that does not part lightness from colour"
        )


def color_spread(images: Tensor) -> Tensor:
    """How much the colours of images differ; 0 if all are gray.

    Args:
        images: `[B, 3, H, W]`, RGB in [0, 1].

    Returns:
        A scalar: standard deviation of red - green and of yellow - blue, their mean.
    """
    red, green, blue = images.detach().float().unbind(1)
    return ((red - green).std() + ((red + green) / 2 - blue).std()) / 2


def gray_verdict(row: Row) -> str | None:
    """What a health check says of gray pictures that are stored as RGB.

    Args:
        row: An epoch, with `color_spread`.

    Returns:
        A sentence, or None.
    """
    if row["color_spread"] > 0.01:  # two and a half of 255 levels: below, only rounding is left
        return None
    return (
        f"the images hold hardly any colour (it varies by {row['color_spread']:.4f} of 1), so "
        "there is nothing to predict: choose an algorithm that does not need it, such as rotate"
    )


def as_gray(lightness: Tensor) -> Tensor:
    """Lightness `[B, 1, H, W]` in units of L* as gray RGB `[B, 3, H, W]`."""
    return lab_to_rgb(torch.cat([lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1)], 1))


def as_color(color: Tensor) -> Tensor:
    """Colour a* and b* `[B, 2, H, W]` as RGB `[B, 3, H, W]` of the same lightness everywhere."""
    flat = torch.full_like(color[:, :1], SHOWN_LIGHTNESS)
    return lab_to_rgb(torch.cat([flat, color], dim=1))


def colors_alone(images: Tensor) -> Tensor:
    """RGB images `[B, 3, H, W]` with the same lightness everywhere."""
    return as_color(rgb_to_lab(images)[:, 1:])


def lightness_alone(images: Tensor) -> Tensor:
    """RGB images `[B, 3, H, W]` in gray."""
    return as_gray(rgb_to_lab(images)[:, :1])
