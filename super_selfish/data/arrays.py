"""Arrays in files of NumPy's: `.npy`, and `.npz` with one array, or one that is called "image".

An array is read as one that is given in memory: `[H, W]`, `[H, W, C]` or `[C, H, W]`, the smaller
of first and last axis holding the channels. A volume `[Z, H, W]`, and whatever has one axis more,
is read as several images along its first axis where `pages` says so. Pickles are never opened.

Shapes: `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

import math
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.data.conversion import numbers_from_array
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Pages, Shape
from super_selfish.data.regular import check_size

ARRAY_ENDINGS = (".npy", ".npz")
_KEYS = ("image", "img", "arr_0")
_HEADER_BYTES = 10_000


class ArrayFrames(Frames):
    """The images of an array in an open file."""

    noun = "images along its first axis"

    def __init__(self, file: BinaryIO, pages: Pages = None, *, is_archive: bool = False) -> None:
        """Reads the header; of an archive, the array.

        Args:
            file: Open for reading.
            pages: Whether it is several images at all.
            is_archive: Whether it is an `.npz`.

        Raises:
            ValueError: It is no such file, holds objects, or several arrays of unknown names.
        """
        self._file = file
        self._array: NDArray[Any] | None = _from_archive(file) if is_archive else None
        if self._array is None:
            self._shape, self._fortran, self._dtype = _header(file)
            self._offset = file.tell()
            needed = math.prod(self._shape) * self._dtype.itemsize
            if file.seek(0, 2) < self._offset + needed:
                raise EOFError(f"the array ends early: its header promises {needed} bytes")
        else:
            self._shape, self._dtype = self._array.shape, self._array.dtype
        if len(self._shape) not in (2, 3, 4) or 0 in self._shape:
            raise ValueError(
                "an image array must be [H, W], [C, H, W] or [H, W, C], or several of them along a "
                f"first axis, and not empty; got shape {list(self._shape)}"
            )
        is_several = len(self._shape) == 4 or (len(self._shape) == 3 and pages is not None)
        self.count = self._shape[0] if is_several else 1
        self._is_several = is_several

    def shape(self, frame: int) -> Shape:
        """Shape of an image."""
        own = self._shape[1:] if self._is_several else self._shape
        if len(own) == 2:
            return 1, own[0], own[1]
        first, last = own[0], own[-1]
        return (last, own[0], own[1]) if last <= first else (first, own[1], own[2])

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Reads an image, `[C, H, W]`."""
        own = self._shape[1:] if self._is_several else self._shape
        check_size(math.prod(own) * self._dtype.itemsize)
        array = self._mapped() if self._array is None else self._array
        image = np.array(array[frame] if self._is_several else array)
        return numbers_from_array(image)

    def _mapped(self) -> NDArray[Any]:
        order: Any = "F" if self._fortran else "C"
        return np.memmap(self._file, self._dtype, "r", self._offset, self._shape, order)


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
