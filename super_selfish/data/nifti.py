"""Slices of NIfTI volumes by nibabel, each as it is seen on a doctor's screen.

Slices lie along the third axis of the file, the one along which most scanners take them, and are
numbered from the feet, the back or the left. Of a slice the file's own orientation decides which
side is up: the head, else the front; the patient's right is on the left, the front left of the
back. Numbers are rescaled by the file's slope and intercept. (NIfTI-1 standard, nifti1.h.)

Shapes: `C, H, W` channels, height, width of a slice.
"""

from __future__ import annotations

import gzip
import math
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from torch import Tensor

from super_selfish.data.conversion import number_tensor
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Shape
from super_selfish.data.regular import check_count, check_size

_LENGTH_2 = 540  # bytes of the header of NIfTI-2
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


class NiftiFrames(Frames):
    """The slices of an open NIfTI file."""

    noun = "slices"

    def __init__(self, file: BinaryIO, *, volumes_are_channels: bool = False) -> None:
        """Reads the header.

        Args:
            file: Open for reading, packed by gzip or not.
            volumes_are_channels: Whether those along the fourth axis are channels of each slice,
                and no images of their own.

        Raises:
            ValueError: It has more than four axes, or its numbers are no real ones.
        """
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        content: Any = gzip.GzipFile(fileobj=file) if is_packed else file
        start = content.read(_LENGTH_2)
        kind: Any = nibabel.Nifti2Header if start[4:7] == b"n+2" else nibabel.Nifti1Header
        header = kind(start[: kind.sizeof_hdr])  # without its extensions, of any length
        self._volume: Any = ArrayProxy(content, header)
        self._dtype, shape = self._volume.dtype, tuple(map(int, header.get_data_shape()))
        if self._dtype.kind not in "buif" and self._dtype != _RGB:
            raise ValueError(f"its numbers are {self._dtype}, which no image holds")
        if len(shape) < 2 or 0 in shape or math.prod(shape[4:]) != 1:
            raise ValueError(f"its shape is {list(shape)}: two to four axes are read")
        self._shape = (*shape, 1, 1)[:4]  # of several volumes one follows the other
        self._stacked = self._shape[3] if volumes_are_channels else 1
        if self._stacked > 1 and self._dtype == _RGB:
            raise ValueError("its volumes have colours, and cannot be channels")
        self.count = math.prod(self._shape[2:]) // self._stacked
        check_count(self.count, file)
        promised = self._volume.offset + math.prod(shape) * self._dtype.itemsize
        if is_packed:
            check_size(promised, file)
        elif promised > file.seek(0, 2):
            raise EOFError(f"the volume ends early: its header promises {promised:,} bytes")
        # Of each axis: whether to the right (0), the front (1) or the head (2), and there or away.
        self._ways, self._is_there = nibabel.io_orientation(header.get_best_affine()).T

    @property
    def _is_upright(self) -> bool:
        """Whether the first axis runs along the height of a slice."""
        return bool(self._ways[0] > self._ways[1])

    def shape(self, frame: int) -> Shape:
        """Shape of a slice."""
        first, second = self._shape[:2]
        size = (first, second) if self._is_upright else (second, first)
        return (3 if self._dtype == _RGB else self._stacked, *size)

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Reads a slice, `[C, H, W]`."""
        check_size(self._stacked * math.prod(self._shape[:2]) * self._dtype.itemsize)
        volume, place = divmod(frame, self._shape[2])
        place = self._shape[2] - 1 - place if self._is_there[2] < 0 else place
        which = volume if self._stacked == 1 else slice(None)
        index = (slice(None), slice(None), place, which, *[0] * 3)[: len(self._volume.shape)]
        plane = np.asarray(self._volume[index])
        if self._dtype == _RGB:
            image = np.stack([plane[name] for name in "RGB"])
        else:
            image = plane[None] if plane.ndim == 2 else np.moveaxis(plane, 2, 0)
        if image.dtype.kind != "u":  # so many units each, as in files that have a slope
            image = image.astype(np.float32)
        turned = tuple(axis + 1 for axis in (0, 1) if self._is_there[axis] > 0)
        image = np.flip(image, turned)
        return number_tensor(image if self._is_upright else image.transpose(0, 2, 1))
