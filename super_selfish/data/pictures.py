"""Pictures for people: an image, what is written below it, and whether the network was right.

Shapes: `B` images, `V` views, `C, H, W` image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range


class Picture(NamedTuple):
    """An image, what is written below it, and whether the network was right."""

    image: Tensor  # (3, H, W) float in [0, 1], on the CPU
    caption: str  # of one or two short lines
    is_right: bool | None = None  # None: there is no right or wrong


Group = list[Picture]  # side by side: what belongs together


def picture(image: Tensor, caption: str, is_right: bool | None = None) -> Picture:
    """Makes a picture.

    Args:
        image: `[C, H, W]`; uint8, or float, of which what lies outside of [0, 1] is clipped. Less
            than three channels are shown gray, of more the first three.
        caption: One or two lines below it, of about a dozen letters.
        is_right: Whether the network was right.
    """
    shown = displayable(image[None])[0]
    shown = shown[:1].expand(3, -1, -1) if len(shown) < 3 else shown[:3]
    return Picture(shown.contiguous(), caption, is_right)


def side_by_side(*columns: tuple[Tensor, str]) -> list[Group]:
    """A group for each image: of every column `[B, C, H, W]` its picture, with the caption."""
    count = len(columns[0][0])
    return [[picture(images[i], caption) for images, caption in columns] for i in range(count)]


def verdict(is_right: bool) -> str:
    """A check mark or a cross."""
    return "\N{CHECK MARK}" if is_right else "\N{BALLOT X}"


def displayable(images: Tensor) -> Tensor:
    """Images `[V, C, H, W]` as float on the CPU, in [0, 1]."""
    if images.dim() != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"images must be [R, V, C, H, W] or rows [V, C, H, W], got a row {list(images.shape)}"
        )
    if not images.is_floating_point() and images.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"images must be uint8, uint16 or float in [0, 1], got {images.dtype}")
    return to_unit_range(images.detach().cpu()).float().clamp(0, 1)
