"""Locks of files, which the system frees when a process ends, however it ends (`filelock`).

A lock is a file of its own that lies where the work is done, and is removed with the lock. Forked
workers do not hold the lock of their parent.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)
# What a file system says that has no locks; nothing is wrong with it.
_NO_LOCKS = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, None}
)


class IsHeldError(Exception):
    """Another process, or another part of this one, holds the lock."""


def take(
    path: Path, *, wait: bool = False, on_acquired: Callable[[int], None] | None = None
) -> FileLock | None:
    """Takes the lock that belongs to a file.

    Args:
        path: The file, in a folder that exists; it is made.
        wait: Whether to wait while another holds it.
        on_acquired: Is given the open file, to write in it who holds it.

    Returns:
        The lock, for `give_back`; `None` where the disk knows none, which is logged.

    Raises:
        IsHeldError: Another holds it, and this does not wait.
        OSError: No file can be made there.
    """
    path.touch()  # where that fails, it says why
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=on_acquired)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise IsHeldError(str(path)) from error
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", None)
        if number not in _NO_LOCKS:
            raise
        why = getattr(error, "strerror", None) or error
        _log.warning("%s cannot be locked (%s): two processes would not be noticed", path, why)
        return None
    return lock


def give_back(lock: FileLock | None) -> None:
    """Removes the file of a lock while it is held, and frees the lock."""
    if lock is None:
        return
    path = Path(lock.lock_file)
    try:
        path.unlink(missing_ok=True)  # who waits for this very file notices that it is gone
    except PermissionError:  # Windows removes no file that is open: there the lock does it
        _log.debug("%s stays", path)
    lock.release()


@contextmanager
def alone_at(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Holds the lock of a file while the context lasts.

    Args:
        path: As for `take`.
        wait: As for `take`.

    Yields:
        Whether it is held, or the disk knows no locks; without `wait` it may be another's.
    """
    try:
        lock = take(path, wait=wait)
    except IsHeldError:
        yield False
        return
    try:
        yield True
    finally:
        give_back(lock)
