"""One listing of a folder for all processes of a machine that were started together.

Eight processes of a `torchrun` or `srun` would otherwise ask a disk, which may be far away and of
all nodes, eight times for a million names. The first that asks lists, the others wait and read what
it found, from a file in the system's folder for temporary files that nobody else may open and that
is removed at the end.

A stale listing would be worse than a slow one, so what was found is taken only

- in the same launch (its parent process, and its count of restarts), by the process that asks for
  the same folder for the same time: the second time that a process lists, it is listed again;
- if every folder that was read is the same one (its number on the disk) with the same times of
  change as before it was read, which shows whatever came, went or was renamed meanwhile;
- if none of them had changed within two seconds before: times of some disks are that coarse.

Otherwise each process lists for itself. Not noticed, within a launch, is what shows in no folder's
times: a link to a file that becomes one to a folder, and disks that do not keep such times.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from super_selfish.data.scanning import FolderState, state_of_folder
from super_selfish.training.alone import is_alone
from super_selfish.training.archive import UnreadableFileError, read_archive, write_archive
from super_selfish.training.atomic import write_atomically
from super_selfish.training.file_lock import alone_at
from super_selfish.training.launched import launch

State = dict[str, Any]  # plain values and tensors
SETTLED = 2.0  # seconds without a change, after which a folder's times can be trusted
_OLD = 86_400.0  # seconds, after which a file is a rest of processes that were killed
_asked: Counter[str] = Counter()  # how often this process has asked for what
_log = logging.getLogger(__name__)


def once_a_machine(what: str, make: Callable[[], tuple[State, list[FolderState]]]) -> State:
    """What one of the processes of this machine that were started together has found.

    Args:
        what: Tells it from everything else that may be asked for.
        make: Finds it, and gives the folders as they were before they were read.

    Returns:
        What `make` has found, in this process or in another.
    """
    folder = _shared_folder() if _has_siblings() else None
    if folder is None:
        return make()[0]
    _asked[what] += 1
    name = "\0".join([_launch(), what, str(_asked[what])]).encode(errors="surrogatepass")
    path = folder / f"{hashlib.sha256(name).hexdigest()}.pt"
    with alone_at(path.with_suffix(".lock"), wait=True):
        found = _read(path)
        if found is not None:
            return found
        begun = time.time_ns()
        state, folders = make()
        if max(each.changed for each in folders) < begun - SETTLED * 1e9:
            _write(path, state, folders)
        return state


def _has_siblings() -> bool:
    if sys.platform == "win32" or is_alone():
        return False
    try:
        started = launch()
    except ValueError:  # training says of it what is to be said
        return False
    return started is not None and started.local_world > 1


def _launch() -> str:
    """Tells this start of several processes of a machine from every other."""
    parent = os.getppid()
    born = Path(f"/proc/{parent}/stat")  # its number may be another's later
    since = born.read_text().rpartition(")")[2].split()[19] if born.exists() else ""
    names = ("TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_STEP_ID")
    return " ".join([str(parent), since, *(os.environ.get(name, "") for name in names)])


def _shared_folder() -> Path | None:
    """A folder that belongs to this user alone; `None` where there can be none."""
    folder = Path(tempfile.gettempdir()) / f"super-selfish-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid != os.getuid()
            or status.st_mode & 0o77
        ):
            _log.info("%s is open to others: each process lists for itself", folder)
            return None
        for rest in folder.iterdir():
            if time.time() - rest.lstat().st_mtime > _OLD:
                rest.unlink(missing_ok=True)
    except OSError as error:
        _log.info("%s cannot be used: %s", folder, error)
        return None
    return folder


def _read(path: Path) -> State | None:
    if not path.is_file():
        return None
    try:
        stored = read_archive(path)
        then = [FolderState(*each) for each in stored["folders"]]
        is_so = all(state_of_folder(each.path) == each for each in then)
    except (OSError, UnreadableFileError) as error:
        _log.info("%s is of no use: %s", path, error)
        return None
    state: State = stored["state"]
    return state if is_so else None


def _write(path: Path, state: State, folders: list[FolderState]) -> None:
    stored = {"state": state, "folders": [tuple(each) for each in folders]}
    try:
        write_atomically(path, partial(write_archive, value=stored))
    except OSError as error:  # the others list for themselves
        _log.info("%s cannot be written: %s", path, error)
        return
    atexit.register(path.unlink, missing_ok=True)
