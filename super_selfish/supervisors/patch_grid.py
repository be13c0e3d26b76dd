"""Half-overlapping patches of each image, each changed by itself: what CPC eats.

Shapes: `B` images, `C` channels, `n` patches a side, `p_h, p_w` patch, `N` negatives.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, to_unit_range
from super_selfish.augmentations.patches import overlapping_patches
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import picture
from super_selfish.models import feature_shape

FEWEST_PATCHES, MOST_PATCHES = 3, 7  # a side; 7: release 0.0.6
SMALLEST_IMAGE = 32  # pixels, that every backbone takes
SMALLEST_PATCH = 16  # pixels; METHODS.md 1.5, R5: 7 patches a side at 64, 3 at 32
FRAME = (0.82, 0.29, 0.36)  # red, about the accent of the sheets


class Patches(NamedTuple):
    """Patches of each image, row by row, and where negatives lie."""

    patches: Tensor  # (B, n * n, C, p_h, p_w)
    negatives: Tensor | None  # (B, n * n, N) int64, how many candidates after the positive, or all


class PatchCollator(Collator):
    """Cuts images into half-overlapping patches, and changes each patch by itself.

    How negatives are drawn, where not all candidates are: independently and uniformly, with
    replacement, among all patches of the batch but the positive; those of a target are the same
    in all directions and offsets that foretell it.
    """

    def __init__(self, grid: int, view: Augmentation, num_negatives: int | None) -> None:
        """Takes patches a side, what is done to each, and negatives a prediction.

        Args:
            grid: Patches a side.
            view: From patches to what is seen of them.
            num_negatives: Negatives a prediction, or None for all candidates.
        """
        super().__init__()
        self.grid = grid
        self.view = view
        self.num_negatives = num_negatives

    def augment(self, batch: Batch, generator: torch.Generator) -> Patches:
        """Makes the patches, and draws negatives."""
        patches = overlapping_patches(to_unit_range(batch.images), self.grid)
        shape = patches.shape[:2]
        views = self.view(patches.flatten(0, 1), generator).unflatten(0, shape)
        if self.num_negatives is None:
            return Patches(views, None)
        # From 1 to the last: so many places on is never the positive itself.
        negatives = torch.randint(
            1, shape.numel(), (*shape, self.num_negatives), generator=generator
        )
        return Patches(views, negatives.to(views.device, non_blocking=True))


def fitting_grid(image_size: tuple[int, int]) -> int:
    """Patches a side: as many as have at least 16 pixels, from 3 to 7.

    Args:
        image_size: Height and width of the images, pixels.

    Returns:
        7 for images from 64 pixels on, 3 for 32.
    """
    # Patches are two strides long, and a side has one stride more than it has patches.
    most = min(image_size) // (SMALLEST_PATCH // 2) - 1
    return max(FEWEST_PATCHES, min(MOST_PATCHES, most))


def patch_sheet(patches: Tensor, row: int, wanted: int) -> Tensor:
    """Patches with gaps between them, pale below a row, one of them framed, for people.

    Args:
        patches: `[n * n, C, p_h, p_w]`.
        row: The last row that is seen.
        wanted: The patch to frame.

    Returns:
        `[3, H, W]`.
    """
    n = math.isqrt(len(patches))
    images = [picture(patch, "").image for patch in patches]
    height, width = images[0].shape[1:]
    gap = max(2, min(height, width) // 4)
    sheet = torch.ones(3, n * (height + gap) + gap, n * (width + gap) + gap)
    for number, image in enumerate(images):
        top, left = (
            place * (side + gap)
            for place, side in zip(divmod(number, n), (height, width), strict=True)
        )
        if number == wanted:
            frame = torch.tensor(FRAME)[:, None, None]
            sheet[:, top : top + height + 2 * gap, left : left + width + 2 * gap] = frame
        shown = image if number < (row + 1) * n else 0.3 * image + 0.7
        sheet[:, top + gap : top + gap + height, left + gap : left + gap + width] = shown
    return sheet


def size_to_show(backbone: nn.Module, in_channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """The size at which patches are shown: their own, or that of the smallest images.

    Args:
        backbone: The network.
        in_channels: Channels of the patches.
        size: Height and width of the patches, pixels.

    Returns:
        `size`, or at least 32 pixels a side where the network refuses smaller ones.

    Raises:
        ValueError: If the network takes patches of neither size.
    """
    enlarged = (max(size[0], SMALLEST_IMAGE), max(size[1], SMALLEST_IMAGE))
    try:
        feature_shape(backbone, in_channels, size)
    except ValueError:
        if enlarged == size:
            raise
        feature_shape(backbone, in_channels, enlarged)
        return enlarged
    return size
