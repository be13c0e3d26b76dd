"""Files that a reader sees whole or not at all, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

# What a file system says that cannot lock, or cannot flush a folder; nothing is wrong with it.
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    *,
    check: Callable[[Path], object] | None = None,
    place: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Writes a file under a temporary name in the same folder, flushes it, and renames it.

    Both the file and its new name are on the disk when this returns. What writers of the same file
    left behind that were killed is removed.

    Args:
        path: Where the file shall be; folders are created.
        write: Is given the open file, to be read and written.
        check: Is given the temporary file when it is complete; raises if it is not good.
        place: Is given the temporary file and the path, and puts the one at the other; default:
            renames it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_rests(path)
    with _temporary(path) as (temporary, file):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        if sys.platform == "win32":  # an open file has no other name there
            file.close()
        place(temporary, path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Has the names in a folder written to the disk, where the system knows how."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(handle)


def remove_rests(path: Path) -> None:
    """Removes temporary files of writers of a file that were killed, and of no others.

    Args:
        path: The file that they would have become.
    """
    prefix = _prefix(path)
    with os.scandir(path.parent) as entries:
        rests = [Path(e.path) for e in entries if e.name.startswith(prefix) and e.is_file()]
    for rest in rests:
        if rest.suffix == ".tmp":
            _remove_unless_written(rest)


def _prefix(path: Path) -> str:
    # Short whatever the name: a file system that takes the name takes this one too.
    return f".{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}-"


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside another, locked for as long as its writer lives; gone afterwards."""
    while True:
        temporary = path.with_name(f"{_prefix(path)}{uuid.uuid4().hex[:12]}.tmp")
        # Opened like any file, so that it may be read by whom the user's umask allows.
        with temporary.open("x+b") as file:
            try:
                _lock(file, wait=True)
                if os.fstat(file.fileno()).st_nlink:
                    yield temporary, file
                    return
                # Before it was locked another process took it for a rest.
            finally:
                temporary.unlink(missing_ok=True)


def _remove_unless_written(rest: Path) -> None:
    try:
        with rest.open("r+b") as file:  # network folders lock what can be written only
            if _lock(file, wait=False):
                rest.unlink(missing_ok=True)
    except FileNotFoundError:  # its writer has just finished
        return
    except PermissionError:  # another user's, or on Windows an open one
        return


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Locks a file; the system ends the lock with the process. Returns whether it is certain."""
    if sys.platform == "win32":  # the system itself keeps an open file from being removed
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    return True
