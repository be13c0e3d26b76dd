"""Files that a reader sees whole or not at all.

A checkpoint holds tensors and plain values only, so it loads with `weights_only=True`: opening a
stranger's file runs no code.
"""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor

FORMAT = 1


def checkpoint_path(name: str | os.PathLike[str]) -> Path:
    """The file of a checkpoint: its name, and the ending `.pt`."""
    return beside(name, ".pt")


def beside(name: str | os.PathLike[str], ending: str) -> Path:
    """A file that belongs to a checkpoint, such as its history.

    Args:
        name: Path of the checkpoint, without its ending.
        ending: With its point, such as `.csv`.

    Returns:
        The path.
    """
    text = os.fspath(name)
    return Path(text.removesuffix(".pt") + ending)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file under a temporary name in the same folder, flushes it, and renames it.

    Args:
        path: Where the file shall be; folders are created.
        write: Is given the open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened like any file, so that it may be read by whom the user's umask allows.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint.

    Args:
        path: Where the file shall be.
        state: Tensors and plain values, nested in dicts, lists and tuples.

    Raises:
        TypeError: If something else is in it; the message names the place.
    """
    require_plain(state, "checkpoint")
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU.

    Args:
        path: The file.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is no checkpoint of this library, or of a newer format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} cannot be read as a checkpoint: it is broken, or no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or "format" not in state:
        raise ValueError(f"{path} is no checkpoint of Super Selfish")
    if state["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {state['format']}, this version reads up to {FORMAT}: "
            "upgrade super-selfish"
        )
    return state


def is_plain(value: Any) -> bool:
    """Whether a value consists of tensors, numbers, text, and containers of these."""
    try:
        require_plain(value, "value")
    except TypeError:
        return False
    return True


def require_plain(value: Any, place: str) -> None:
    """Raises a TypeError that names the place of what is no tensor and no plain value."""
    if value is None or isinstance(value, bool | int | float | str | bytes | Tensor):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            require_plain(inner, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple | set):
        for position, inner in enumerate(value):
            require_plain(inner, f"{place}[{position}]")
    else:
        raise TypeError(f"{place} is a {type(value).__name__}: no tensor and no plain value")
