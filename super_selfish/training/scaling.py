"""Learning rates that grow with the images of an update, from one that is known for 256."""

from __future__ import annotations

import math

BASE_IMAGES = 256  # for which papers give their rates
# Linear: Goyal et al., 2017, arXiv 1706.02677, section 2.1, and most papers since. Square root:
# SimCLR, Chen et al., 2020, arXiv 2002.05709, appendix B.1: 0.075 sqrt(G), 1.2 for 256 images.
SCALINGS = {"linear": lambda share: share, "sqrt": math.sqrt}


def scaled_rate(lr: float, scaling: str | None, images: int) -> float:
    """The learning rate for updates of so many images.

    Args:
        lr: For 256 images an update, where there is a scaling.
        scaling: `"linear"`: `lr * G / 256`; `"sqrt"`: `lr * sqrt(G / 256)`; None: `lr`.
        images: `G`, of an update, in all batches that make it and all processes.

    Returns:
        The rate.
    """
    return lr if scaling is None else lr * SCALINGS[scaling](images / BASE_IMAGES)


def scaling_of(given: object) -> str | None:
    """What is meant by `lr_scaling=`.

    Args:
        given: A name, or None.

    Raises:
        ValueError: If it is another name.
        TypeError: If it is something else.
    """
    if given is None:
        return None
    wanted = 'lr_scaling is "linear", "sqrt" or None'
    if not isinstance(given, str):
        raise TypeError(f"{wanted}, got {given!r}")
    if given.lower() not in SCALINGS:
        raise ValueError(f"{wanted}, got {given!r}")
    return given.lower()
