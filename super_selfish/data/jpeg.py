"""JPEG files straight through libjpeg-turbo: the pixels of PIL's, without PIL's copies.

PIL, torchvision and simplejpeg (`pip install super-selfish[jpeg]`) all wrap it and give the same
bytes (tests compare them on whole, odd and broken files), so the fastest that is there may stand in
for PIL. Whatever is unusual is left to PIL, and so is every file that the decoder cannot read: what
is reported of a broken file is what PIL says of it.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import struct
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode  # the import also loads torchvision's decoder

DECODER_VERSION = 1  # to be raised by whatever changes a pixel: it is part of every cache

Shape = tuple[int, int, int]  # (C, H, W)
Decoder = Callable[[bytes, int], Tensor]  # takes the number of channels, too

_CHANNELS = {"L": 1, "RGB": 3}  # other modes, such as CMYK, are PIL's to convert

_START = b"\xff\xd8"
_FRAMES = frozenset({0xFFC0, 0xFFC1, 0xFFC2})  # baseline, extended and progressive
# Tables, comments, JFIF's and Adobe's marks. Not EXIF, which may turn the image, nor any other.
_PLAIN = frozenset({0xFFC4, 0xFFDB, 0xFFDD, 0xFFE0, 0xFFEE, 0xFFFE})
_SEGMENT = struct.Struct(">HH")  # marker, length
_FRAME = struct.Struct(">BHHB")  # bits, height, width, channels


def available_decoders() -> dict[str, Decoder]:
    """What decodes JPEGs here besides PIL, by name, the fastest first."""
    decoders: dict[str, Decoder] = {}
    if importlib.util.find_spec("simplejpeg") is not None:
        simplejpeg: Any = importlib.import_module("simplejpeg")
        decoders["simplejpeg"] = lambda data, channels: torch.from_numpy(
            simplejpeg.decode_jpeg(data, "RGB" if channels == 3 else "GRAY")
        ).permute(2, 0, 1)
    # Some builds of torchvision lack it, and a release to come will. The operator is called as it
    # is, because its function warns of that release, from torchvision 0.29 on.
    if hasattr(torch.ops.image, "decode_jpeg"):
        decoders["torchvision"] = lambda data, channels: torch.ops.image.decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED.value
        )
    return decoders


_DECODER = next(iter(available_decoders().values()), None)


def plain_shape(data: bytes) -> Shape | None:
    """What the header of a plain JPEG says: 8 bits, grey or colour, upright, one image.

    Args:
        data: A file of any kind.

    Returns:
        `(C, H, W)`; `None` for what PIL has to look at.
    """
    if not data.startswith(_START):
        return None
    place = len(_START)
    try:
        marker, length = _SEGMENT.unpack_from(data, place)
        while marker in _PLAIN:
            place += 2 + length
            marker, length = _SEGMENT.unpack_from(data, place)
        bits, height, width, channels = _FRAME.unpack_from(data, place + 4)
    except struct.error:  # it ends too early
        return None
    is_usual = marker in _FRAMES and bits == 8 and channels in _CHANNELS.values()
    # PIL warns of images that are suspiciously large, and knows what a height of 0 means.
    is_sane = 0 < height * width <= (Image.MAX_IMAGE_PIXELS or math.inf)
    return (channels, height, width) if is_usual and is_sane else None


def shape_by_pil(image: Image.Image) -> Shape | None:
    """The same of a file that PIL has opened, and which need not be turned."""
    if image.format != "JPEG" or image.mode not in _CHANNELS:
        return None
    return _CHANNELS[image.mode], image.height, image.width


def decode_jpeg(data: bytes, shape: Shape) -> Tensor | None:
    """Decodes a whole JPEG, not turned.

    Args:
        data: The file.
        shape: What its header promises.

    Returns:
        `[C, H, W]` uint8, the memory channels-last; `None` if there is no decoder, or it gives up,
        or what it gives is not what the header promised.
    """
    if _DECODER is None:
        return None
    try:
        pixels = _DECODER(data, shape[0])
    except (RuntimeError, ValueError):  # torchvision's, simplejpeg's
        return None
    return pixels if tuple(pixels.shape) == shape else None
