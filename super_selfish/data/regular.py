"""Opens regular files only, and of a bounded size: a folder may come from a stranger.

A pipe would be waited for without end, a device may never end, and a sparse file of a terabyte
takes no room on the disk but all of the memory.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

Path = str | os.PathLike[str]

MAX_FILE_BYTES = 2**30  # of a file that is read as a whole
MAX_IMAGE_BYTES = 2**32  # of one decoded image
_LARGE = 2**28  # bytes of an image
_MAX_RATIO = 2000  # of decoded to stored bytes; deflate reaches 1032
_LEAST_IMAGE = 64  # stored bytes of one of several images of a file
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path, *, whole: bool = True, buffering: int = -1) -> BinaryIO:
    """Opens a file for reading.

    Args:
        path: The file, or a link to it.
        whole: Whether it will be read as a whole, so that its size matters.
        buffering: As for `open`.

    Raises:
        OSError: It is missing or no regular file, or may not be read.
        ValueError: It is too large.
    """
    file: BinaryIO = open(path, "rb", buffering=buffering, opener=_opened)
    if whole:
        try:
            check_whole(file)
        except ValueError:
            file.close()
            raise
    return file


def refuse_waiting(path: Path) -> None:
    """Refuses a pipe, a socket or a device, before another reader opens it and waits.

    Args:
        path: Of anything else, or of nothing.

    Raises:
        OSError: It is one.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # whoever reads it will say so
        return
    if not stat.S_ISDIR(mode):  # some formats are folders
        _require_regular(mode)


def check_whole(file: BinaryIO) -> None:
    """Refuses a file that is too large to be read as a whole.

    Raises:
        ValueError: It has more than `MAX_FILE_BYTES`.
    """
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"the file has {size / 1e9:,.1f} GB, but an image of this kind is read as a whole and "
            f"may have {MAX_FILE_BYTES / 1e9:.1f}: store it otherwise, or read it by a loader="
        )


def check_size(num_bytes: int, file: BinaryIO | None = None) -> None:
    """Refuses an image that would take too much memory when it is decoded.

    Args:
        num_bytes: That it takes.
        file: Where it comes from: a small one cannot hold a large one.

    Raises:
        ValueError: It has more than `MAX_IMAGE_BYTES`, or is large and far larger than its file.
    """
    stored = num_bytes if file is None else os.fstat(file.fileno()).st_size
    if num_bytes > _LARGE and num_bytes > _MAX_RATIO * stored:
        raise ValueError(
            f"the file has {stored:,} bytes, but promises an image of {num_bytes / 1e9:.1f} GB: it "
            "is broken, or made to fill the memory"
        )
    if num_bytes > MAX_IMAGE_BYTES:
        raise ValueError(
            f"the image would take {num_bytes / 1e9:,.1f} GB of memory, and may take "
            f"{MAX_IMAGE_BYTES / 1e9:.1f}: cut it into smaller ones, or read it by a loader="
        )


def check_count(images: int, file: BinaryIO) -> None:
    """Refuses a file that promises far more images than it can hold, before they are listed.

    Raises:
        ValueError: It does, or it promises none.
    """
    stored = os.fstat(file.fileno()).st_size
    if images < 1:
        raise ValueError(f"the file promises {images:,} images")
    if images > max(1, stored // _LEAST_IMAGE):
        raise ValueError(
            f"the file has {stored:,} bytes, but promises {images:,} images: it is broken, or made "
            "to fill the memory"
        )


def _opened(path: str, flags: int) -> int:
    """Looks before and after: opening alone may wait, or do something to a device."""
    _require_regular(os.stat(path).st_mode)
    descriptor = os.open(path, flags | _FLAGS)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kind = next((words for test, words in _KINDS if test(mode)), "something else")
    raise OSError(f"expected a regular file, but it is {kind}")
