"""Finished runs in one file of lines, and locks by which several processes share the others.

Each line of the file is the record of a run, as JSON; it is appended by a single write, so that
processes do not mix their lines, and a line that a power cut left half-written is passed over. A
run that somebody works on is locked by the operating system, which frees the lock however that
process ends.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from super_selfish.training.file_lock import alone_at

Record = dict[str, Any]


class RunStore:
    """Records of runs by key, in a file or, without a path, in memory.

    Attributes:
        folder: Where locks and checkpoints lie, or `None`.
        file: The file of lines, or `None`.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Opens the store `path + ".jsonl"` with the folder `path`; nothing is written yet."""
        place = None if path is None else os.path.expanduser(os.fspath(path))
        self.folder = None if place is None else Path(place)
        self.file = None if place is None else Path(place + ".jsonl")
        self._here: dict[str, Record] = {}

    def read(self) -> dict[str, Record]:
        """All records by their key; of several with one key the last."""
        if self.file is None:
            return dict(self._here)
        if not self.file.is_file():
            return {}
        records = {}
        for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
            record = _parse(line)
            if record is not None:
                records[record["key"]] = record
        return records

    def append(self, record: Record) -> None:
        """Adds a record, which has a `key`.

        Raises:
            OSError: If it cannot be written, for instance since the disk is full; then it is not
                among the records.
        """
        if self.file is None:
            self._here[record["key"]] = record
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        handle = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size:  # what a power cut left half-written must not spoil this line too
                os.lseek(handle, size - 1, os.SEEK_SET)
                line = line if os.read(handle, 1) == b"\n" else "\n" + line
            _write_whole(handle, line.encode())
            os.fsync(handle)
        except OSError as error:
            checkpoint = self.checkpoint(record["key"])
            raise OSError(
                error.errno,
                f"the result of run {record['key']} cannot be written to {self.file}: "
                f"{error.strerror or error}; its checkpoint stays at {checkpoint}.pt, so make room "
                "and call again: nothing is trained twice",
            ) from error
        finally:
            os.close(handle)

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Tries to reserve a run for this process while the context lasts.

        Whoever gets it must look into the store once more: the run may have been finished between.

        Args:
            key: Of the run.

        Yields:
            Whether the run is ours.
        """
        if self.folder is None:
            yield True
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone_at(self.folder / f"{key}.claim") as is_ours:
            yield is_ours

    def checkpoint(self, key: str) -> Path | None:
        """Where a run keeps its checkpoint, without the ending."""
        return None if self.folder is None else self.folder / key

    def clear(self, key: str) -> None:
        """Removes the checkpoint of a finished run, and what lies beside it."""
        if self.folder is None:
            return
        names = re.compile(re.escape(key) + ENDINGS)
        for file in [*self.folder.iterdir()]:
            if names.fullmatch(file.name):
                _remove(file)


def _write_whole(handle: int, line: bytes) -> None:
    """Writes a line in one piece, from the beginning where the system took only a part of it.

    The parts are passed over by readers, as what a power cut left; joined by a second write, they
    might hold a line of another process.
    """
    for _ in range(_ATTEMPTS):
        if os.write(handle, line) == len(line):
            return
        line = line if line.startswith(b"\n") else b"\n" + line
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# What a run leaves: its lock, its checkpoint and what was that before, its history.
ENDINGS = r"(\.lock|\.csv|(-previous(-\d+)?)?\.pt)"
_ATTEMPTS = 3  # where a disk is full, the second one says so
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write another end of line


def _parse(line: str) -> Record | None:
    """The record of a line; None for one that is cut off."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and "key" in record else None


def _remove(path: Path) -> None:
    """Removes a file, unless another process holds it open where that forbids it (Windows)."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return
