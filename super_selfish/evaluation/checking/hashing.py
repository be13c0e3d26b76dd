"""What two copies of a picture have in common: 64 bits of its coarse shape, and its detail.

The bits are those of the perceptual hash "pHash" (Zauner, 2010, section 3.2.1), as the package
`imagehash` computes them: signs of the low frequencies about their median. That package takes 8-bit
PIL images one by one, and brings PyWavelets; here a batch of any number of bits is one product of
matrices, and the hash of the mirrored picture comes with it. Bits alone call flat, dark and
centred pictures alike (of random pairs of Fashion-MNIST one in 3,000): so the detail decides.

Shapes: `B` images, `S` = `SIDE` pixels a side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 32  # pixels a side of what is compared
LOW = 8  # frequencies a side: 64 bits
_WINDOW = 5  # pixels a side of the mean that is taken off, so that detail remains
_TIE = 1e-3  # of the standard deviation: what is as near to the median is noise, and no bit
_NOTHING = 1e-5  # of black to white: a smaller standard deviation is rounding
_STEPS = 32.0  # of a standard deviation of the detail, stored in 8 bits


class Hashes(NamedTuple):
    """What is compared of some pictures."""

    bits: NDArray[np.uint64]  # [B]
    mirrored: NDArray[np.uint64]  # [B], of the picture with left and right exchanged
    detail: NDArray[np.int8]  # [B, S, S]


def hashes_of(pictures: Tensor) -> Hashes:
    """Hashes and details of gray pictures.

    Args:
        pictures: `[B, S, S]` float in [0, 1].
    """
    waves = _waves()
    low = waves @ pictures.double() @ waves.T  # [B, LOW, LOW]
    signs = 1.0 - 2.0 * (torch.arange(LOW, dtype=torch.float64) % 2)  # odd waves change theirs
    spread = pictures.double().flatten(1).std(dim=1, correction=0)
    return Hashes(
        _bits(low, spread), _bits(low * signs, spread), _detail(pictures.to(torch.float32))
    )


def _waves() -> Tensor:
    """`[LOW, S]`: the cosines of the lowest frequencies, orthonormal."""
    cosines = scipy.fft.dct(np.eye(SIDE), axis=0, norm="ortho")[:LOW]
    # SciPy's usual norm, which imagehash takes, has the constant wave larger by the square root of
    # two; the median of 64 numbers may lie beside it, so it has to be so here.
    cosines[0] *= np.sqrt(2.0)
    return torch.from_numpy(cosines)


def _bits(low: Tensor, spread: Tensor) -> NDArray[np.uint64]:
    numbers = low.flatten(1)
    ordered = numbers.sort(dim=1).values
    middle = (ordered[:, LOW * LOW // 2 - 1] + ordered[:, LOW * LOW // 2]) / 2  # NumPy's median
    above = numbers - middle[:, None] > _TIE * spread.clamp_min(_NOTHING)[:, None]
    return np.packbits(above.numpy(), axis=1).view(np.uint64)[:, 0]


def _detail(pictures: Tensor) -> NDArray[np.int8]:
    """What differs from the mean around it, in standard deviations of that, in 8 bits."""
    margin = _WINDOW // 2
    around = F.avg_pool2d(pictures[:, None], _WINDOW, 1, margin, count_include_pad=False)[:, 0]
    fine = pictures - around
    fine = fine - fine.mean(dim=(1, 2), keepdim=True)
    spread = fine.flatten(1).std(dim=1, correction=0).clamp_min(_NOTHING)
    steps = (fine / spread[:, None, None] * _STEPS).round().clamp(-127, 127)
    return steps.to(torch.int8).numpy()


def agreement(first: NDArray[np.int8], second: NDArray[np.int8]) -> NDArray[np.float32]:
    """Correlation of the details of pairs, -1 to 1; 1 is the same detail.

    Args:
        first: `[P, S, S]`.
        second: `[P, S, S]`.
    """
    one, other = (detail.reshape(len(detail), -1).astype(np.float32) for detail in (first, second))
    products = np.einsum("ps,ps->p", one, other)
    lengths = np.sqrt(np.einsum("ps,ps->p", one, one) * np.einsum("ps,ps->p", other, other))
    return np.asarray(products / np.maximum(lengths, 1e-6), np.float32)
