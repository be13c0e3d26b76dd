"""Locks of files: one at a time, and none outlives its process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from super_selfish.training.file_lock import IsHeldError, alone_at, give_back, take

HOLDS = """
import os, sys, time
from pathlib import Path
from super_selfish.training.file_lock import alone_at
with alone_at(Path(sys.argv[1])) as is_ours:
    worker = os.fork()  # lives on when this process is killed, as those that read images do
    if worker == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(is_ours, worker, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked workers")
def test_a_killed_process_frees_its_lock_whatever_its_workers_do(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        is_theirs, worker = other.stdout.readline().split()
        try:
            assert is_theirs == "True"
            with alone_at(tmp_path / "a") as is_ours:
                assert not is_ours
            other.send_signal(signal.SIGKILL)
            other.wait()
            with alone_at(tmp_path / "a") as is_ours:
                assert is_ours
        finally:
            os.kill(int(worker), signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_wait_one_at_a_time_has_it(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> None:
        with alone_at(tmp_path / "a", wait=True) as is_ours:
            assert is_ours and inside == []
            inside.append(number)
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(24)))
    assert list(tmp_path.iterdir()) == []


def test_who_takes_it_says_so_in_the_file_and_who_does_not_leaves_it_alone(tmp_path: Path) -> None:
    def sign(file: int) -> None:
        os.write(file, b"mine")

    lock = take(tmp_path / "a", on_acquired=sign)
    with pytest.raises(IsHeldError, match="a"):
        take(tmp_path / "a", on_acquired=sign)
    assert (tmp_path / "a").read_bytes() == b"mine"  # once
    give_back(lock)
    assert not (tmp_path / "a").exists()


def failing(error: Exception) -> Callable[..., None]:
    """What takes a lock, on a disk that says this instead."""

    def acquire(lock: FileLock, timeout: float) -> None:
        raise error

    return acquire


@pytest.mark.parametrize(
    ("error", "why"),
    [
        *((OSError(number, "none here"), "none here") for number in (errno.EINVAL, errno.ENOSYS)),
        *((OSError(number, "none here"), "none here") for number in (errno.ENOTSUP, errno.ENOLCK)),
        (OSError(errno.EOPNOTSUPP, "none here"), "none here"),
        (NotImplementedError("no locks on this system"), "no locks on this system"),
    ],
)
def test_a_disk_without_locks_is_told_and_used(
    error: Exception,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(FileLock, "acquire", failing(error))
    with alone_at(tmp_path / "a") as is_ours:
        assert is_ours  # as far as anyone can tell
    assert caplog.messages == [
        f"{tmp_path / 'a'} cannot be locked ({why}): two processes would not be noticed"
    ]


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", failing(OSError(errno.EIO, "it is broken")))
    with pytest.raises(OSError, match="it is broken"):
        take(tmp_path / "a")


def test_who_does_not_wait_hears_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def acquire(lock: FileLock, timeout: float) -> None:
        waits.append(timeout)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    take(tmp_path / "a")
    take(tmp_path / "a", wait=True)
    assert waits == [0, -1]  # seconds; -1 is for ever


def test_where_no_open_file_is_removed_the_lock_is_freed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "it is open")  # as Windows says

    lock = take(tmp_path / "a")
    assert lock is not None and lock.is_locked
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        give_back(lock)
    assert not lock.is_locked


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "none" / "a", wait=True)
