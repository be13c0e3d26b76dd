"""JPEG files by torchvision's decoder: the pixels of PIL's, without PIL's copies.

Both wrap libjpeg-turbo and give the same bytes (tests compare them on whole, odd and broken files),
so the fast one may stand in for the other. Whatever is unusual is left to PIL, and so is every file
that torchvision cannot read: what is reported of a broken file is what PIL says of it.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode  # the import also loads the decoder

DECODER_VERSION = 1  # to be raised by whatever changes a pixel: it is part of every cache

_CHANNELS = {"L": 1, "RGB": 3}  # other modes, such as CMYK, are PIL's to convert
# Some builds of torchvision lack it, and a release to come will: then PIL reads all. The operator
# is called as it is, because its function warns of that release, from torchvision 0.29 on.
_DECODER = getattr(torch.ops.image, "decode_jpeg", None)


def is_plain_jpeg(image: Image.Image) -> bool:
    """Whether an opened file is a JPEG that `decode_plain_jpeg` can read: 8 bits, grey or RGB."""
    return _DECODER is not None and image.format == "JPEG" and image.mode in _CHANNELS


def decode_plain_jpeg(path: str | os.PathLike[str], image: Image.Image) -> Tensor | None:
    """Decodes a whole JPEG, not turned.

    Args:
        path: The file.
        image: The same, opened by PIL, which has read its header.

    Returns:
        `[C, H, W]` uint8, the memory channels-last; `None` if the decoder gives up, or if what it
        gives is not what the header promised.
    """
    data = torch.from_numpy(np.fromfile(path, np.uint8))
    try:
        pixels: Tensor = torch.ops.image.decode_jpeg(data, ImageReadMode.UNCHANGED.value)
    except RuntimeError:  # all that the operator raises
        return None
    expected = (_CHANNELS[image.mode], image.height, image.width)
    return pixels if tuple(pixels.shape) == expected else None
