"""One run at a time writes a name: the second one is told of the first.

The lock is advisory, and belongs to a file `<name>.lock` that holds who has it. The system frees it
when its process ends, however it ends; the file is removed at the end of a run, and means nothing
where it is left.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from super_selfish.training.checkpoint import beside, checkpoint_path
from super_selfish.training.distributed import rank
from super_selfish.training.naming import cannot_store

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_log = logging.getLogger(__name__)

# Forked workers of a killed process share its lock, and notice its end within five seconds.
PATIENCE = 10.0  # seconds
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_BEGINNING = b'{"pid": '
_BEYOND = 1 << 20  # the byte that Windows locks, after all that is read


class NameInUseError(OSError):
    """Another run is writing at this name."""


class NameLock:
    """Held while a run goes on that writes at a name."""

    def __init__(self, name: str | os.PathLike[str]) -> None:
        """Takes the path of a checkpoint, without its ending."""
        self.name = name
        self.path = beside(name, ".lock")
        self._file: int | None = None

    def __enter__(self) -> NameLock:
        """Takes the lock.

        Raises:
            NameInUseError: If another run has it.
            OSError: If no file can be made there.
        """
        started = time.monotonic()
        while self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise cannot_store(checkpoint_path(self.name), error) from error
            try:
                _lock(file)
            except OSError as error:
                holder = _read(file)
                os.close(file)
                if error.errno not in _HELD:
                    _log.warning(
                        "%s cannot be locked (%s): two runs at one name would not be noticed",
                        self.path,
                        error.strerror,
                    )
                    return self
                if _is_alive(holder) or time.monotonic() - started > PATIENCE:
                    raise NameInUseError(errno.EAGAIN, self._in_use(holder)) from error
                time.sleep(0.1)
                continue
            if _is_file(file, self.path):
                self._file = file
            else:  # its owner removed it between the two calls
                os.close(file)
        try:
            if not _is_ours(self._file):
                raise OSError(
                    errno.EEXIST,
                    f"{self.path} is no lock of a run, and one at this name would replace it: give "
                    "another name=",
                )
            _write(self._file)
        except OSError as error:
            self._give_back(removes=error.errno != errno.EEXIST)
            if error.errno == errno.EEXIST:
                raise
            raise cannot_store(self.path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the lock back."""
        self._give_back(removes=True)

    def _give_back(self, *, removes: bool) -> None:
        if self._file is None:
            return
        try:
            if removes:
                self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows removes no file that is open
            _log.debug("%s stays", self.path)
        _unlock(self._file)
        os.close(self._file)
        self._file = None

    def _in_use(self, holder: dict[str, Any] | None) -> str:
        who = "another process"
        if holder is not None:
            who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        return (
            f"{checkpoint_path(self.name)} is being written by another run ({who}), and two runs "
            "at one name would overwrite each other: give another name=, or end that one first"
        )


def lock_of(name: str | os.PathLike[str] | None) -> AbstractContextManager[object]:
    """The lock of a run, in the process that writes.

    Args:
        name: Path of its checkpoint, without the ending; None if it stores nothing.
    """
    return nullcontext() if name is None or rank() != 0 else NameLock(name)


def _lock(file: int) -> None:
    if sys.platform == "win32":
        os.lseek(file, _BEYOND, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(file: int) -> None:
    # By word, as forked workers hold the same open file.
    if sys.platform == "win32":
        os.lseek(file, _BEYOND, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)


def _is_file(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write(file: int) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, json.dumps(holder).encode())


def _is_ours(file: int) -> bool:
    """Whether a file is empty, or was written by a run, though it may have broken off."""
    os.lseek(file, 0, os.SEEK_SET)
    begun = os.read(file, len(_BEGINNING))
    return _BEGINNING.startswith(begun)


def _read(file: int) -> dict[str, Any] | None:
    """Who holds the lock; None if it is not written yet, or no such text."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(file, 4096))
    except ValueError:
        return None
    known = isinstance(holder, dict) and holder.keys() >= {"pid", "host", "since"}
    return holder if known and type(holder["pid"]) is int else None


def _is_alive(holder: dict[str, Any] | None) -> bool:
    """Whether the process that took a lock still runs, as far as can be known from here."""
    if holder is None:
        return False
    if holder["host"] != socket.gethostname() or sys.platform == "win32":
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
