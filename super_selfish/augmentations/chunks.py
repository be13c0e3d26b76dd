"""Pixel arithmetic in pieces that stay in the processor's cache.

A colour conversion is thirty passes over the pixels. On a CPU, a batch that leaves the cache pays
for memory (and, on virtual machines, for page faults) at every pass; a few samples at a time pay
once. Other devices get the batch whole: there, the number of launches counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from super_selfish.augmentations.compiled import is_wanted

PIXELS_PER_CHUNK = 2**17  # 0.5 MiB a float channel; measured best of 2**14 ... 2**18 at 32 px


def samples_per_chunk(images: Tensor) -> int:
    """Number of samples to work on at a time.

    Args:
        images: `[B, C, H, W]`.

    Returns:
        At least 1; on anything but a CPU at least B.
    """
    if images.device.type != "cpu":
        return max(1, len(images))
    return max(1, PIXELS_PER_CHUNK // max(1, images.shape[2] * images.shape[3]))


def map_chunks(function: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> Tensor:
    """Calls a function on a few samples at a time and joins what it returns.

    Args:
        function: Takes `[b, C, H, W]` and the matching rows of every parameter; keeps the shape
            and treats samples independently.
        images: `[B, C, H, W]`.
        *parameters: First dimension `B`, on the device of `images`.

    Returns:
        `[B, C, H, W]`, what `function(images, *parameters)` would return.
    """
    # Export and compilation see the batch whole: a compiler fuses the passes itself, and a loop
    # would tie what it makes to the number of images.
    is_whole = is_wanted() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    size = samples_per_chunk(images)
    if is_whole or len(images) <= size:
        return function(images, *parameters)
    output = images.new_empty(images.shape)
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        output[rows] = function(images[rows], *(parameter[rows] for parameter in parameters))
    return output
