"""One run at a time writes a name: the second one is told of the first.

The lock is advisory, and belongs to a file `<name>.lock` that holds who has it. The file is removed
at the end of a run, and means nothing where it is left.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from super_selfish.training.checkpoint import beside, checkpoint_path
from super_selfish.training.distributed import rank
from super_selfish.training.file_lock import IsHeldError, give_back, take
from super_selfish.training.naming import cannot_store

_BEGINNING = b'{"pid": '


class NameInUseError(OSError):
    """Another run is writing at this name."""


class NameLock:
    """Held while a run goes on that writes at a name."""

    def __init__(self, name: str | os.PathLike[str]) -> None:
        """Takes the path of a checkpoint, without its ending."""
        self.name = name
        self.path = beside(name, ".lock")
        self._lock: FileLock | None = None
        self._unsigned: OSError | None = None

    def __enter__(self) -> NameLock:
        """Takes the lock.

        Raises:
            NameInUseError: If another run has it.
            OSError: If no file can be made there.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_free = _is_ours(self.path)
            if is_free:
                self._lock = take(self.path, on_acquired=self._sign)
        except IsHeldError:
            raise NameInUseError(errno.EAGAIN, self._in_use(_read(self.path))) from None
        except OSError as error:
            raise cannot_store(checkpoint_path(self.name), error) from error
        if not is_free:
            raise OSError(
                errno.EEXIST,
                f"{self.path} is no lock of a run, and one at this name would replace it: give "
                "another name=",
            )
        if self._unsigned is not None:
            self._give_back()
            raise cannot_store(self.path, self._unsigned) from self._unsigned
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the lock back."""
        self._give_back()

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        give_back(lock)

    def _sign(self, file: int) -> None:
        """Writes into the open file who holds the lock."""
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        try:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, json.dumps(holder).encode())
        except OSError as error:
            self._unsigned = error

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


def _is_ours(path: Path) -> bool:
    """Whether there is no file, an empty one, or one of a run, though it may have broken off."""
    try:
        with path.open("rb") as file:
            return _BEGINNING.startswith(file.read(len(_BEGINNING)))
    except (FileNotFoundError, PermissionError):  # Windows lets nobody read what is locked
        return True


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None if it is not written yet, no such text, or cannot be read."""
    try:
        holder = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    known = isinstance(holder, dict) and holder.keys() >= {"pid", "host", "since"}
    return holder if known and type(holder["pid"]) is int else None
