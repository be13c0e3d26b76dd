"""Arrays in files: NumPy's `.npy`, and `.npz` with one array, or one that is called "image".

An image is `[H, W]`, `[H, W, C]` or `[C, H, W]`, where the axis of channels is clear: the first or
the last, of at most 16 entries and at most half as many as either other axis has. Whether anything
else, such as `[64, 48, 48]`, is channels or several images, the file does not say: it is refused
until `pages` does, and read along its first axis then, as an array in memory is. So is whatever has
one axis more. Pickles are never opened.

Shapes: `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

import math
import zipfile
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.data.axes import MOST_CHANNELS, has_clear_channels
from super_selfish.data.conversion import numbers_from_array
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Pages, Shape
from super_selfish.data.regular import check_size

ARRAY_ENDINGS = (".npy", ".npz")
_KEYS = ("image", "img", "arr_0")
_HEADER_BYTES = 10_000


class StoredArray(Protocol):
    """An array, of which a part is read when it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    def __getitem__(self, index: Any) -> Any:
        """A part of it."""


class ArrayFrames(Frames):
    """The images of an array in an open file."""

    noun = "images along its first axis"

    def __init__(self, array: StoredArray, pages: Pages = None) -> None:
        """Looks at the shape.

        Args:
            array: As `stored_array` gives it, or another.
            pages: Whether it is several images at all.

        Raises:
            ValueError: It is none, or which axis holds the channels is not clear.
        """
        self._array = array
        shape = tuple(array.shape)
        if len(shape) not in (2, 3, 4) or 0 in shape:
            raise ValueError(
                "an image array must be [H, W], [C, H, W] or [H, W, C], or several of them along a "
                f"first axis, and not empty; got shape {list(shape)}"
            )
        if pages == "channels" and has_clear_channels(shape):
            pages = None  # be they the last axis
        self._is_several = len(shape) == 4 or (len(shape) == 3 and pages is not None)
        self.count = shape[0] if self._is_several else 1
        self._own = shape[1:] if self._is_several else shape
        if len(self._own) == 3 and not has_clear_channels(self._own):
            raise ValueError(_unclear(shape))

    def shape(self, frame: int) -> Shape:
        """Shape of an image."""
        own = self._own
        if len(own) == 2:
            return 1, own[0], own[1]
        first, last = own[0], own[-1]
        return (last, own[0], own[1]) if last < first else (first, own[1], own[2])

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Reads an image, `[C, H, W]`."""
        check_size(math.prod(self._own) * self._array.dtype.itemsize)
        return numbers_from_array(np.array(self._array[frame if self._is_several else ...]))


def stored_array(file: BinaryIO, *, is_archive: bool = False) -> NDArray[Any]:
    """The array of a file of NumPy's; of an `.npy`, the parts are read when they are asked for.

    Args:
        file: Open for reading.
        is_archive: Whether it is an `.npz`.

    Raises:
        EOFError: It ends early.
        ValueError: It is no such file, holds objects, or several arrays of unknown names.
    """
    if is_archive:
        return _from_archive(file)
    shape, is_fortran, dtype = _header(file)
    offset, needed = file.tell(), math.prod(shape) * dtype.itemsize
    if file.seek(0, 2) < offset + needed:
        raise EOFError(f"the array ends early: its header promises {needed} bytes")
    if not needed:  # which cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape, "F" if is_fortran else "C")


def _unclear(shape: tuple[int, ...]) -> str:
    """What to do with an array of which nobody can tell which axis holds the channels."""
    if len(shape) == 4:
        return (
            f"its shape is {list(shape)}, and which axis of each image along the first holds the "
            f"channels is not clear (the second or last, of at most {MOST_CHANNELS} and at most "
            "half of the others): store each image by itself, as [C, H, W], and say "
            "pages='channels'"
        )
    return (
        f"its shape is {list(shape)}, and whether an axis holds channels is not clear (the first "
        f"or last, of at most {MOST_CHANNELS} and at most half of the others): say "
        f"pages='frames' ({shape[0]} images of {shape[1]}x{shape[2]}), pages='channels' (one image "
        f"of {shape[0]} channels, of {shape[1]}x{shape[2]}) or pages=0 (the first alone); "
        "where channels lie last, store it as [C, H, W]"
    )


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"arrays of format {version} hold records, not images")
    shape, is_fortran, dtype = readers[version](file, max_header_size=_HEADER_BYTES)
    if dtype.kind not in "buif":
        raise ValueError(f"an image array must hold real numbers, got {dtype}")
    if any(side < 0 for side in shape):
        raise ValueError(f"an array has no shape {list(shape)}")
    return shape, is_fortran, dtype


def _from_archive(file: BinaryIO) -> NDArray[Any]:
    """The one array of an `.npz`."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            name = next((key for key in _KEYS if key in sizes), None)
            if len(sizes) == 1:
                name = next(iter(sizes))
            if name is None:
                raise ValueError(
                    f"the archive holds the arrays {sorted(sizes)}: name the image's 'image', or "
                    "read it by a loader="
                )
            with archive.open(sizes[name]) as part:
                shape, is_fortran, dtype = _header(part)  # type: ignore[arg-type]
                needed = math.prod(shape) * dtype.itemsize
                check_size(needed, file)
                content = part.read(needed + 1)
    except zipfile.BadZipFile as error:
        raise ValueError(f"broken archive ({type(error).__name__}: {error})") from error
    if len(content) != needed:
        raise EOFError(f"the array ends early or late: its header promises {needed} bytes")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")
