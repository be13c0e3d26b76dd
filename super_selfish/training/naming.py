"""Where a run stores, found out before it trains."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from super_selfish.training.checkpoint import (
    beside,
    checkpoint_path,
    former_paths,
    without_ending,
)
from super_selfish.training.plain import plain
from super_selfish.training.telling import warn

# What lies beside a checkpoint; the longest of them decides whether a name is too long.
ENDINGS = (".pt", ".csv", "-best.pt", "-nan.pt", "-2026-11-28-101200-previous.pt")
_INSTEAD = "another name=, or None to store nothing"


def fixed_name(name: Any) -> str:
    """The name of a checkpoint as an absolute path, whatever folder the process goes to later.

    Args:
        name: Path without its ending; relative to the present folder, `~` is the user's.

    Returns:
        The path, without its ending.

    Raises:
        ValueError: If it names no file.
        TypeError: If it is no path.
    """
    text = plain(name, "name")
    if not isinstance(text, str):
        raise TypeError(f"name is a path, or None to store nothing, got {name!r}")
    if not text or "\0" in text or os.path.basename(without_ending(text)) in ("", ".", ".."):
        raise ValueError(
            f"name is the path of a file without its ending, such as 'store/base', got {text!r}"
        )
    return without_ending(os.path.abspath(os.path.expanduser(text)))


def require_writable(name: str, keep_last: int, instead: str = _INSTEAD) -> None:
    """Refuses a name under which nothing can be written; leaves nothing there.

    Args:
        name: From `fixed_name`.
        keep_last: Files that are kept.
        instead: What to give in its place, for the message.

    Raises:
        OSError: If a folder stands there, or a file where a folder should be, a name is too long
            for the disk, or the right is missing.
    """
    paths = [beside(name, ending) for ending in ENDINGS]
    for path in [*paths, *former_paths(paths[0], keep_last)]:
        try:
            _require_folder(path.parent)
            is_folder = path.is_dir()
            path.exists()
        except OSError as error:
            raise cannot_store(path, error, instead) from error
        if is_folder:
            raise OSError(
                errno.EISDIR, f"nothing can be stored at {path}: it is a folder; give {instead}"
            )
        _require_length(path, instead)


def require_room(name: str, needed: int, most: int | None = None) -> None:
    """Refuses a name whose disk has no room for a checkpoint, and warns where it has none for all.

    Args:
        name: From `fixed_name`.
        needed: Length of a checkpoint, in bytes.
        most: Bytes that the run will need besides what lies there; default: those of one.

    Raises:
        OSError: If there is less room.
    """
    path = checkpoint_path(name)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"nothing can be stored at {path}: a checkpoint takes {needed / 1e6:.1f} MB, its disk "
            f"has {free / 1e6:.1f} MB left; free some, or give another name=",
        )
    if most is not None and most > free:
        warn(
            f"the disk of {path} has {free / 1e6:.1f} MB left, and the files of this run may take "
            f"{most / 1e6:.1f} MB at a time ({needed / 1e6:.1f} MB each): free some, or "
            "keep_last=1 keeps no former file"
        )


def cannot_store(path: Path, error: OSError, instead: str = _INSTEAD) -> OSError:
    """The error of the system, in words for who gave the name."""
    why = error.strerror or str(error)
    return OSError(
        error.errno or errno.EIO, f"nothing can be stored at {path}: {why}; give {instead}"
    )


def _require_folder(folder: Path) -> None:
    """Refuses a folder that can neither be used nor made, by making it for a moment."""
    file = next((each for each in (folder, *folder.parents) if each.is_file()), None)
    if file is not None:
        raise NotADirectoryError(errno.ENOTDIR, f"{file} is a file, not a folder")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # another run has written there meanwhile
        for each in missing:
            each.rmdir()


def _require_length(path: Path, instead: str) -> None:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_store(path, error, instead) from error
