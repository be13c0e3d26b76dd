"""Images fit for a page: not too large, and with a word on channels that they do not show.

Shapes: `N` images, `C, H, W` image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.pictures import displayable
from super_selfish.evaluation.sheets import GAP

NONE_READ = "There are no images, or none of them could be read."
_WIDEST = 1350  # pixels of a row of images on a sheet: the width of the page


def shrunk(images: Tensor, columns: int) -> Tensor:
    """Images `[N, C, H, W]`, so small that a row of them needs not be shrunk with its captions."""
    most = _WIDEST // columns - GAP
    if max(images.shape[-2:]) <= most:
        return images
    scale = most / max(images.shape[-2:])
    size = [max(1, round(scale * side)) for side in images.shape[-2:]]
    parts = [
        F.interpolate(displayable(part), size=size, mode="bilinear", antialias=True)
        for part in images.split(64)
    ]
    return torch.cat([(255 * part).round().byte() for part in parts])


def of_channels(channels: int) -> str:
    """A sentence, after a space, on channels that the pictures do not show; nothing if they do."""
    if channels == 2:
        return " Shown, in gray, is channel 1 of 2; the network sees both."
    if channels > 3:
        return (
            f" Shown, as red, green and blue, are channels 1 to 3 of {channels}; the network sees "
            "all."
        )
    return ""
