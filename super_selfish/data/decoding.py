"""Image files: reading their headers, decoding them.

A JPEG that needs nothing but decoding goes the short way; TIFF, arrays and the formats of
`formats.py` have readers of their own, everything else is Pillow's.
"""

from __future__ import annotations

import os
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

import tifffile
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from super_selfish.data.arrays import ArrayFrames, stored_array
from super_selfish.data.fitting import Size
from super_selfish.data.formats import HEAD_BYTES, NIFTI, Format, format_named, format_of
from super_selfish.data.frames import Frames, Pages, Shape, are_slices, chosen_shape, read_chosen
from super_selfish.data.jpeg import (
    check_undamaged,
    decode_jpeg,
    plain_shape,
    shape_by_pil,
)
from super_selfish.data.orientation import upright
from super_selfish.data.raster import RasterFrames, open_raster, orientation
from super_selfish.data.regular import check_whole, open_regular
from super_selfish.data.tiff import TiffFrames

Path = str | os.PathLike[str]

# What PIL, its plugins and the other readers raise for a file that is no image, or a broken one.
DECODING_ERRORS = (
    OSError,  # holds PIL.UnidentifiedImageError
    SyntaxError,  # broken PNG headers
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)

# What readers stumble over in broken files, besides the errors that they raise on purpose.
_BROKEN = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, RuntimeError, AssertionError),
    *(MemoryError, tokenize.TokenError, zlib.error, tifffile.TiffFileError),
)

_JPEG_ENDINGS = (".jpg", ".jpeg")
# By what a file begins with: II or MM, then 42, or 43 for files beyond 4 GB.
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ARRAY_START, _ARCHIVE_STARTS = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_frames(path: Path, pages: Pages = None, *, alpha: bool = False) -> Iterator[Frames]:
    """Opens a file for the images that it holds, whatever its ending says.

    Args:
        path: The file.
        pages: Whether several images matter; see `frames.read_chosen`.
        alpha: Whether alpha channels are kept.

    Raises:
        ModuleNotFoundError: The package that reads it is missing.
        Exception: One of `DECODING_ERRORS`.
    """
    try:
        with (
            open_regular(path, whole=False) as file,
            _frames_in(file, pages, alpha=alpha) as frames,
        ):
            yield frames
    except UnidentifiedImageError as error:
        named = format_named(os.fspath(path))
        if named is None:
            raise
        ending = next(each for each in named.endings if os.fspath(path).lower().endswith(each))
        raise ValueError(
            f"it ends in {ending}, but does not begin as {named.name} does: it is broken, or "
            "something else"
        ) from error


@contextmanager
def _frames_in(file: BinaryIO, pages: Pages, *, alpha: bool) -> Iterator[Frames]:
    """The images that an open file holds."""
    try:
        head = file.read(HEAD_BYTES)
        start = head[:6]
        file.seek(0)
        form = format_of(head)
        if are_slices(pages) and form is not NIFTI:
            raise ValueError(
                "pages='slices' is for the slices of NIfTI files, and this is none: pages='frames' "
                "makes each page of a file an image"
            )
        if form is not None:
            with _by_package(form, file, pages) as frames:
                yield frames
        elif start.startswith(_TIFF_STARTS):
            yield TiffFrames(file, alpha=alpha)
        elif start == _ARRAY_START:
            yield ArrayFrames(stored_array(file), pages)
        elif start.startswith(_ARCHIVE_STARTS):
            yield ArrayFrames(stored_array(file, is_archive=True), pages)
        else:
            check_whole(file)
            with open_raster(file) as image:
                yield RasterFrames(image, pages, alpha=alpha)
    except _BROKEN as error:
        raise ValueError(f"the file is broken ({type(error).__name__}: {error})") from error


@contextmanager
def _by_package(form: Format, file: BinaryIO, pages: Pages) -> Iterator[Frames]:
    """Frames that another package reads: whatever it raises, the file cannot be read."""
    try:
        with closing(form.frames(file, pages)) as frames:
            yield frames
    except (*DECODING_ERRORS, *_BROKEN, ModuleNotFoundError):
        raise
    except Exception as error:
        raise ValueError(f"{form.package} cannot read it: {error}") from error


def read_header(path: Path, pages: Pages = None, *, alpha: bool = False) -> Shape:
    """Reads `(C, H, W)` of the image that `read_image` will give, decoding no pixel.

    Args:
        path: The file.
        pages: As for `read_image`.
        alpha: As for `read_image`.

    Raises:
        Exception: One of `DECODING_ERRORS`.
    """
    with open_frames(path, pages, alpha=alpha) as frames:
        return chosen_shape(frames, pages)


def count_frames(path: Path, pages: Pages = "frames") -> int:
    """Number of images in a file.

    Args:
        path: The file.
        pages: `"slices"` counts those, and not the volumes of each.

    Raises:
        Exception: One of `DECODING_ERRORS`.
    """
    with open_frames(path, pages) as frames:
        return frames.count


def read_image(
    path: Path, cover: Size | None = None, pages: Pages = None, *, alpha: bool = False
) -> Tensor:
    """Decodes a file and turns it upright as its EXIF orientation says.

    Args:
        path: Any file that is a TIFF, an array of NumPy's, or a picture that PIL opens.
        cover: `(height, width)` that the image will be reduced to. A JPEG of more than four times
            that is decoded at 1/2, 1/4 or 1/8 of its size, but never below twice `cover`, where
            the result would show it.
        pages: Which of several images: a number, or `"channels"`: all, as channels of one. `None`
            takes the only one.
        alpha: Whether an alpha channel is kept where there is one.

    Returns:
        `[C, H, W]`: the numbers of the file, of their own type.

    Raises:
        Exception: One of `DECODING_ERRORS`.
    """
    data = _plain_jpeg(path, cover)
    if data is not None and (shape := plain_shape(data)) is not None:
        pixels = decode_jpeg(data, shape, 1)
        if pixels is not None:
            return pixels
    with open_frames(path, pages, alpha=alpha) as frames:
        return _read_frames(frames, cover, pages)


def read_bytes(
    data: bytes, cover: Size | None = None, pages: Pages = None, *, alpha: bool = False
) -> Tensor:
    """Decodes the content of a file, as `read_image` does.

    Args:
        data: All bytes of the file.
        cover: As for `read_image`.
        pages: As for `read_image`.
        alpha: As for `read_image`.

    Returns:
        `[C, H, W]`: the numbers of the file, of their own type.

    Raises:
        Exception: One of `DECODING_ERRORS`.
    """
    shape = plain_shape(data)
    if shape is not None and not _is_far_too_large(shape, cover):
        pixels = decode_jpeg(data, shape, 1)
        if pixels is not None:
            return pixels
    try:
        with NamedTemporaryFile() as given:  # readers ask for its name, and the system for its size
            file: Any = given
            file.write(data)
            file.seek(0)
            with _frames_in(file, pages, alpha=alpha) as frames:
                return _read_frames(frames, cover, pages)
    except UnidentifiedImageError as error:  # which names an object of Python's
        raise ValueError(f"{len(data)} bytes that are no image of a known format") from error


def _read_frames(frames: Frames, cover: Size | None, pages: Pages) -> Tensor:
    if isinstance(frames, RasterFrames) and frames.image.format == "JPEG":
        return _read_jpeg(frames, cover, pages)
    return read_chosen(frames, pages, cover)


def _is_far_too_large(shape: Shape, cover: Size | None) -> bool:
    return cover is not None and min(shape[1:]) >= 4 * max(cover)


def _plain_jpeg(path: Path, cover: Size | None) -> bytes | None:
    """A file that may be decoded without a look by PIL: a plain JPEG, to be read as a whole."""
    if not os.fspath(path).lower().endswith(_JPEG_ENDINGS):
        return None
    with open_regular(path, buffering=0) as file:
        data = file.read()
    shape = plain_shape(data)
    return None if shape is None or _is_far_too_large(shape, cover) else data


def _read_jpeg(frames: RasterFrames, cover: Size | None, pages: Pages) -> Tensor:
    """A JPEG that has to be turned or reduced, or of which the header says more than usual."""
    image = frames.image
    if pages not in (None, "channels", 0):
        return read_chosen(frames, pages)  # says that there is no such page
    width = image.width
    turn = orientation(image)
    if cover is not None:
        longest = 2 * max(cover)  # it may have to be turned
        image.draft(None, (longest, longest))
    shape = shape_by_pil(image)
    file: BinaryIO = getattr(image, "fp")  # noqa: B009  # that of `open_raster`
    file.seek(0)
    data: bytes = file.read()
    if shape is not None:
        pixels = decode_jpeg(data, shape, round(width / image.width))
        if pixels is not None:
            return pixels if turn == 1 else torch.from_numpy(upright(pixels.numpy(), turn).copy())
    pixels = frames.read(0, cover)
    check_undamaged(data)
    return pixels
