"""Turns images upright, as their EXIF orientation says.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap height and width
_UPSIDE_DOWN = frozenset({3, 4, 7, 8})  # rows backwards, after the swap
_MIRRORED = frozenset({2, 3, 6, 7})  # columns backwards, after the swap


def is_turned(orientation: int) -> bool:
    """Whether height and width change places."""
    return orientation in _TURNED


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns and mirrors an image.

    Args:
        image: `[C, H, W]`.
        orientation: EXIF's, 1 to 8 (EXIF 2.32, tag 0x0112); 1 is upright.

    Returns:
        `[C, H, W]` or `[C, W, H]`, a view.
    """
    if is_turned(orientation):
        image = image.swapaxes(1, 2)
    if orientation in _UPSIDE_DOWN:
        image = image[:, ::-1]
    if orientation in _MIRRORED:
        image = image[:, :, ::-1]
    return image
