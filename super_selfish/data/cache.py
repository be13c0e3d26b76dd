"""Decoded, resized images in files, so that every later epoch and run is free of decoding.

A cache is a `.npy` file of bytes `[N, H, W, C]`, or several of at most two gigabytes, behind each
of which a note in JSON says what it was made of: names, sizes and times of the source files as one
hash, size and channels of the images, and the images that could not be read, by name and reason.
A file that fits no longer is built anew, the others stay; `cache_file` says how a damaged one is
noticed, `cache_parts` how several processes build one cache.

Building is safe at any time: a file is written under another name and renamed when whole, so a
reader sees the old one or the new one.

What is noticed: every source file is asked for its size and its time of change whenever a cache is
opened (by threads: the folders' times do not show a file that was written over). What is not: a
file that was changed and given its former size and time.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import types
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from super_selfish.data.cache_file import FORMAT, CacheFile, Note, open_file
from super_selfish.data.cache_parts import Decodes, Part, build_missing, path_of_part, spans
from super_selfish.data.file_states import FileStates
from super_selfish.data.files import FileList
from super_selfish.data.jpeg import DECODER_VERSION
from super_selfish.data.samples import Sample
from super_selfish.data.stored import StoredImages
from super_selfish.training.telling import warn

_logger = logging.getLogger(__name__)
_MOST_WARNINGS = 10  # of damaged images, of a cache in a process


class CachedImages(StoredImages):
    """The images of a cache; a copy in another process opens it anew."""

    def __init__(self, parts: list[Part], labels: Tensor | None) -> None:
        """Opens the files.

        Args:
            parts: All of them, in order.
            labels: `[N, ...]` or `None`.

        Raises:
            OSError: If one is another by now.
        """
        self._parts = parts
        self._files = [_opened(part) for part in parts]
        self._firsts = [part.first for part in parts]
        self._damaged: set[int] = set()
        unreadable = (index for file in self._files for index, _, _ in file.note["unreadable"])
        super().__init__(labels, unreadable)

    def images_at(self, indices: Tensor) -> Tensor | None:
        """Some images, `[B, C, H, W]`, the memory channels-last; `None` if one is damaged."""
        _, *shape = self._parts[0].note["shape"]
        images = np.empty((len(indices), *shape), np.uint8)
        damaged = []
        for image, index in zip(images, indices.tolist(), strict=True):
            file, place = self._place(index)
            if not file.read(image, place):
                damaged.append(index)
        room = max(0, _MOST_WARNINGS - len(self._damaged))
        for index in [index for index in damaged if index not in self._damaged][:room]:
            warn(
                f"image {index} in the cache {self._place(index)[0].path} is damaged: it is "
                "decoded again, and written back if it can be. If there are more, the disk may be "
                "failing"
            )
        self._damaged.update(damaged)
        return None if damaged else torch.from_numpy(images).permute(0, 3, 1, 2)

    def mend(self, sample: Sample) -> None:
        """Writes a damaged image back, as it was decoded again."""
        if sample.index not in self._damaged:
            return
        file, place = self._place(sample.index)
        try:
            file.mend(place, sample.image.permute(1, 2, 0).numpy())
        except OSError as error:
            _logger.info("image %d of %s cannot be mended: %s", sample.index, file.path, error)

    def _place(self, index: int) -> tuple[CacheFile, int]:
        """The file of an image, and where it is in there."""
        number = bisect_right(self._firsts, index) - 1
        return self._files[number], index - self._firsts[number]

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves the images out of a pickle."""
        return CachedImages, (self._parts, self.labels)


def _opened(part: Part) -> CacheFile:
    found = open_file(part.path, part.note)
    if found is None:
        raise OSError(f"the cache {part.path} was removed or built anew for other images meanwhile")
    return found


def open_cache(
    source: Decodes, path: str | os.PathLike[str], *, progress: bool = True
) -> CachedImages:
    """Opens the cache of a source, and builds first what of it is missing or fits no longer.

    Args:
        source: Reads files.
        path: The file; `.npy` is added. More images than one file shall hold lie in several, with
            a number before that ending.
        progress: Whether to show how far it is, while it is built.

    Raises:
        TypeError: The images come from no files.
        ValueError: An image has more than 8 bits, or `path` is a file of another kind.
        OSError: An image cannot be read (`on_error="raise"`), or the disk is too small.
    """
    if not isinstance(source.items, FileList):
        raise TypeError(
            "a cache is checked against the files it was made of: it takes a folder or a list of "
            f"files, got {type(source.dataset).__name__}; give the folder itself, or leave the "
            "cache out"
        )
    file = Path(os.path.expanduser(os.fspath(path)).removesuffix(".npy") + ".npy")
    states = FileStates(source.items.files)
    parts = parts_of(source, file, states)
    if len(parts) > 1 and file.exists():  # of a time when a cache was one file, however large
        former = Part(file, 0, _note(source, states, 0, len(source)))
        if former.is_whole():
            return CachedImages([former], source.items.labels)
    build_missing(source, file, parts, progress=progress)
    return CachedImages(parts, source.items.labels)


def parts_of(source: Decodes, path: Path, states: FileStates) -> list[Part]:
    """The files of which a cache consists, whether they are there or not.

    Args:
        source: Reads the images.
        path: The name of the cache.
        states: Of the files of the images.
    """
    height, width = source.image_size
    places = spans(len(source), height * width * source.in_channels)
    if len(places) == 1:
        return [Part(path, 0, _note(source, states, 0, len(source)))]
    return [
        Part(
            path_of_part(path, number),
            first,
            {**_note(source, states, first, last), "first": first},
        )
        for number, (first, last) in enumerate(places)
    ]


def _note(source: Decodes, states: FileStates, first: int, last: int) -> Note:
    """What decides the bytes of a file of a cache."""
    height, width = source.image_size
    return {
        "format": FORMAT,
        "decoder": DECODER_VERSION,
        "shape": [last - first, height, width, source.in_channels],
        "files": states.digest(first, last),
        "values": json.loads(json.dumps(source.value_range)),
        "pages": source.reader.pages,
        "alpha": source.reader.alpha,
        "loader": _describe(source.reader.loader),
    }


def _describe(loader: Any) -> str | None:
    """What tells a user's reader: its name, code and constants, or whatever else it says of itself.

    Of what says where it lies in memory it differs from run to run: then the cache is built anew.
    """
    if isinstance(loader, functools.partial):
        return f"{_describe(loader.func)} {loader.args!r} {loader.keywords!r}"
    code = getattr(loader, "__code__", None)
    if loader is None or code is None:
        return None if loader is None else repr(loader)
    enclosed = [cell.cell_contents for cell in loader.__closure__ or ()]
    constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
    parts = [code.co_code.hex(), constants, code.co_names, loader.__defaults__, enclosed]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"{loader.__module__}.{loader.__qualname__} {digest}"
