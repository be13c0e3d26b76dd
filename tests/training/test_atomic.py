from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from super_selfish.training import atomic
from super_selfish.training.atomic import remove_rests, write_atomically
from tests.several import context


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def killed_in_a_write(path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    write_atomically(path, write)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    path.write_bytes(b"former")
    process = context().Process(target=killed_in_a_write, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b"former" and len(names(tmp_path)) == 2
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new" and names(tmp_path) == ["base.pt"]


def test_a_living_writer_and_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    (tmp_path / "base.pt.0123.tmp").write_bytes(b"a user's")
    (tmp_path / ".deadbeef-0123.tmp").write_bytes(b"of another file")

    def write(file: BinaryIO) -> None:
        file.write(b"whole")
        remove_rests(path)  # as another process would, at this moment
        assert len(names(tmp_path)) == 3

    write_atomically(path, write)
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == [".deadbeef-0123.tmp", "base.pt", "base.pt.0123.tmp"]


def test_the_folder_is_flushed_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace, fsync = os.replace, os.fsync

    def flush(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def rename(*paths: Any) -> None:
        done.append("rename")
        replace(*paths)

    monkeypatch.setattr(atomic.os, "fsync", flush)
    write_atomically(tmp_path / "a", lambda file: file.write(b"x"), place=rename)
    if os.path.isdir("/proc/self/fd"):
        assert done == ["file", "rename", "folder"]


def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    write_atomically(path, lambda file: file.write(b"x"))
    assert path.read_bytes() == b"x"


def test_all_that_was_written_is_on_the_disk_before_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    flushed = os.fsync

    def note(handle: int) -> None:
        seen.append(os.fstat(handle).st_size)
        flushed(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(
        tmp_path / "a", lambda file: file.write(b"x" * 100), check=lambda _: seen.append(-1)
    )
    assert seen[:2] == [100, -1]
