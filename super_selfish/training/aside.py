"""A former run's files make way for those of a new one, under names of their own."""

from __future__ import annotations

import logging
import os
import re
from datetime import datetime
from pathlib import Path

from super_selfish.training.checkpoint import beside, checkpoint_path

_log = logging.getLogger(__name__)

# What a run, its monitor and its report write besides the checkpoint.
COMPANION = r"\.csv|\.html|-best\.(pt|html)|-nan\.pt|-previous(-\d+)?\.pt|-epoch-\d+\.pt"
NO_RUNS = r".*\.html"  # a report, which is written when it is asked for
KINDS = r"-best|-nan|-previous(-\d+)?|-epoch-\d+"
OF_RUN = r"-best\.pt|-epoch-\d+\.pt"  # what a run stores besides its newest state
FORMER = r"-\d{4}-\d\d-\d\d-\d{6}(-\d+)?\.pt"


class OwnFiles:
    """Which checkpoints someone may replace: those that it wrote or loaded, as it left them."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, int]] = {}
        self._run: Path | None = None
        self._is_due = False
        self._has_made_way = False

    def begin_run(self, name: str | os.PathLike[str], *, replaces: bool) -> None:
        """Is told of a run. Nothing is moved before it writes for the first time.

        Args:
            name: Of its checkpoint.
            replaces: Whether it goes on with the run that is stored there, or shall replace it.
        """
        self._run = _place_of(name)
        self._is_due = not replaces
        self._has_made_way = False

    @property
    def formers_are_own(self) -> bool:
        """Whether the former files at the run's name are its own, and no other run's."""
        return self._run is not None and not self._is_due

    def make_way(self, name: str | os.PathLike[str]) -> None:
        """Called before a checkpoint is written: moves files of another one, and says where.

        Args:
            name: Of the checkpoint; that of the run, of its best and of its epochs make way once.
        """
        path = _place_of(name)
        if self._run is not None and _is_of_run(path, self._run):
            self._make_way_once(self._run)
        elif path.is_file() and self._seen.get(path) != _look(path):
            set_aside(path)

    def make_way_for(self, path: Path) -> None:
        """Called before a file is written beside a checkpoint that this run may not have written.

        Args:
            path: Of the file.
        """
        if path.is_file() and (self._is_due or _is_run_of_its_own(path)):
            set_file_aside(path)

    def _make_way_once(self, path: Path) -> None:
        has_made_way, self._has_made_way = self._has_made_way, True
        if has_made_way:
            return
        for ending in _endings(path, rf"({KINDS})\.pt"):
            other = beside(path, ending)
            if _is_run_of_its_own(other):
                set_aside(other)
        is_due, self._is_due = self._is_due, False
        if is_due:
            set_aside(path)

    def note(self, name: str | os.PathLike[str]) -> None:
        """Called after a checkpoint was written or loaded."""
        path = _place_of(name)
        if path.is_file():  # a former one was loaded otherwise
            self._seen[path] = _look(path)


def _place_of(name: str | os.PathLike[str]) -> Path:
    """A checkpoint's path from the root: a run has that, whatever the user calls it by."""
    return Path(os.path.abspath(checkpoint_path(name)))


def _look(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def set_aside(name: str | os.PathLike[str]) -> Path | None:
    """Gives a checkpoint and what lies beside it the date of its last change as a further name.

    Where there is no checkpoint, what a run would write beside it makes way alike.

    Args:
        name: Path of the checkpoint, without its ending.

    Returns:
        Path of the checkpoint as it is called now; None if there is none.
    """
    path = checkpoint_path(name)
    # The checkpoint last: if this is interrupted, it is still there to be called so.
    endings = _endings(path, COMPANION)
    if path.is_file():
        endings.append(".pt")
    else:
        endings = [ending for ending in endings if not re.fullmatch(NO_RUNS, ending)]
    if not endings:
        return None
    new = _dated(path, endings)
    for ending in endings:
        os.replace(beside(path, ending), beside(new, ending))
    if endings[-1] != ".pt":
        _log.warning(
            "%s had been there without a checkpoint: now %s",
            ", ".join(str(beside(path, ending)) for ending in endings),
            ", ".join(beside(new, ending).name for ending in endings),
        )
        return None
    kept = checkpoint_path(new)
    formers = [beside(name, ending) for ending in _endings(path, FORMER)]
    size = sum(former.stat().st_size for former in formers) / 1e6
    several = f" (one of {len(formers)} former runs, {size:.0f} MB)" if len(formers) > 1 else ""
    _log.warning(
        "the former run at %s is now %s%s; overwrite=True replaces it instead", path, kept, several
    )
    return kept


def set_file_aside(path: Path) -> Path:
    """Gives one file the date of its last change as a further name, and says so.

    Args:
        path: Of the file, which is there.

    Returns:
        Its path now.
    """
    new = Path(f"{_dated(path.with_suffix(''), [path.suffix])}{path.suffix}")
    os.replace(path, new)
    _log.warning("%s had been there before: now %s", path, new)
    return new


def _dated(name: Path, endings: list[str]) -> Path:
    """A name with the date of the last change at which there are no such files."""
    changed = beside(name, endings[-1]).stat().st_mtime
    date = datetime.fromtimestamp(changed).strftime("%Y-%m-%d-%H%M%S")
    number, new = 1, beside(name, f"-{date}")
    while any(beside(new, ending).exists() for ending in [".pt", *endings]):
        number += 1
        new = beside(name, f"-{date}-{number}")
    return new


def _is_run_of_its_own(path: Path) -> bool:
    """Whether a file that could lie beside a checkpoint is one, with a history of its own."""
    return path.is_file() and beside(path, ".csv").is_file()


def _is_of_run(path: Path, run: Path) -> bool:
    ending = path.name[len(run.stem) :] if path.name.startswith(run.stem) else ""
    return path == run or (path.parent == run.parent and re.fullmatch(OF_RUN, ending) is not None)


def _endings(path: Path, pattern: str) -> list[str]:
    """What follows the name in the names of files that lie beside a checkpoint."""
    start = len(path.stem)
    names = [entry.name for entry in path.parent.iterdir() if entry.name.startswith(path.stem)]
    return sorted(name[start:] for name in names if re.fullmatch(pattern, name[start:]))
