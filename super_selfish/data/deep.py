"""Colour of 16 bits in PNG and PNM files, of which Pillow gives the higher 8.

A PNG is inflated and unfiltered by Pillow's own decoder, twice: once for the higher bytes of all
numbers and once for the lower ones. (W3C, Portable Network Graphics, third edition, section 7;
netpbm, the PPM format.)

Shapes: `H, W, C` height, width, channels, alpha included.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bits, kind, compression, filter, interlace
_MODES = {2: "RGB", 6: "RGBA"}  # PNG's kinds of colour
_GREY_ALPHA = 4


def deep_png(content: bytes) -> NDArray[np.uint16]:
    """All bits of a PNG of 16 bits a channel.

    Args:
        content: The file.

    Returns:
        `[H, W, C]`: grey with alpha, RGB or RGBA.

    Raises:
        ValueError: It is broken, or another kind of PNG.
        OSError: It ends early.
    """
    header, data = _chunks(content)
    if len(header) != _HEADER.size:
        raise ValueError("broken PNG: its header has another length")
    width, height, bits, kind, _, _, interlace = _HEADER.unpack(header)
    size = (width, height)
    if bits != 16 or kind not in (*_MODES, _GREY_ALPHA) or min(size) < 1:
        raise ValueError(f"expected a PNG of 16 bits a channel, got {bits} bits of kind {kind}")
    if kind == _GREY_ALPHA:  # four bytes a pixel, as RGBA of 8 bits has
        pixels = np.asarray(_decoded("RGBA", "RGBA", size, data, interlace))
        return pixels.view(">u2").astype(np.uint16)
    mode = _MODES[kind]
    high = np.asarray(_decoded(mode, f"{mode};16B", size, data, interlace)).astype(np.uint16)
    low = np.asarray(_decoded(mode, f"{mode};16L", size, data, interlace))  # the other byte
    return (high << 8) | low


def _decoded(
    mode: str, raw_mode: str, size: tuple[int, int], data: bytes, interlace: int
) -> Image.Image:
    return Image.frombytes(mode, size, data, "zip", raw_mode, interlace)


def _chunks(content: bytes) -> tuple[bytes, bytes]:
    """The header and the joined image data, each part checked."""
    if not content.startswith(_SIGNATURE):
        raise ValueError("broken PNG: its first bytes are others")
    place, header, data = len(_SIGNATURE), b"", []
    while place + _CHUNK.size <= len(content):
        length, kind = _CHUNK.unpack_from(content, place)
        body = content[place + _CHUNK.size : place + _CHUNK.size + length]
        end = place + _CHUNK.size + length
        if kind in (b"IHDR", b"IDAT"):
            if len(content) < end + 4:
                break
            (stored,) = struct.unpack_from(">I", content, end)
            if zlib.crc32(kind + body) != stored:
                raise ValueError(f"broken PNG: the checksum of a {kind.decode()} is another")
            if kind == b"IHDR":
                header = body
            else:
                data.append(body)
        elif kind == b"IEND":
            return header, b"".join(data)
        place = end + 4
    raise EOFError("the PNG ends early")


def deep_pnm(content: bytes) -> NDArray[np.uint16]:
    """All bits of a colour PPM whose brightest value is above 255.

    Args:
        content: The file.

    Returns:
        `[H, W, 3]`, the brightest value 65535.

    Raises:
        ValueError: It is broken, or another kind of PNM.
    """
    words: list[bytes] = []
    place = 0
    while len(words) < 4:  # kind, width, height, brightest
        line_end = content.find(b"\n", place)
        if content[place : place + 1] == b"#":
            if line_end < 0:
                raise EOFError("the PPM ends early")
            place = line_end + 1
        elif content[place : place + 1].isspace():
            place += 1
        else:
            end = place
            while end < len(content) and not content[end : end + 1].isspace():
                end += 1
            if end == place or end - place > 10:
                raise ValueError("broken PPM: its header holds no numbers")
            words.append(content[place:end])
            place = end
    kind, width, height, brightest = words[0], *(int(word) for word in words[1:])
    if kind not in (b"P3", b"P6") or not 255 < brightest < 65536 or width < 1 or height < 1:
        raise ValueError(f"expected a colour PPM of 16 bits, got {kind!r} up to {brightest}")
    count = math.prod((height, width, 3))
    if kind == b"P6":
        numbers = np.frombuffer(content, ">u2", count, place + 1)
    else:
        numbers = np.array([int(word) for word in content[place:].split()[:count]])
    if len(numbers) < count or int(numbers.max()) > brightest:
        raise ValueError("broken PPM: it holds too few numbers, or too large ones")
    scaled = (numbers.astype(np.uint32) * 65535 + brightest // 2) // brightest
    return scaled.astype(np.uint16).reshape(height, width, 3)


def lossy_bits(image: Image.Image) -> int:
    """Bits a channel of a JPEG 2000 or AVIF that is open, by its header.

    Args:
        image: Open, not yet decoded.
    """
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    place = file.tell()
    file.seek(0)
    start = file.read(65536)
    file.seek(place)
    if image.format == "JPEG2000":
        size = start.find(b"\xff\x4f\xff\x51")  # start of the codestream, then its sizes
        first = (
            size + 4 + 38
        )  # ISO 15444-1, A.5.1: after two lengths, eight sizes, a number of parts
        return (start[first] & 0x7F) + 1 if size >= 0 and first < len(start) else 8
    box = start.find(b"av1C")  # AV1 in ISOBMFF, 2.3.3: its third byte says 10 or 12 bits
    if box < 0 or box + 6 >= len(start):
        return 8
    return 12 if start[box + 6] & 0x20 else 10 if start[box + 6] & 0x40 else 8
