"""Searches a folder to its bottom, many folders at a time, in an order that is always the same.

Where a disk is far away, or has to look for what it knows of its folders, one folder after the
other means to wait for each.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

_THREADS = 16  # that wait for the disk; more than one of them at work hardly helps
_ENCODING = ("utf-8", "surrogatepass")


class Run(NamedTuple):
    """Files of one folder that follow one another in the order of all.

    Attributes:
        parts: The folders that lead to it from where the search began.
        names: Of the files, sorted.
    """

    parts: tuple[str, ...]
    names: list[str]


class FolderState(NamedTuple):
    """By what a folder is known to be as it was: no name came, went or became another.

    Attributes:
        path: The way to it.
        number: Of it on its disk.
        modified: When a name in it changed, in nanoseconds.
        changed: The same, or when its own rights or times were set, if that is later.
    """

    path: str
    number: int
    modified: int
    changed: int


def state_of_folder(path: str) -> FolderState:
    """How a folder is now.

    Raises:
        OSError: It is not there.
    """
    status = os.stat(path)
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return FolderState(path, status.st_ino, status.st_mtime_ns, changed)


class _Folder(NamedTuple):
    """What lies in a folder, without what is hidden.

    Attributes:
        state: Before it was read.
        names: Of the files, sorted; in one piece, which takes little memory.
        folders: The names of folders, sorted, and whether each leads elsewhere.
    """

    state: FolderState
    names: bytes
    folders: list[tuple[str, bool]]


def files_below(root: Path, visited: list[FolderState] | None = None) -> Iterator[Run]:
    """All files below a folder, sorted by the parts of their paths.

    Hidden files and folders (whose names begin with a point) are left out. Links to folders are
    followed, but a folder that was there already, be it by another name, is not entered again.

    Args:
        root: The folder.
        visited: Is given every folder that was read, as it was before.

    Raises:
        OSError: A folder cannot be read.
    """
    real = os.path.realpath(root)
    found = _scan(os.fspath(root), real)
    seen = {real}
    stack = [(_Place(os.fspath(root), real, ()), _steps(found[real]))]
    while stack:
        place, steps = stack[-1]
        step = next(steps, None)
        if step is None:
            stack.pop()
        elif isinstance(step, list):
            yield Run(place.parts, step)
        else:
            name, leads_elsewhere = step
            below = place.below(name, leads_elsewhere=leads_elsewhere)
            if below.real in seen:
                continue
            seen.add(below.real)
            if below.real not in found:
                found.update(_scan(below.path, below.real))
            stack.append((below, _steps(found[below.real])))
    if visited is not None:
        visited += [folder.state for folder in found.values()]


class _Place(NamedTuple):
    """A folder: the way to it, where it really is, and the way to it in parts."""

    path: str
    real: str
    parts: tuple[str, ...]

    def below(self, name: str, *, leads_elsewhere: bool) -> _Place:
        path = os.path.join(self.path, name)
        real = os.path.realpath(path) if leads_elsewhere else os.path.join(self.real, name)
        return _Place(path, real, (*self.parts, name))


def _steps(folder: _Folder) -> Iterator[list[str] | tuple[str, bool]]:
    """Files and folders in their order."""
    names = str(folder.names, *_ENCODING).split("\0") if folder.names else []
    start = 0
    for name, leads_elsewhere in folder.folders:
        end = bisect_left(names, name)
        if end > start:
            yield names[start:end]
        yield name, leads_elsewhere
        start = end
    if len(names) > start:
        yield names[start:]


def _scan(path: str, real: str) -> dict[str, _Folder]:
    """Reads a folder and all below it that are reached without a link.

    Args:
        path: The way to it.
        real: Where it really is.

    Returns:
        What lies in each folder, by where it really is.
    """
    found = {}
    pool = ThreadPoolExecutor(_THREADS)
    try:
        waiting: deque[tuple[_Place, Future[_Folder]]] = deque()
        place = _Place(path, real, ())
        waiting.append((place, pool.submit(_read, path)))
        while waiting:
            place, future = waiting.popleft()
            folder = found[place.real] = future.result()
            for name, leads_elsewhere in folder.folders:
                if not leads_elsewhere:
                    below = place.below(name, leads_elsewhere=False)
                    waiting.append((below, pool.submit(_read, below.path)))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _read(path: str) -> _Folder:
    state = state_of_folder(path)
    names, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                folders.append((entry.name, _leads_elsewhere(entry)))
            else:
                names.append(entry.name)
    names.sort()
    folders.sort()
    return _Folder(state, "\0".join(names).encode(*_ENCODING), folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; whoever reads the image will say so
        return False


def _leads_elsewhere(entry: os.DirEntry[str]) -> bool:
    """Whether a folder may lie elsewhere than its path says."""
    if sys.platform == "win32":  # where older versions of Python do not tell junctions
        return entry.is_symlink() or getattr(entry, "is_junction", lambda: True)()
    return entry.is_symlink()
