"""Objects that have moved into a picture: cut from another one, with soft edges.

Of stills nobody knows what moves, so a part of another image is put where it was not. Its colours
are brought to those of the place, since otherwise they, or the edge, would give it away.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Shape

SOFT = 0.03  # width of the edge, as a fraction of the shorter side
WAVES = 4  # cells a side of the noise that bends the outline


class Objects(NamedTuple):
    """Where an object is cut out of which image, and where it goes."""

    donor: Tensor  # (B,) int64, position in the batch
    center: Tensor  # (B, 2) rows and columns, as fractions of the sides
    radii: Tensor  # (B, 2) as fractions of the shorter side
    waves: Tensor  # (B, 1, n, n) in [-1, 1], of the outline
    shift: Tensor  # (B, 2) rows and columns that it has come, as fractions of the shorter side


def draw_objects(shape: Shape, shift: tuple[float, float], generator: torch.Generator) -> Objects:
    """Draws an object for each image.

    Args:
        shape: `(B, C, H, W)`.
        shift: Least and largest way that it has come, as fractions of the shorter side.
        generator: CPU generator.
    """
    count = shape[0]
    low, high = shift
    step = torch.randint(1, max(2, count), (1,), generator=generator)
    donor = (torch.arange(count) + step) % count
    center = 0.1 + 0.8 * torch.rand(
        count, 2, generator=generator
    )  # anywhere: no place gives it away
    radii = 0.12 + 0.16 * torch.rand(count, 2, generator=generator)
    waves = 2 * torch.rand(count, 1, WAVES, WAVES, generator=generator) - 1
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    length = low + (high - low) * torch.rand(count, generator=generator)
    direction = torch.stack([angle.sin(), angle.cos()], dim=1)
    return Objects(donor, center, radii, waves, length[:, None] * direction)


def object_masks(objects: Objects, size: tuple[int, int], device: torch.device) -> Tensor:
    """How much of each pixel the objects cover, `[B, 1, H, W]` in [0, 1]; 0.5 at the outline."""
    height, width = size
    short = min(size)
    rows = (torch.arange(height, device=device) + 0.5) / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    center, radii = objects.center.to(device), objects.radii.to(device)
    down = (rows[None, :, None] - center[:, 0, None, None]) * height / short
    across = (columns[None, None, :] - center[:, 1, None, None]) * width / short
    distance = (
        (down / radii[:, 0, None, None]).square() + (across / radii[:, 1, None, None]).square()
    ).sqrt()
    waves = F.interpolate(objects.waves.to(device), size=size, mode="bicubic", align_corners=False)
    reach = radii.mean(dim=1)[:, None, None, None]
    inside = (1 + 0.3 * waves - distance[:, None]) * reach  # in sides, about the way to the outline
    return torch.sigmoid(4 * inside / SOFT)


def put_objects(images: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """Puts an object into each image.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        objects: What to cut and where to put it.

    Returns:
        The images with objects, and how much of each pixel they cover, `[B, 1, H, W]`.
    """
    masks = object_masks(objects, (images.shape[-2], images.shape[-1]), images.device)
    shift = objects.shift.to(images.device)
    donors = _moved(images[objects.donor.to(images.device)], shift)
    donors = _in_colours_of(donors, images, masks)
    return images + masks * (donors - images), masks


def _moved(images: Tensor, shift: Tensor) -> Tensor:
    """Images from further away, by whole pixels, around the edges."""
    short = min(images.shape[-2:])
    ways = (shift * short).round().long().tolist()
    return torch.stack([image.roll(way, (-2, -1)) for image, way in zip(images, ways, strict=True)])


def _in_colours_of(images: Tensor, place: Tensor, masks: Tensor) -> Tensor:
    """Images with the mean and spread, channel by channel, of what lies below a mask elsewhere."""
    total = masks.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)

    def mean_and_spread(values: Tensor) -> tuple[Tensor, Tensor]:
        mean = (masks * values).sum(dim=(2, 3), keepdim=True) / total
        variance = (masks * (values - mean).square()).sum(dim=(2, 3), keepdim=True) / total
        return mean, variance.sqrt()

    (own_mean, own), (mean, wanted) = mean_and_spread(images), mean_and_spread(place)
    # An object keeps half of its own contrast: a plain place would leave nothing of it.
    gain = (0.5 + 0.5 * wanted / own.clamp_min(1e-3)).clamp(0.25, 2.0)
    return ((images - own_mean) * gain + mean).clamp(0, 1)
