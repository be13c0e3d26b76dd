"""Two processes at one name."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import locking
from super_selfish.training.locking import NameInUseError, NameLock
from tests.conftest import TinyBackbone

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

TRAINS = """
import sys, time, torch
from super_selfish.supervisors import RotateNetSupervisor

class Slow(RotateNetSupervisor):
    def _forward(self, data):
        if self.run.global_step == 2:
            print("trains", flush=True)
            time.sleep(60)
        return super()._forward(data)

images = torch.randint(256, (12, 3, 32, 32), dtype=torch.uint8)
slow = Slow(images, backbone="narrow-resnet")
slow.supervise(epochs=9, batch_size=4, name=sys.argv[1], num_workers=1,
               checkpoint_every=1, progress=False)
"""


def rotate(images: Any) -> RotateNetSupervisor:
    return RotateNetSupervisor(images, backbone=TinyBackbone())


def refuse(*_: object) -> None:
    """What a network folder without locks says."""
    raise OSError(errno.ENOLCK, "No locks available")


def settings(name: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 8, "name": name, "progress": False, **more}


@pytest.fixture
def training(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that trains at `tmp_path / "base"`; its worker shares the lock."""
    script = tmp_path / "trains.py"
    script.write_text(TRAINS)
    command = [sys.executable, str(script), str(tmp_path / "base")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trains\n"
        yield process
        process.kill()


@needs_signals
def test_a_second_run_at_a_name_is_told_of_the_first_and_a_killed_one_frees_it(
    training: subprocess.Popen[str], images: Tensor, tmp_path: Path
) -> None:
    stored = (tmp_path / "base.pt").read_bytes()
    for call in ({}, {"resume": True}, {"overwrite": True}):
        message = rf"base\.pt is being written by another run \(process {training.pid} on \S+, sin"
        with pytest.raises(NameInUseError, match=message):
            rotate(images).supervise(**settings(tmp_path / "base", **call))
    assert (tmp_path / "base.pt").read_bytes() == stored
    rotate(images).supervise(**settings(tmp_path / "other"))  # another name is free
    training.send_signal(signal.SIGKILL)
    training.wait()
    rotate(images).supervise(**settings(tmp_path / "base"))
    assert not (tmp_path / "base.lock").exists()


def test_the_name_is_free_after_a_run_however_it_ended(images: Tensor, tmp_path: Path) -> None:
    class Stops(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            with pytest.raises(NameInUseError):  # of the same process, too
                rotate(images).supervise(**settings(tmp_path / "base"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stops(images, backbone=TinyBackbone()).supervise(**settings(tmp_path / "base"))
    with pytest.raises(ValueError, match="clip_norm"):
        rotate(images).supervise(**settings(tmp_path / "base", clip_norm=-1.0))
    rotate(images).supervise(**settings(tmp_path / "base"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.csv", "base.pt"]


def test_a_lock_that_was_left_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "base.lock").write_text('{"pid": 1, "host": "elsewhere", "since": "yesterday"}')
    with NameLock(tmp_path / "base"):
        holder = json.loads((tmp_path / "base.lock").read_text())
        assert holder.keys() == {"pid", "host", "since"} and holder["pid"] == os.getpid()
    assert not (tmp_path / "base.lock").exists()


@pytest.mark.parametrize("text", ["", '{"p', '{"pid": "me", "host": "here", "since": "now"}'])
def test_of_a_lock_that_is_not_signed_nobody_says_who_has_it(tmp_path: Path, text: str) -> None:
    with NameLock(tmp_path / "base"):
        (tmp_path / "base.lock").write_text(text)
        with pytest.raises(NameInUseError, match=r"another run \(another process\), and two"):
            NameLock(tmp_path / "base").__enter__()


@needs_signals
def test_a_disk_that_cannot_lock_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fcntl.flock", refuse)
    with NameLock(tmp_path / "base"):
        pass
    assert "cannot be locked (No locks available)" in caplog.messages[0]


def test_what_stores_nothing_locks_nothing() -> None:
    with locking.lock_of(None):
        assert torch.is_grad_enabled()


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="there is no folder that takes no files"
)
def test_a_place_that_takes_no_lock_is_refused_by_the_name_of_the_checkpoint() -> None:
    with pytest.raises(
        OSError, match=r"nothing can be stored at /proc/x\.pt: .*give another name="
    ):
        NameLock("/proc/x").__enter__()


@pytest.mark.parametrize("text", ["mine", '{"name": "base"}'])
def test_a_file_that_is_no_lock_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "base.lock").write_text(text)
    with pytest.raises(OSError, match="is no lock of a run"):
        NameLock(tmp_path / "base").__enter__()
    assert (tmp_path / "base.lock").read_text() == text


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files cannot be counted")
def test_no_file_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    with NameLock(tmp_path / "base"):
        with pytest.raises(NameInUseError):
            NameLock(tmp_path / "base").__enter__()
        assert count() == before + 1
    (tmp_path / "other.lock").write_text("mine")
    with pytest.raises(OSError, match="is no lock of a run"):
        NameLock(tmp_path / "other").__enter__()
    monkeypatch.setattr("fcntl.flock", refuse)
    with NameLock(tmp_path / "base"):
        pass
    assert count() == before


def test_folders_are_made_for_a_lock(tmp_path: Path) -> None:
    name = tmp_path / "some" / "folder" / "base"
    for _ in range(2):
        with NameLock(name) as lock:
            assert lock.path == name.with_name("base.lock")
            holder = json.loads(lock.path.read_text())
            assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())


def test_a_lock_that_cannot_be_signed_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, text: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(locking.os, "write", full)
        with pytest.raises(OSError, match=r"nothing can be stored at .*base\.lock"):
            NameLock(tmp_path / "base").__enter__()
    with NameLock(tmp_path / "base"):  # which nobody holds
        pass


def test_the_first_process_alone_takes_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(locking.lock_of(tmp_path / "base"), NameLock)
    monkeypatch.setattr(locking, "rank", lambda: 1)
    with locking.lock_of(tmp_path / "base"):
        assert list(tmp_path.iterdir()) == []
