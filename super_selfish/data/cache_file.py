"""The file of an image cache: how it is written, and how it is read without trust.

It is a `.npy` file of bytes `[N, H, W, C]` that NumPy opens like any other, behind which lie a
checksum of every image, a note in JSON, and a mark. What a reader is given never decides how it
reads: the type is bytes, and the shape is that of the images that are wanted; the file's header
must be, byte for byte, the one that belongs to them.

Images are read by position, not mapped into memory: of a file that is cut off meanwhile a mapping
kills the process (SIGBUS), a read comes back short.

Shapes: `N` images, `B` batch, `H, W, C` height, width, channels.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT = 2
MISSING = 0  # checksum of an image that could not be read

_TAIL = struct.Struct("<Q8s")  # length of the note, and a mark, at the very end
_MARK = b"SelfishC"
_COMMENT = " # a cache of super-selfish"  # in the header, which Python and NumPy read past
_LONGEST_NOTE = 1 << 28  # bytes; names of a million unreadable images

Note = dict[str, Any]


class DamagedCacheError(ValueError):
    """The file is a cache of images, but not as it was written."""


class CacheFile:
    """An open cache, for reading; every image is checked against its checksum.

    Attributes:
        path: Where it lies.
        note: What it says of itself, checked.
    """

    def __init__(self, path: Path, handle: int, note: Note, sums: NDArray[np.uint32]) -> None:
        """Takes what `open_file` has checked; the handle is closed with this object."""
        self.path = path
        self.note = note
        self._handle = handle
        self._sums = sums
        self._shape = tuple(note["shape"][1:])
        self._start = len(header(note["shape"]))
        self._size = int(np.prod(self._shape))
        self._length = os.fstat(handle).st_size
        self._closer = weakref.finalize(self, os.close, handle)

    def read(self, image: NDArray[np.uint8], index: int) -> bool:
        """Reads an image.

        Args:
            image: `[H, W, C]`, in one piece, which is filled.
            index: Position in the file, not negative.

        Returns:
            Whether it is as it was written.
        """
        place = image.reshape(-1)
        length = read_at(self._handle, place, self._start + index * self._size)
        return length == self._size and zlib.crc32(place.data) == self._sums[index]

    def mend(self, index: int, image: NDArray[np.uint8]) -> bool:
        """Writes one image back, `[H, W, C]`, if it is the one that was written at first.

        Returns:
            Whether it was, and the file is still this one.

        Raises:
            OSError: The file cannot be written.
        """
        if image.dtype != np.uint8 or image.shape != self._shape:
            return False
        data = image.tobytes()
        if zlib.crc32(data) != self._sums[index]:
            return False
        with self.path.open("r+b") as file:
            is_this = os.path.sameopenfile(file.fileno(), self._handle)  # or built anew meanwhile
            if not is_this or os.fstat(self._handle).st_size != self._length:
                return False
            file.seek(self._start + index * self._size)
            file.write(data)
        return True


def read_at(handle: int, place: NDArray[np.uint8], position: int) -> int:
    """Fills an array of bytes from a position of a file; gives the number of bytes read."""
    if hasattr(os, "preadv"):  # leaves the position alone, which forked workers share
        return os.preadv(handle, [place.data], position)
    if hasattr(os, "pread"):
        data = os.pread(handle, place.nbytes, position)
    else:
        os.lseek(handle, position, os.SEEK_SET)
        data = os.read(handle, place.nbytes)
    place[: len(data)] = np.frombuffer(data, np.uint8)
    return len(data)


def write_file(file: BinaryIO, note: Note, images: Iterable[bytes | None]) -> None:
    """Writes a cache.

    Args:
        file: Open and empty.
        note: Its `shape` is `[N, H, W, C]`.
        images: `N` of them in order, `None` for one that could not be read. When they are through,
            `note["unreadable"]` must be complete.
    """
    file.write(header(note["shape"]))
    missing = bytes(int(np.prod(note["shape"][1:], dtype=np.int64)))
    sums = []
    for image in images:
        sums.append(MISSING if image is None else zlib.crc32(image))
        file.write(missing if image is None else image)
    table = np.array(sums, "<u4").tobytes()
    whole = {**note, "sums": hashlib.sha256(table).hexdigest()}
    text = json.dumps({**whole, "digest": _digest(whole)}).encode()
    file.write(table + text + _TAIL.pack(len(text), _MARK))


def open_file(path: Path, wanted: Note) -> CacheFile | None:
    """Opens a cache and checks all but the pixels, which are checked as they are read.

    Args:
        path: The file.
        wanted: What decides the bytes of the cache; the keys must be in the note as they are here.

    Returns:
        The cache; `None` if there is no file, or a whole one of other images.

    Raises:
        DamagedCacheError: The file is a cache, but not as it was written.
        ValueError: It is no cache.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise ValueError(f"{path} is no file: give the path of a file")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        found = _checked(path, handle, wanted)
    except BaseException:
        os.close(handle)
        raise
    if found is None:
        os.close(handle)
    return found


def is_cache(path: Path) -> bool:
    """Whether a file says of itself that it is a cache of images, whole or not."""
    with path.open("rb") as file:
        return _COMMENT.encode() in file.read(256)


def _checked(path: Path, handle: int, wanted: Note) -> CacheFile | None:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no file: give the path of a file")
    note, note_start = _read_note(path, handle, status.st_size)
    if any(note.get(key) != wanted[key] for key in wanted):
        return None
    number, *shape = wanted["shape"]
    head = header(wanted["shape"])
    table_start = len(head) + number * int(np.prod(shape, dtype=np.int64))
    if table_start + 4 * number != note_start:
        raise DamagedCacheError("its length is not that of its images")
    if _read(handle, 0, len(head)) != head:
        raise DamagedCacheError("its header is broken")
    table = _read(handle, table_start, 4 * number)
    if hashlib.sha256(table).hexdigest() != note.get("sums"):
        raise DamagedCacheError("its checksums are broken")
    return CacheFile(path, handle, note, np.frombuffer(table, "<u4"))


def _read_note(path: Path, handle: int, length: int) -> tuple[Note, int]:
    """The note, as it was written, and where it begins."""
    tail = _read(handle, max(0, length - _TAIL.size), _TAIL.size)
    if not tail.endswith(_MARK) or len(tail) < _TAIL.size:
        if _COMMENT.encode() in _read(handle, 0, 256):
            raise DamagedCacheError("its end is missing")
        raise ValueError(
            f"{path} is no cache of images, or a broken one: give another path, or remove it"
        )
    size, _ = _TAIL.unpack(tail)
    start = length - _TAIL.size - size
    if start < 0 or size > _LONGEST_NOTE:
        raise DamagedCacheError("its note is broken")
    try:
        note = json.loads(_read(handle, start, size))
    except (ValueError, RecursionError) as error:
        raise DamagedCacheError("its note is broken") from error
    if not isinstance(note, dict):
        raise DamagedCacheError("its note is broken")
    digest = note.pop("digest", None)
    is_former = note.get("format") == 1  # it had none, and is built anew
    if not is_former and (digest != _digest(note) or not _is_list_of_unreadable(note)):
        raise DamagedCacheError("its note is broken")
    return note, start


def _is_list_of_unreadable(note: Note) -> bool:
    entries = note.get("unreadable")
    return isinstance(entries, list) and all(
        isinstance(entry, list) and list(map(type, entry)) == [int, str, str] for entry in entries
    )


def _digest(note: Note) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()


def _read(handle: int, position: int, length: int) -> bytes:
    place = np.empty(length, np.uint8)
    return place[: read_at(handle, place, position)].tobytes()


def header(shape: list[int]) -> bytes:
    """The header of a `.npy` file, version 1.0, of bytes of a shape, with a comment of ours."""
    inner = ", ".join(map(str, shape))
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({inner}), }}{_COMMENT}"
    padding = -(10 + len(text) + 1) % 64
    body = (text + " " * padding + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body
