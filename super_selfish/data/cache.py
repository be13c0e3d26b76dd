"""A file of decoded, resized images, so that every later epoch and run is free of decoding.

It is a `.npy` file of bytes `[N, H, W, C]`, behind which a note in JSON says what it was made of:
names, sizes and times of the source files as one hash, size and channels of the images, and the
images that could not be read, by name and reason. What fits no longer is built anew; `cache_file`
says how a damaged one is noticed.

Building is safe at any time: the file is written under another name and renamed when whole, so a
reader sees the old one or the new one; and where the disk has locks, processes that want the same
cache wait for the first instead of doing its work again.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from super_selfish.data.cache_file import (
    FORMAT,
    DamagedCacheError,
    Note,
    open_file,
    write_file,
)
from super_selfish.data.file_reader import FileReader
from super_selfish.data.files import FileList
from super_selfish.data.fitting import Size
from super_selfish.data.jpeg import DECODER_VERSION
from super_selfish.data.paths import Paths, common_folder
from super_selfish.data.samples import Sample, Unreadable
from super_selfish.data.stored import StoredImages
from super_selfish.training.atomic import remove_rests, write_atomically
from super_selfish.training.display import open_bar
from super_selfish.training.file_lock import alone_at
from super_selfish.training.interrupt import Interrupt
from super_selfish.training.telling import warn

_LOCK = ".super-selfish-cache.lock"  # of a folder: one cache after the other is built in it
_WINDOW = 128  # images that are decoded before the oldest of them is written, at most

_logger = logging.getLogger(__name__)
_MOST_WARNINGS = 10  # of damaged images, of a cache in a process


class Decodes(Protocol):
    """What a cache asks of the source whose images it keeps."""

    dataset: Any
    items: Any
    reader: FileReader
    image_size: Size
    in_channels: int

    @property
    def value_range(self) -> tuple[Any, Any] | None:
        """The numbers that are black and white."""

    def __len__(self) -> int:
        """Number of images."""

    def decode(self, index: int) -> Sample | Unreadable:
        """One image, read from its file."""

    def name(self, index: int) -> str:
        """Its path."""


class CachedImages(StoredImages):
    """The images of a cache; a copy in another process opens it anew."""

    def __init__(self, path: Path, note: Note, labels: Tensor | None) -> None:
        """Opens the file.

        Args:
            path: The file.
            note: What it must have been made of.
            labels: `[N, ...]` or `None`.

        Raises:
            OSError: If it is another one by now.
        """
        found = open_file(path, note)
        if found is None:
            raise OSError(f"the cache {path} was removed or built anew for other images meanwhile")
        self._file = found
        self._path, self._note = path, note
        self._damaged: set[int] = set()
        super().__init__(labels, (index for index, _, _ in found.note["unreadable"]))

    def images_at(self, indices: Tensor) -> Tensor | None:
        """Some images, `[B, C, H, W]`, the memory channels-last; `None` if one is damaged."""
        images, damaged = self._file.read(indices.tolist())
        room = max(0, _MOST_WARNINGS - len(self._damaged))
        for index in [index for index in damaged if index not in self._damaged][:room]:
            warn(
                f"image {index} in the cache {self._path} is damaged: it is decoded again, and "
                "written back if it can be. If there are more, the disk may be failing"
            )
        self._damaged.update(damaged)
        return None if damaged else torch.from_numpy(images).permute(0, 3, 1, 2)

    def mend(self, sample: Sample) -> None:
        """Writes a damaged image back, as it was decoded again."""
        if sample.index not in self._damaged:
            return
        try:
            self._file.mend(sample.index, sample.image.permute(1, 2, 0).numpy())
        except OSError as error:
            _logger.info("image %d of %s cannot be mended: %s", sample.index, self._path, error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves the images out of a pickle."""
        return CachedImages, (self._path, self._note, self.labels)


def open_cache(
    source: Decodes, path: str | os.PathLike[str], *, progress: bool = True
) -> CachedImages:
    """Opens the cache of a source, and builds it first where there is none that fits.

    Args:
        source: Reads files.
        path: The file; `.npy` is added.
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
    note = _note(source, source.items)
    if not _is_whole(file, note):
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone_at(file.with_name(_LOCK), wait=True):
            if not _is_whole(file, note, tell=True):  # nobody has built it while this one waited
                remove_rests(file)  # before the room on the disk is asked for
                _build(source, file, note, progress)
    return CachedImages(file, note, source.items.labels)


def _is_whole(path: Path, note: Note, *, tell: bool = False) -> bool:
    """Whether there is a cache of these images that is as it was written."""
    try:
        found = open_file(path, note)
    except DamagedCacheError as error:
        if tell:
            warn(f"the cache {path} is damaged ({error}): it is built anew")
        return False
    if found is None and tell and path.exists():
        _logger.info("%s was made of other images: built anew", path)
    return found is not None


def _note(source: Decodes, files: FileList) -> Note:
    """What decides the bytes of a cache."""
    height, width = source.image_size
    return {
        "format": FORMAT,
        "decoder": DECODER_VERSION,
        "shape": [len(files), height, width, source.in_channels],
        "files": _hash(files.files),
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


def _hash(files: Paths) -> str:
    """Names, sizes and times of files; their common folder may have been reached otherwise."""
    start = common_folder(files)
    digest = hashlib.sha256()
    for name in files:
        try:
            status = os.stat(name)
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # whoever reads the image will say so
            size, time = -1, -1
        digest.update(json.dumps([name[start:], size, time]).encode())
    return digest.hexdigest()


def _build(source: Decodes, path: Path, note: Note, progress: bool) -> None:
    needed, free = int(np.prod(note["shape"], dtype=np.int64)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"the cache {path} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB "
            "left: give another path, a smaller image_size, or leave the cache out"
        )
    unreadable: list[tuple[int, str, str]] = []

    def images() -> Iterator[bytes | None]:
        for sample in _decoded(source, progress):
            if isinstance(sample, Unreadable):
                unreadable.append((sample.index, sample.name, sample.reason))
                yield None
            else:
                yield _bytes(sample, source)

    whole = {**note, "unreadable": unreadable}
    write_atomically(path, lambda file: write_file(file, whole, images()))


def _decoded(source: Decodes, progress: bool) -> Iterator[Sample | Unreadable]:
    """All samples in order, decoded by as many threads as torch uses.

    Ctrl-C waits for the next of them: in the midst of handing work to a thread it could leave a
    lock behind, for which the thread, and then this process, would wait for ever.
    """
    bar = open_bar("Decoding for the cache", len(source), "img", shown=progress)
    with bar, Interrupt() as interrupt, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(source), _WINDOW):
            window = range(start, min(start + _WINDOW, len(source)))
            for sample in pool.map(source.decode, window):
                yield sample
                bar.update()
                interrupt.raise_if_requested()


def _bytes(sample: Sample, source: Decodes) -> bytes:
    if sample.image.dtype != torch.uint8:
        raise ValueError(
            f"{source.name(sample.index)}: a cache keeps images of 8 bits, this one is "
            f"{str(sample.image.dtype).removeprefix('torch.')}: convert it, or leave the cache out"
        )
    return sample.image.permute(1, 2, 0).numpy().tobytes()
