"""JPEG files straight through libjpeg-turbo: the pixels of PIL's, without PIL's copies.

PIL, torchvision and simplejpeg (`pip install super-selfish[jpeg]`) all wrap it and give the same
bytes (tests compare them on whole, odd and broken files), so the fastest that is there may stand in
for PIL. Whatever is unusual is left to PIL, and so is every file that the decoder cannot read: what
is reported of a broken file is what PIL says of it.

libjpeg goes on where data are damaged, fills the rest with grey or noise, and warns. PIL and
torchvision drop the warning; simplejpeg gives it, so with it damaged files are noticed.

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

DECODER_VERSION = 2  # to be raised by whatever changes a pixel: it is part of every cache

Shape = tuple[int, int, int]  # (C, H, W)
Decoder = Callable[[bytes, Shape, int], Tensor | None]  # shape that is expected, reduced by

_CHANNELS = {"L": 1, "RGB": 3}  # other modes, such as CMYK, are PIL's to convert

# How libjpeg's warnings of lost data begin (jerror.h); the others are of unknown marks only.
_DAMAGE = ("Corrupt JPEG", "Premature end", "Inconsistent progression")

_START = b"\xff\xd8"
_FRAMES = frozenset({0xFFC0, 0xFFC1, 0xFFC2})  # baseline, extended and progressive
# Tables, comments, JFIF's and Adobe's marks. Not EXIF, which may turn the image, nor any other.
_PLAIN = frozenset({0xFFC4, 0xFFDB, 0xFFDD, 0xFFE0, 0xFFEE, 0xFFFE})
_SEGMENT = struct.Struct(">HH")  # marker, length
_FRAME = struct.Struct(">BHHB")  # bits, height, width, channels


class DamagedError(ValueError):
    """An image that decodes, though some of its pixels are made up."""


def available_decoders() -> dict[str, Decoder]:
    """What decodes JPEGs here besides PIL, by name, the fastest first."""
    decoders: dict[str, Decoder] = {}
    if importlib.util.find_spec("simplejpeg") is not None:
        decoders["simplejpeg"] = _by_simplejpeg
    # Some builds of torchvision lack it, and a release to come will. The operator is called as it
    # is, because its function warns of that release, from torchvision 0.29 on.
    if hasattr(torch.ops.image, "decode_jpeg"):
        decoders["torchvision"] = _by_torchvision
    return decoders


def _by_simplejpeg(data: bytes, shape: Shape, factor: int) -> Tensor:
    simplejpeg: Any = importlib.import_module("simplejpeg")
    channels, height, width = shape
    pixels = simplejpeg.decode_jpeg(
        data,
        "RGB" if channels == 3 else "GRAY",
        min_height=height if factor > 1 else 0,
        min_width=width if factor > 1 else 0,
        min_factor=factor,
    )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _by_torchvision(data: bytes, shape: Shape, factor: int) -> Tensor | None:
    if factor > 1:  # it decodes whole images only
        return None
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    pixels: Tensor = torch.ops.image.decode_jpeg(encoded, ImageReadMode.UNCHANGED.value)
    return pixels


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


def decode_jpeg(data: bytes, shape: Shape, factor: int) -> Tensor | None:
    """Decodes a JPEG, not turned.

    Args:
        data: The file.
        shape: What its header promises, reduced by `factor`.
        factor: 1, 2, 4 or 8: how much smaller than stored it is decoded.

    Returns:
        `[C, H, W]` uint8, the memory channels-last; `None` if there is no decoder, or it gives up,
        or what it gives is not what the header promised.
    """
    if _DECODER is None:
        return None
    try:
        pixels = _DECODER(data, shape, factor)
    except (RuntimeError, ValueError):  # torchvision's, simplejpeg's
        return None
    return pixels if pixels is not None and tuple(pixels.shape) == shape else None


def check_undamaged(data: bytes) -> None:
    """Asks the decoder that tells why it has refused a file, which PIL could read.

    Args:
        data: The file.

    Raises:
        DamagedError: The file is damaged, and pixels of it are made up.
    """
    if _DECODER is not _by_simplejpeg:
        return
    simplejpeg: Any = importlib.import_module("simplejpeg")
    try:
        simplejpeg.decode_jpeg(data)
    except ValueError as error:
        if any(word in str(error) for word in _DAMAGE):
            raise DamagedError(f"the file is damaged ({error})") from error
