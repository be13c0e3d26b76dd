"""Pixels that have measured nothing: padding of scanners, the outside of a satellite's swath.

Files give them a number that means nothing, such as -9999, which must be neither an image's black
by accident nor its white.

Shapes: `H, W` image, the last two axes or the only ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def darkened(numbers: NDArray[Any], empty: NDArray[np.bool_]) -> NDArray[Any]:
    """The same with the least of the measured numbers where nothing was measured: black.

    Args:
        numbers: `[..., H, W]`, of any real type; each channel has a least number of its own.
        empty: The same shape, where nothing was measured.

    Raises:
        ValueError: Nothing was measured anywhere in a channel.
    """
    if not empty.any():
        return numbers
    if empty.all(axis=(-2, -1)).any():
        raise ValueError("none of its pixels holds data: all have the number that means none")
    is_real = numbers.dtype.kind == "f"
    most = np.inf if is_real else np.iinfo(numbers.dtype).max
    least = np.where(empty, most, numbers).min(axis=(-2, -1), keepdims=True)
    return np.where(empty, least, numbers).astype(numbers.dtype)
