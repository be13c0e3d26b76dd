"""What is counted over all images together: which numbers each channel uses.

Shapes: `B` images, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 256  # between black and white
_PIXELS = 1024  # of an image that are put into the bins, about
_LITTLE = 0.5  # percent at either end that the range used does without


class Channels(NamedTuple):
    """Of all images with as many channels.

    Attributes:
        images: How many there are.
        low: `[C]`, the least number of each channel, black 0 to white 1.
        high: `[C]`, the greatest.
        constant: `[C]`, images in which a channel is the same everywhere.
        bins: `[C, BINS]`, how often numbers occur, of some pixels of each image.
    """

    images: int
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    constant: NDArray[np.int64]
    bins: NDArray[np.int64]

    def used(self) -> tuple[float, float]:
        """The range that 99 % of the numbers of all channels lie in, black 0 to white 1."""
        shares = np.cumsum(self.bins.sum(axis=0)) / self.bins.sum() * 100
        low = int(np.searchsorted(shares, _LITTLE, side="right"))
        high = int(np.searchsorted(shares, 100 - _LITTLE))
        return low / BINS, min(1.0, (high + 1) / BINS)

    def dead(self) -> list[int]:
        """Channels that hold one and the same number in all images."""
        return np.flatnonzero(self.low == self.high).tolist()


class Tally(dict[int, Channels]):
    """`Channels` by their number."""

    @classmethod
    def of(cls, rows: Tensor) -> Tally:
        """Counts over float images `[B, C, H, W]` in [0, 1]."""
        count, channels, height, width = rows.shape
        low, high = rows.amin(dim=(2, 3)), rows.amax(dim=(2, 3))  # [B, C]
        every = max(1, round((height * width / _PIXELS) ** 0.5))
        steps = (rows[:, :, ::every, ::every] * BINS).to(torch.int64).clamp_(0, BINS - 1)
        steps += BINS * torch.arange(channels)[None, :, None, None]
        bins = torch.bincount(steps.flatten(), minlength=BINS * channels)
        return cls(
            {
                channels: Channels(
                    count,
                    low.amin(dim=0).numpy(),
                    high.amax(dim=0).numpy(),
                    (low == high).sum(dim=0).numpy(),
                    bins.reshape(channels, BINS).numpy(),
                )
            }
        )

    @classmethod
    def joined(cls, parts: Iterable[Tally]) -> Tally:
        """Counts of several batches together."""
        found = cls()
        for part in parts:
            for number, more in part.items():
                known = found.get(number)
                found[number] = more if known is None else _sum(known, more)
        return found


def _sum(one: Channels, other: Channels) -> Channels:
    return Channels(
        one.images + other.images,
        np.minimum(one.low, other.low),
        np.maximum(one.high, other.high),
        one.constant + other.constant,
        one.bins + other.bins,
    )
