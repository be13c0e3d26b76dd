"""Objects that have moved into a picture: cut from another one, with soft edges.

Of stills nobody knows what moves, so what stands out in another image is put where it was not: a
thing, with its own outline and colours. A network that is to tell it from what was there before has
to know things. Parts with drawn outlines, in the colours of their place, can be told by their edges
alone, which teaches less: they come only where nothing stands out.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Shape

SOFT = 0.03  # width of the edge, as a fraction of the shorter side
WAVES = 4  # cells a side of the noise that bends a drawn outline
GRID = 32  # pixels a side on which is seen what stands out
LEAST_DISTANCE = 0.05  # of colours in [0, 1]: what differs less from the border does not stand out
LEAST_SHARE, LARGEST_SHARE = 0.02, 0.6  # of the image, that an object covers


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

    What stands out from the border of its image is an object, and comes as it is. Where nothing
    does, or nearly all, a part with a drawn outline comes instead, in the colours of its place.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        objects: What to cut and where to put it.

    Returns:
        The images with objects, and how much of each pixel they cover, `[B, 1, H, W]`.
    """
    donors = images[objects.donor.to(images.device)]
    outlines = standing_out(donors)
    size = (images.shape[-2], images.shape[-1])
    share = outlines.mean(dim=(1, 2, 3), keepdim=True)
    is_object = (share > LEAST_SHARE) & (share < LARGEST_SHARE)
    donors, outlines = _moved(donors, outlines, objects.shift.to(images.device))
    drawn = object_masks(objects, size, images.device)
    masks = torch.where(is_object, outlines, drawn)
    donors = torch.where(is_object, donors, _in_colours_of(donors, images, drawn))
    return images + masks * (donors - images), masks


def standing_out(images: Tensor) -> Tensor:
    """How much of each pixel belongs to what has other colours than the border of its image.

    The distance of each pixel's colour to the nearest at the border, less towards the border: what
    has 0.6 of the largest belongs to it, what has 0.3 does not. Seen on at most `GRID` pixels a
    side.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].

    Returns:
        `[B, 1, H, W]` in [0, 1], soft at the outline; 0 in images of one colour.
    """
    height, width = images.shape[-2:]
    grid = (min(height, GRID), min(width, GRID))
    small = F.avg_pool2d(F.adaptive_avg_pool2d(images, grid), 3, stride=1, padding=1,
                         count_include_pad=False)  # fmt: skip
    rings = (small[..., :2, :], small[..., -2:, :], small[..., :2], small[..., -2:])
    border = torch.cat([ring.flatten(2) for ring in rings], dim=2)[..., ::4]
    distance = torch.cdist(small.flatten(2).mT, border.mT).amin(dim=2).unflatten(1, (1, *grid))
    rows, columns = (torch.linspace(-1, 1, side, device=images.device) for side in grid)
    near = (-(rows[:, None].square() + columns.square()) / 0.7).exp()
    stands = F.avg_pool2d(distance * near, 5, stride=1, padding=2, count_include_pad=False)
    most = stands.amax(dim=(2, 3), keepdim=True).clamp_min(LEAST_DISTANCE)
    soft = ((stands / most - 0.3) / 0.3).clamp(0, 1)
    return F.interpolate(soft, size=(height, width), mode="bilinear", align_corners=False)


def _moved(images: Tensor, masks: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Images from further away, by whole pixels, around the edges; of masks nothing comes around.

    Args:
        images: `[B, C, H, W]`.
        masks: `[B, 1, H, W]`.
        shift: `[B, 2]` rows and columns, as fractions of the shorter side.
    """
    height, width = images.shape[-2:]
    way = (shift * min(height, width)).round().long()
    rows = torch.arange(height, device=images.device) - way[:, :1]  # (B, H)
    columns = torch.arange(width, device=images.device) - way[:, 1:]
    each = torch.arange(len(images), device=images.device)[:, None, None]
    place = (each, slice(None), (rows % height)[:, :, None], (columns % width)[:, None, :])
    stays = ((rows >= 0) & (rows < height))[:, None, :, None]
    stays = stays & ((columns >= 0) & (columns < width))[:, None, None, :]
    moved, covers = (values[place].movedim(-1, 1) for values in (images, masks))
    return moved, covers * stays


def _in_colours_of(images: Tensor, place: Tensor, masks: Tensor) -> Tensor:
    """Images with the mean and spread, channel by channel, of what lies below a mask elsewhere."""
    total = masks.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)

    def mean_and_spread(values: Tensor) -> tuple[Tensor, Tensor]:
        mean = (masks * values).sum(dim=(2, 3), keepdim=True) / total
        variance = (masks * (values - mean).square()).sum(dim=(2, 3), keepdim=True) / total
        return mean, variance.sqrt()

    (own_mean, own), (mean, wanted) = mean_and_spread(images), mean_and_spread(place)
    # An object keeps half of its own contrast: a plain place would leave nothing of it.
    gain = (0.5 + 0.5 * wanted / own.clamp_min(1e-3)).clamp(max=2.0)
    return ((images - own_mean) * gain + mean).clamp(0, 1)
