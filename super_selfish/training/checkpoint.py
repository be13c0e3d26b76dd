"""The file of a run, and the gate that stands before it.

A checkpoint holds tensors and plain values only, so it loads with `weights_only=True`: opening a
stranger's file runs no code. Before it takes the place of the last one it is read back.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from super_selfish.training.archive import (
    UnreadableFileError,
    is_intact,
    read_archive,
    write_archive,
)
from super_selfish.training.atomic import write_atomically
from super_selfish.training.form import require_form
from super_selfish.training.plain import is_plain, plain
from super_selfish.training.telling import warn

__all__ = [
    "CHOICES",
    "RUN",
    "UnreadableFileError",
    "beside",
    "checkpoint_path",
    "epochs_begun",
    "former_paths",
    "has_checkpoint",
    "is_plain",
    "read_checkpoint",
    "read_run",
    "try_checkpoint",
    "write_atomically",
    "write_checkpoint",
]

RUN = "run"  # what pretrain() calls a checkpoint in the folder of a run; cli/runs.py, too
CHOICES = "choices.json"  # and what it notes there; cli/record.py, too
Judge = Callable[[dict[str, Any], Path], object]
FORMAT = 1
# What a file system says that gives a file one name only, such as FAT and some network folders.
NO_SECOND_NAMES = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)


def checkpoint_path(name: str | os.PathLike[str]) -> Path:
    """The file of a checkpoint: its name, and the ending `.pt`."""
    return beside(name, ".pt")


def beside(name: str | os.PathLike[str], ending: str) -> Path:
    """A file that belongs to a checkpoint, such as its history.

    Args:
        name: Path of the checkpoint, without its ending; `~` is the user's folder.
        ending: With its point, such as `.csv`.

    Returns:
        The path.
    """
    text = os.path.expanduser(os.fspath(name))
    return Path(without_ending(text) + ending)


def without_ending(name: str) -> str:
    """The name of a checkpoint without `.pt`, however often it was given."""
    while name.endswith(".pt"):
        name = name.removesuffix(".pt")
    return name


def has_checkpoint(name: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint is there, or at least a former one, which is read in its place."""
    path = checkpoint_path(name)
    return path.is_file() or bool(_formers_of(path))


def former_paths(path: Path, keep_last: int) -> list[Path]:
    """Where the former files of a checkpoint are kept: `-previous`, `-previous-2`, ...

    Args:
        path: The newest one.
        keep_last: How many are kept, the newest included.

    Returns:
        Paths, newest first; none for 1.
    """
    endings = ["-previous.pt", *(f"-previous-{number}.pt" for number in range(2, keep_last))]
    return [beside(path, ending) for ending in endings[: keep_last - 1]]


def write_checkpoint(
    path: Path,
    state: dict[str, Any],
    *,
    keep_last: int = 1,
    make_way: Callable[[], object] | None = None,
    judge: Judge | None = None,
) -> None:
    """Writes a checkpoint, reads it back, and only then gives it its name.

    Args:
        path: Where the file shall be.
        state: Tensors and values that have a plain form, nested in dicts, lists and tuples.
        keep_last: Files that are kept, this one included; see `former_paths`.
        make_way: Called when the new file is known to be good, before it takes its place.
        judge: Is given the plain values and the path, and raises if the file is not wanted.

    Raises:
        TypeError: If something else is in it; the message names the place.
        OSError: If it cannot be written; the former file stays.
    """
    exact = _judged(path, state, judge)
    write_atomically(
        path,
        partial(write_archive, value=exact),
        check=partial(_read_back, expected=exact),
        place=partial(_keep_former, formers=former_paths(path, keep_last), make_way=make_way),
    )


def try_checkpoint(path: Path, state: dict[str, Any], judge: Judge | None = None) -> int:
    """Does everything that `write_checkpoint` does, but for giving the file its name.

    Args:
        path: Where the file would be; what lies there stays.
        state: As for `write_checkpoint`.
        judge: As for `write_checkpoint`.

    Returns:
        The length of the file, in bytes.

    Raises:
        TypeError: If something has no plain form.
        OSError: If it cannot be written.
    """
    exact = _judged(path, state, judge)
    lengths: list[int] = []

    def check(temporary: Path) -> None:
        _read_back(temporary, exact)
        lengths.append(temporary.stat().st_size)

    write_atomically(path, partial(write_archive, value=exact), check=check, place=lambda *_: None)
    return lengths[0]


def _judged(path: Path, state: dict[str, Any], judge: Judge | None) -> dict[str, Any]:
    exact: dict[str, Any] = plain({"format": FORMAT, **state}, "checkpoint")
    if judge is not None:
        judge(exact, path)
    return exact


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU; where it is damaged or gone, the former one with a warning.

    Args:
        path: The file.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is no checkpoint of this library, or of a newer format.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError(absent(path))
        return _read(path)
    except (UnreadableFileError, FileNotFoundError) as error:
        for former in _formers_of(path):
            try:
                state = _read(former)
            except UnreadableFileError:
                continue
            warn(f"{error}. The former checkpoint {former} was taken instead")
            return state
        raise


def epochs_begun(run_state: dict[str, Any] | None) -> int:
    """Epochs that a stored run had begun.

    Args:
        run_state: What `read_run` has under `run`; None where the run was over.
    """
    return 0 if run_state is None else run_state["epoch"] + (run_state["step"] > 0)


def read_run(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of a supervisor, and checks that it has the form of one.

    Args:
        path: The file.

    Returns:
        What was written: `class`, `arguments`, `model` and `run` at the least.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no such file.
    """
    state = read_checkpoint(path)
    require_form(state, path)
    return state


def _read(path: Path) -> dict[str, Any]:
    state = read_archive(path)
    if not isinstance(state, dict) or type(state.get("format")) is not int:
        raise ValueError(f"{path} is no checkpoint of Super Selfish")
    if state["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {state['format']}, this version reads up to {FORMAT}: "
            "upgrade super-selfish"
        )
    return state


def _formers_of(path: Path) -> list[Path]:
    """The former files that are there, newest first."""
    found: list[Path] = []
    while (former := former_paths(path, len(found) + 2)[-1]).is_file():
        found.append(former)
    return found


def drop_formers(path: Path) -> list[Path]:
    """Removes the former files of a checkpoint that is good, so that a newer one finds room.

    Args:
        path: Of the checkpoint; where it is damaged or gone, the former files stay.

    Returns:
        What was removed.
    """
    formers = _formers_of(path)
    if not formers or not is_intact(path):
        return []
    for former in formers:
        former.unlink()
    return formers


def absent(path: Path) -> str:
    """A sentence, without its point, on a checkpoint that is not there."""
    return f"there is no checkpoint {path}"


def _keep_former(
    temporary: Path, path: Path, formers: list[Path], make_way: Callable[[], object] | None
) -> None:
    """Moves every file one place back, and the new one to the first."""
    if make_way is not None:
        make_way()
    # A damaged file would drive out a good one; what this process has written was read back.
    seen = _look(path)
    if formers and seen is not None and (seen == _written.get(path) or is_intact(path)):
        for newer, older in reversed(list(pairwise(formers))):
            if newer.is_file():
                os.replace(newer, older)
        _give_second_name(path, formers[0])
    os.replace(temporary, path)
    _written[path] = _look(path)


def _look(path: Path) -> tuple[int, ...] | None:
    """What tells a file from every other that may have taken its name."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


_written: dict[Path, tuple[int, ...] | None] = {}  # the files of this process


def _give_second_name(path: Path, other: Path) -> None:
    """Has a file under another name too, so that at no time there is none under its own."""

    def link(temporary: Path, final: Path) -> None:
        temporary.unlink()
        os.link(path, temporary)
        os.replace(temporary, final)

    try:
        write_atomically(other, lambda file: None, place=link)
    except OSError as error:
        if error.errno not in NO_SECOND_NAMES:
            raise
        write_atomically(other, partial(_copy, path))


def _copy(path: Path, file: BinaryIO) -> None:
    with path.open("rb") as original:
        shutil.copyfileobj(original, file, 1 << 20)


def _read_back(temporary: Path, expected: dict[str, Any]) -> None:
    try:
        is_same = _same_form(read_archive(temporary, mapped=True), expected)
    except UnreadableFileError as error:
        raise OSError(errno.EIO, f"what was written does not read back: {error}") from error
    if not is_same:
        raise OSError(errno.EIO, "what was written reads back as something else")


def _same_form(found: Any, expected: Any) -> bool:
    """Whether two values have the same types and numbers; of tensors the checksum has said so."""
    if isinstance(expected, Tensor):
        return (
            isinstance(found, Tensor)
            and found.shape == expected.shape
            and found.dtype == expected.dtype
        )
    if type(found) is not type(expected):
        return False
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            _same_form(found[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list | tuple):
        pairs = zip(found, expected, strict=False)
        return len(found) == len(expected) and all(_same_form(a, b) for a, b in pairs)
    return bool(found == expected) or (found != found and expected != expected)  # not a number
