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
COMPANION = r"\.csv|\.html|-best\.(pt|html)|-nan\.pt|-previous(-\d+)?\.pt"
FORMER = r"-\d{4}-\d\d-\d\d-\d{6}(-\d+)?\.pt"


class OwnFiles:
    """Which checkpoints someone may replace: those that it wrote or loaded, as it left them."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, int]] = {}
        self._run: Path | None = None
        self._is_due = False

    def begin_run(self, name: str | os.PathLike[str], *, replaces: bool) -> None:
        """Is told of a run. Nothing is moved before it writes for the first time.

        Args:
            name: Of its checkpoint.
            replaces: Whether it goes on with the run that is stored there, or shall replace it.
        """
        self._run = checkpoint_path(name)
        self._is_due = not replaces

    def make_way(self, name: str | os.PathLike[str]) -> None:
        """Called before a checkpoint is written: moves files of another one, and says where.

        Args:
            name: Of the checkpoint; that of the run, or of the best one of the run, makes way once.
        """
        path = checkpoint_path(name)
        if self._run is not None and path in (self._run, beside(self._run, "-best.pt")):
            is_due, self._is_due = self._is_due, False
            if is_due:
                set_aside(self._run)
        elif path.is_file() and self._seen.get(path) != _look(path):
            set_aside(path)

    def note(self, name: str | os.PathLike[str]) -> None:
        """Called after a checkpoint was written or loaded."""
        path = checkpoint_path(name)
        if path.is_file():  # a former one was loaded otherwise
            self._seen[path] = _look(path)


def _look(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def set_aside(name: str | os.PathLike[str]) -> Path | None:
    """Gives a checkpoint and what lies beside it the date of its last change as a further name.

    Args:
        name: Path of the checkpoint, without its ending.

    Returns:
        Path of the checkpoint as it is called now; None if there is none.
    """
    path = checkpoint_path(name)
    if not path.is_file():
        return None
    date = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d-%H%M%S")
    number, new = 1, beside(name, f"-{date}")
    while checkpoint_path(new).exists():
        number += 1
        new = beside(name, f"-{date}-{number}")
    # The checkpoint last: if this is interrupted, it is still there to be called so.
    for ending in [*_endings(path, COMPANION), ".pt"]:
        os.replace(beside(name, ending), beside(new, ending))
    kept = checkpoint_path(new)
    formers = [beside(name, ending) for ending in _endings(path, FORMER)]
    size = sum(former.stat().st_size for former in formers) / 1e6
    several = f" (one of {len(formers)} former runs, {size:.0f} MB)" if len(formers) > 1 else ""
    _log.warning(
        "the former run at %s is now %s%s; overwrite=True replaces it instead", path, kept, several
    )
    return kept


def _endings(path: Path, pattern: str) -> list[str]:
    """What follows the name in the names of files that lie beside a checkpoint."""
    start = len(path.stem)
    names = [entry.name for entry in path.parent.iterdir() if entry.name.startswith(path.stem)]
    return sorted(name[start:] for name in names if re.fullmatch(pattern, name[start:]))
