"""Pictures with a caption, and what the exhibits share to make them.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from super_selfish.data.sources import images_at
from super_selfish.evaluation.sheets import displayable
from super_selfish.supervisors.base import Supervisor


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
        caption: Lines below it.
        is_right: Whether the network was right.
    """
    shown = displayable(image[None])[0]
    shown = shown[:1].expand(3, -1, -1) if len(shown) < 3 else shown[:3]
    return Picture(shown.contiguous(), caption, is_right)


def verdict(is_right: bool) -> str:
    """A check mark or a cross."""
    return "\N{CHECK MARK}" if is_right else "\N{BALLOT X}"


def originals(supervisor: Supervisor, index: Sequence[int]) -> Tensor:
    """Images as they are, `[B, C, H, W]`, float in [0, 1], on the CPU.

    Raises:
        ValueError: If there is no dataset.
    """
    if supervisor.source is None:
        raise ValueError("images can be shown of a supervisor with a dataset")
    return displayable(images_at(supervisor.source, index))
