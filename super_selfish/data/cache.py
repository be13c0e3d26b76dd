"""A file of decoded, resized images, so that every later epoch and run is free of decoding.

It is a `.npy` file of bytes `[N, H, W, C]`, behind which a note in JSON says what it was made of:
names, sizes and times of the source files as one hash, size and channels of the images, and the
images that could not be read, by name and reason. What fits no longer is built anew.

Building is safe at any time: the file is written under another name and renamed when whole, so a
reader sees the old one or the new one; and where the system has file locks, processes that want
the same cache wait for the first instead of doing its work again.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.data.bar import images_bar
from super_selfish.data.files import FileList
from super_selfish.data.jpeg import DECODER_VERSION
from super_selfish.data.samples import Sample, Unreadable
from super_selfish.data.stored import StoredImages
from super_selfish.training.checkpoint import write_atomically
from super_selfish.training.interrupt import Interrupt

if TYPE_CHECKING:
    from super_selfish.data.sources import ImageSource

if sys.platform != "win32":
    import fcntl

FORMAT = 1
_TAIL = struct.Struct("<Q8s")  # length of the note, and a mark, at the very end
_MARK = b"SelfishC"
_WINDOW = 128  # images that are decoded before the oldest of them is written, at most

_logger = logging.getLogger(__name__)

Note = dict[str, Any]


class CachedImages(StoredImages):
    """The images of a cache, mapped into memory; a copy in another process maps them anew."""

    def __init__(self, path: Path, note: Note, labels: Tensor | None) -> None:
        """Maps the file.

        Args:
            path: The file.
            note: What it must have been made of.
            labels: `[N, ...]` or `None`.

        Raises:
            OSError: If it is another one by now.
        """
        found = _open(path, note)
        if found is None:
            raise OSError(f"the cache {path} was removed or built anew for other images meanwhile")
        self._images, stored = found  # (N, H, W, C)
        self._path, self._note = path, note
        super().__init__(labels, (index for index, _, _ in stored["unreadable"]))

    def images_at(self, indices: Tensor) -> Tensor:
        """A copy of some images, `[B, C, H, W]`, the memory channels-last."""
        return torch.from_numpy(self._images[indices.numpy()]).permute(0, 3, 1, 2)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves the images out of a pickle."""
        return CachedImages, (self._path, self._note, self.labels)


def open_cache(
    source: ImageSource, path: str | os.PathLike[str], *, progress: bool = True
) -> CachedImages:
    """Opens the cache of a source, and builds it first where there is none that fits.

    Args:
        source: Reads files.
        path: The file; `.npy` is added.
        progress: Whether to show a bar while it is built, where there is a terminal.

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
    file = Path(os.fspath(path).removesuffix(".npy") + ".npy")
    note = _note(source, source.items)
    if _open(file, note) is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(file.parent) as is_alone:
            if _open(file, note) is None:  # nobody has built it while this process waited
                if is_alone:
                    _remove_rests(file)
                _build(source, file, note, progress)
    return CachedImages(file, note, source.items.labels)


def _note(source: ImageSource, files: FileList) -> Note:
    """What decides the bytes of a cache."""
    height, width = source.image_size
    return {
        "format": FORMAT,
        "decoder": DECODER_VERSION,
        "shape": [len(files), height, width, source.in_channels],
        "files": _hash(files.files),
    }


def _hash(files: list[str]) -> str:
    """Names, sizes and times of files; their common folder may have been reached otherwise."""
    start = len(os.path.dirname(os.path.commonprefix(files)))  # noqa: RUF071
    digest = hashlib.sha256()
    for name in files:
        try:
            status = os.stat(name)
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # whoever reads the image will say so
            size, time = -1, -1
        digest.update(json.dumps([name[start:], size, time]).encode())
    return digest.hexdigest()


def _open(path: Path, note: Note) -> tuple[NDArray[np.uint8], Note] | None:
    """The images `[N, H, W, C]` and the note of a cache; `None` if there is none that fits."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        stored = _read_note(file)
        if stored is None:
            raise ValueError(
                f"{path} is no cache of images, or a broken one: give another path, or remove it"
            )
        differing = [key for key in note if stored.get(key) != note[key]]
        if differing:
            _logger.info("%s was made of other %s: built anew", path, ", ".join(differing))
            return None
        file.seek(0)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype, "r", file.tell(), shape), stored


def _read_note(file: BinaryIO) -> Note | None:
    length = file.seek(0, os.SEEK_END)
    if length < _TAIL.size:
        return None
    file.seek(length - _TAIL.size)
    size, mark = _TAIL.unpack(file.read(_TAIL.size))
    if mark != _MARK or size > length - _TAIL.size:
        return None
    file.seek(length - _TAIL.size - size)
    note: Note = json.loads(file.read(size))
    return note


def _build(source: ImageSource, path: Path, note: Note, progress: bool) -> None:
    needed, free = int(np.prod(note["shape"], dtype=np.int64)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"the cache {path} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB "
            "left: give another path, a smaller image_size, or leave the cache out"
        )
    unreadable: list[tuple[int, str, str]] = []
    missing = bytes(needed // len(source))

    def write(file: BinaryIO) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": tuple(note["shape"])}
        np.lib.format.write_array_header_1_0(file, header)
        for sample in _decoded(source, progress):
            if isinstance(sample, Unreadable):
                unreadable.append((sample.index, sample.name, sample.reason))
                file.write(missing)
            else:
                file.write(_bytes(sample, source))
        text = json.dumps({**note, "unreadable": unreadable}).encode()
        file.write(text + _TAIL.pack(len(text), _MARK))

    write_atomically(path, write)


def _remove_rests(path: Path) -> None:
    """Removes what builds left behind that were killed."""
    for file in path.parent.iterdir():
        if file.name.startswith(f"{path.name}.") and file.suffix == ".tmp":
            file.unlink()


def _decoded(source: ImageSource, progress: bool) -> Iterator[Sample | Unreadable]:
    """All samples in order, decoded by as many threads as torch uses.

    Ctrl-C waits for the next of them: in the midst of handing work to a thread it could leave a
    lock behind, for which the thread, and then this process, would wait for ever.
    """
    bar = images_bar("Decoding for the cache", len(source), shown=progress)
    with bar, Interrupt() as interrupt, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(source), _WINDOW):
            window = range(start, min(start + _WINDOW, len(source)))
            for sample in pool.map(source.decode, window):
                yield sample
                bar.update()
                interrupt.raise_if_requested()


def _bytes(sample: Sample, source: ImageSource) -> bytes:
    if sample.image.dtype != torch.uint8:
        raise ValueError(
            f"{source.name(sample.index)}: a cache keeps images of 8 bits, this one is "
            f"{str(sample.image.dtype).removeprefix('torch.')}: convert it, or leave the cache out"
        )
    return sample.image.permute(1, 2, 0).numpy().tobytes()


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Waits until no other process builds in a folder; the system ends the lock with a process.

    Yields whether that is certain.
    """
    if sys.platform == "win32":  # it has other locks: both build, and the last rename stays
        yield False
        return
    is_alone = True
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a network folder without locks: as on Windows
            _logger.info("%s takes no locks: other processes may build the same cache", folder)
            is_alone = False
        yield is_alone
    finally:
        os.close(handle)
