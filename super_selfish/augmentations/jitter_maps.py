"""A colour jitter as few linear maps, between which images are clamped as torchvision does.

Shapes: `B` samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from super_selfish.augmentations.color import blended

MOST_MAPS = 4  # before the hue or after it: three operations and gray
HAS_HUE = 2 ** (2 * MOST_MAPS)  # in `JitterMaps.codes`
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the operations in `JitterParameters.order`


class JitterParameters(NamedTuple):
    """What a colour jitter drew. A sample that is not jittered has factors 1 and shift 0."""

    brightness: Tensor  # (B,) factors
    contrast: Tensor  # (B,) factors
    saturation: Tensor  # (B,) factors
    hue: Tensor  # (B,) shifts in turns
    order: Tensor  # (B, 4) int64, the operations from first to last
    grayscale: Tensor  # (B,) bool


class JitterMaps(NamedTuple):
    """A jitter as linear maps before and after the hue.

    Torchvision clamps after every operation. Only one that stretches (a factor above 1) can leave
    [0, 1], so between two maps the image is clamped where such a one is followed by another
    operation; the rest compose.
    """

    coefficients: Tensor  # (B, 2 MOST_MAPS, 4), of `ColorMatrix`: before the hue, then after it
    codes: Tensor  # (B,) int64, bit n for map n that changes something, the highest for a hue
    hue: Tensor  # (B,) shifts in turns, 0 where there is no hue to shift


def compose_jitter(
    parameters: JitterParameters, channels: int, *, grayscale_first: bool
) -> JitterMaps:
    """The linear maps of a jitter.

    Args:
        parameters: What was drawn.
        channels: Of the images.
        grayscale_first: Whether gray comes before the jitter.
    """
    # Small arrays, for which NumPy takes a third of the time that torch does.
    batch, samples = len(parameters.hue), np.arange(len(parameters.hue))
    brightness, contrast, saturation, hue, order, grayscale = (
        parameter.numpy() for parameter in parameters
    )
    ones, zeros, none = np.ones_like(hue), np.zeros_like(hue), np.zeros(batch, dtype=bool)
    if channels != 3:
        saturation, hue, grayscale = ones, zeros, none
    linear = order[order != HUE].reshape(batch, 3)
    factors = np.take_along_axis(np.stack((brightness, contrast, saturation), 1), linear, 1)
    before_hue = (order == HUE).argmax(axis=1)  # linear operations
    follows = (np.arange(4) >= before_hue[:, None]) & (hue != 0)[:, None]  # (B, 4)
    is_saturation, is_contrast = (linear == kind for kind in (SATURATION, CONTRAST))
    steps = list(zip(factors.T, is_saturation.T, is_contrast.T, strict=True))
    gray = np.where(grayscale, zeros, ones), ~none, none  # a saturation of 0
    places = list(follows.T)
    if grayscale_first:
        steps, places = [gray, *steps], [none, *places[:3]]
    else:
        steps.append(gray)

    identity = (ones, zeros, zeros, zeros)
    coefficients = np.zeros((batch, 2 * MOST_MAPS, 4), dtype=hue.dtype)
    coefficients[:, :, 0] = 1
    codes = np.where(hue != 0, HAS_HUE, 0)
    present = identity
    is_after, has_left = none, none  # the hue; [0, 1]
    number = np.zeros(batch, dtype=np.int64)  # of the map under way, before or after the hue
    for (factor, to_gray, to_mean), after in zip(steps, places, strict=True):
        changes = factor != 1
        crosses = after & ~is_after
        clamps = has_left & changes & ~crosses
        number = np.where(crosses, MOST_MAPS, number + clamps)
        begins = crosses | clamps
        former = (np.where(begins, new, old) for new, old in zip(identity, present, strict=True))
        present = blended(former, factor, to_gray, to_mean, channels)
        coefficients[samples, number] = np.stack(present, axis=1)
        codes |= changes.astype(np.int64) << number
        has_left = np.where(changes, factor > 1, has_left & ~crosses)
        is_after = after
    return JitterMaps(*map(torch.from_numpy, (coefficients, codes, hue)))
