"""HDF5 by h5py: one data set of images in a file, of which each is read by its number.

An image is what it is in an array of NumPy's; see `arrays.py`. What lies in other files (external
links, external storage, virtual data sets) is not followed.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import h5py

from super_selfish.data.arrays import ArrayFrames
from super_selfish.data.frames import Pages
from super_selfish.data.regular import check_count, check_size

_NAMES = ("images", "image", "img")
_MOST = 100  # data sets that are looked at
_ONE = 'one data set of images is read, "images" where there are several, or a loader= reads it'


class Hdf5Frames(ArrayFrames):
    """The images of an open HDF5 file."""

    def __init__(self, file: BinaryIO, pages: Pages = None) -> None:
        """Looks for the images.

        Args:
            file: Open for reading.
            pages: Whether the data set is several images at all.

        Raises:
            ValueError: There is no data set that can be images, or are several.
        """
        # By its name: of a file of Python's, h5py reads slower, and crashes where it is not closed.
        self._opened: Any = h5py.File(file.name, "r", locking=False)
        try:
            images = _images(self._opened)
            if images.is_virtual or images.external:
                raise ValueError(
                    f"the data set {images.name} lies in other files, which are not read"
                )
            super().__init__(images, pages)
            check_count(self.count, file)
            at_once = max(math.prod(self._own), math.prod(images.chunks or ()))  # unpacked for one
            check_size(at_once * images.dtype.itemsize, file)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Closes what h5py has opened."""
        self._opened.close()


def _images(file: Any) -> Any:
    """The data set that holds images: that with most axes, of several the one that is called so."""
    found, seen = {}, {file}
    waiting = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue  # it may lead to another file
            item = group[name]
            if isinstance(item, h5py.Group) and item not in seen:
                seen.add(item)
                waiting.append(item)
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "buif" and item.ndim > 1:
                found[item.name] = item
            if len(found) > _MOST:
                raise ValueError(f"it holds more than {_MOST} data sets that may be images: {_ONE}")
    most = max((item.ndim for item in found.values()), default=0)
    able = {name: item for name, item in found.items() if item.ndim == most}
    called = [name for name in able if name.rpartition("/")[2] in _NAMES]
    if not able:
        raise ValueError(f"none of its data sets can be images: {_ONE}")
    if len(able) > 1 and len(called) != 1:
        raise ValueError(f"it holds the data sets {', '.join(sorted(able))}: {_ONE}")
    return able[called[0] if called else next(iter(able))]
