"""Of which files a cache of images consists, and how they are built by whoever comes.

Each part is a file of its own, which is whole or not there. Who wants a cache builds the parts that
are missing and that nobody else is building, one after the other, and waits for the others: so
several processes share the work, whether they were started together or not, and what a process that
was killed had finished stays.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from super_selfish.data.cache_file import DamagedCacheError, Note, is_cache, open_file, write_file
from super_selfish.data.file_reader import FileReader
from super_selfish.data.fitting import Size
from super_selfish.data.samples import Sample, Unreadable
from super_selfish.training.atomic import remove_rests, write_atomically
from super_selfish.training.display import Bar, open_bar
from super_selfish.training.file_lock import alone_at
from super_selfish.training.interrupt import Interrupt
from super_selfish.training.telling import warn

PART_BYTES = 2 * 10**9  # of images in one file
MOST_PARTS = 256  # every reader keeps all of them open; beyond, parts are larger
_WINDOW = 128  # images that are decoded before the oldest of them is written, at most

_logger = logging.getLogger(__name__)


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


class Part(NamedTuple):
    """A file of a cache.

    Attributes:
        path: Where it lies, or will lie.
        first: Which image of the source is its first one.
        note: What it must have been made of.
    """

    path: Path
    first: int
    note: Note

    @property
    def length(self) -> int:
        """Number of images in it."""
        return int(self.note["shape"][0])

    @property
    def nbytes(self) -> int:
        """Size of its images."""
        return int(np.prod(self.note["shape"], dtype=np.int64))

    @property
    def lock(self) -> Path:
        """What is locked by who builds it; short, whatever the name."""
        number = zlib.crc32(self.path.name.encode(errors="surrogateescape"))
        return self.path.with_name(f".super-selfish-cache-{number:08x}.lock")

    def is_whole(self, *, tell: bool = False) -> bool:
        """Whether it is there, made of these images, and as it was written."""
        try:
            found = open_file(self.path, self.note)
        except DamagedCacheError as error:
            if tell:
                warn(f"the cache {self.path} is damaged ({error}): it is built anew")
            return False
        if found is None and tell and self.path.exists():
            _logger.info("%s was made of other images: built anew", self.path)
        return found is not None


def spans(count: int, image_bytes: int) -> list[tuple[int, int]]:
    """First and last image, which is not among them, of each part.

    Args:
        count: Number of images.
        image_bytes: Size of one.
    """
    each = max(1, PART_BYTES // image_bytes, -(-count // MOST_PARTS))
    return [(first, min(first + each, count)) for first in range(0, count, each)]


def path_of_part(path: Path, number: int) -> Path:
    """Where a part of a cache of several lies: `images.00007.npy` beside `images.npy`."""
    return path.with_name(f"{path.name.removesuffix('.npy')}.{number:05}.npy")


def build_missing(source: Decodes, path: Path, parts: list[Part], *, progress: bool) -> None:
    """Builds the parts that are not whole, or waits until others have.

    Args:
        source: Reads the files.
        path: The name of the cache.
        parts: All that it shall consist of.
        progress: Whether to show how far it is.

    Raises:
        OSError: An image cannot be read, or the disk is too small.
        ValueError: An image has more than 8 bits, or a file of another kind is in the way.
    """
    missing = [part for part in parts if not part.is_whole()]
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in missing:
        remove_rests(part.path)  # before the room on the disk is asked for
    images = sum(part.length for part in missing)
    bar = open_bar("Decoding for the cache", images, "img", shown=progress)
    with bar:
        # Others may have begun: what they are building is on the disk already, or they find out.
        free = [part for part in missing if _is_free(part)]
        _require_room(path, sum(part.nbytes for part in free))
        while missing:
            taken_by_others = []
            for part in missing:
                with alone_at(part.lock) as is_mine:
                    if is_mine:
                        _make(source, part, bar)
                    else:
                        taken_by_others.append(part)
            if len(taken_by_others) == len(missing):
                part = taken_by_others.pop(0)
                with alone_at(part.lock, wait=True):  # no longer than the other lives
                    _make(source, part, bar)
            missing = taken_by_others
    _remove_others(path, {part.path for part in parts})


def _is_free(part: Part) -> bool:
    with alone_at(part.lock) as is_free:
        return is_free


def _require_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"the cache {path} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB "
            "left: give another path, a smaller image_size, or leave the cache out"
        )


def _make(source: Decodes, part: Part, bar: Bar) -> None:
    """Builds a part, unless another has while this one waited or was busy."""
    if part.is_whole(tell=True):
        bar.update(part.length)
    else:
        _build(source, part, bar)


def _build(source: Decodes, part: Part, bar: Bar) -> None:
    unreadable: list[tuple[int, str, str]] = []

    def images() -> Iterator[bytes | None]:
        for sample in _decoded(source, part, bar):
            if isinstance(sample, Unreadable):
                unreadable.append((sample.index, sample.name, sample.reason))
                yield None
            else:
                yield _bytes(sample, source)

    whole = {**part.note, "unreadable": unreadable}
    write_atomically(part.path, lambda file: write_file(file, whole, images()))


def _decoded(source: Decodes, part: Part, bar: Bar) -> Iterator[Sample | Unreadable]:
    """Samples in order, decoded by as many threads as torch uses.

    Ctrl-C waits for the next of them: in the midst of handing work to a thread it could leave a
    lock behind, for which the thread, and then this process, would wait for ever.
    """
    last = part.first + part.length
    with Interrupt() as interrupt, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(part.first, last, _WINDOW):
            window = range(start, min(start + _WINDOW, last))
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


def _remove_others(path: Path, kept: set[Path]) -> None:
    """Removes parts of this name that an earlier cache had more; they would fill the disk."""
    name = re.escape(path.name.removesuffix(".npy")) + r"(\.\d{5})?\.npy"
    with os.scandir(path.parent) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if re.fullmatch(name, entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for other in sorted(set(found) - kept):
        if not is_cache(other):
            continue
        try:
            other.unlink(missing_ok=True)
        except OSError as error:  # on Windows somebody reads it
            _logger.warning("%s belongs to no cache any more, but cannot go: %s", other, error)
