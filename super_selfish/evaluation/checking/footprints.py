"""What is kept of each image: about 1.1 KB, however large it is.

Shapes: `B` images of a batch, `C, H, W` channels, height, width, `S` = `hashing.SIDE`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range
from super_selfish.evaluation.checking.hashing import SIDE, hashes_of
from super_selfish.evaluation.checking.tally import Tally

_SAME = 1e-6  # of black to white: what a float image may miss the levels of 8 bits by


class Footprints(NamedTuple):
    """Of images, in order; each field has one row an image."""

    index: NDArray[np.int64]  # type: ignore[assignment]  # positions in the source
    digest: NDArray[np.uint64]  # of all pixels: 64 bits of BLAKE2
    bits: NDArray[np.uint64]  # perceptual hash
    mirrored: NDArray[np.uint64]  # that of the mirrored image
    detail: NDArray[np.int8]  # [., S, S]
    mean: NDArray[np.float32]  # of all pixels, black 0 to white 1
    spread: NDArray[np.float32]  # their standard deviation, over all pixels and channels
    sizes: NDArray[np.int32]  # [., 3]: channels, height, width
    is_grey: NDArray[np.bool_]  # whether all channels are equal, where there are three


def footprints_of(images: Tensor, index: NDArray[np.int64]) -> tuple[Footprints, Tally]:
    """Looks at some images of one size.

    Args:
        images: `[B, C, H, W]`; uint8, uint16 or float32 in [0, 1].
        index: `[B]`, their positions in the source.

    Returns:
        What is kept of them, and what is counted over all of them together.
    """
    rows = to_unit_range(images).to(torch.float32)
    channels, height, width = rows.shape[1:]
    is_grey = _are_grey(images)
    flat = rows.flatten(1)
    tally, mean, spread = Tally.of(rows), flat.mean(dim=1), flat.std(dim=1, correction=0)
    hashes = hashes_of(small(rows))
    digests = [
        _digest(image[:1] if grey else image)
        for image, grey in zip(images, is_grey.tolist(), strict=True)
    ]
    found = Footprints(
        index=index,
        digest=np.array(digests, np.uint64),
        bits=hashes.bits,
        mirrored=hashes.mirrored,
        detail=hashes.detail,
        mean=mean.numpy(),
        spread=spread.numpy(),
        sizes=np.tile(np.array([[channels, height, width]], np.int32), (len(index), 1)),
        is_grey=is_grey.numpy(),
    )
    return found, tally


def joined(parts: list[Footprints]) -> Footprints:
    """Footprints of several batches, ordered by index."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Footprints(*(column[order] for column in columns))


def small(rows: Tensor) -> Tensor:
    """The means of the channels `[B, S, S]` of float images `[B, C, H, W]`, whole, not cropped."""
    gray = rows.mean(dim=1, keepdim=True)
    if gray.shape[-2:] == (SIDE, SIDE):
        return gray[:, 0]
    size = (SIDE, SIDE)
    return F.interpolate(gray, size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def _are_grey(images: Tensor) -> Tensor:
    """`[B]`: which images have three channels that are equal."""
    if images.shape[1] != 3:
        return torch.zeros(len(images), dtype=torch.bool)
    if images.dtype == torch.uint16:  # of which older torch knows little
        images = images.view(torch.int16)
    first, second, third = images.unbind(dim=1)
    same = (first == second) & (second == third)
    return same.flatten(1).all(dim=1)


def _digest(image: Tensor) -> int:
    """64 bits of all pixels `[C, H, W]`, the same for 8 bits and the floats made of them."""
    if image.is_floating_point():
        image = image.to(torch.float32)
        steps = (image * 255).round()
        if float((image * 255 - steps).abs().max()) < 255 * _SAME:
            image = steps.to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    digest = hashlib.blake2b(f"{tuple(image.shape)}".encode(), digest_size=8)
    digest.update(pixels.data if pixels.size else b"")
    return int.from_bytes(digest.digest(), "little")
