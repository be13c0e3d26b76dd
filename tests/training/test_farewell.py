from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from super_selfish.supervisors import RotateNetSupervisor

Backbones = Callable[..., nn.Module]


class Stopped(RotateNetSupervisor):
    """Has Ctrl-C pressed in its fifth step, or before the first one."""

    steps = 0
    at = 5

    def _init_data_optimizer(self, *args: Any) -> Any:
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super()._init_data_optimizer(*args)

    def _forward(self, data: Any) -> Tensor:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super()._forward(data)


def stop(supervisor: Stopped, capsys: pytest.CaptureFixture[str], **settings: Any) -> str:
    """What Python shows of the interruption."""
    with pytest.raises(KeyboardInterrupt) as caught:
        supervisor.supervise(epochs=3, batch_size=8, progress=False, **settings)
    assert type(caught.value) is KeyboardInterrupt  # so that Python ends by the signal
    sys.excepthook(caught.type, caught.value, caught.tb)
    sentence = capsys.readouterr().err
    ipython: Any = caught.value
    assert ipython._render_traceback_() == [sentence.removesuffix("\n")]
    return sentence


@pytest.fixture(autouse=True)
def keep_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


def test_ctrl_c_says_where_it_stopped_what_is_stored_and_how_to_go_on(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Stopped(images, tiny_backbone())
    assert stop(supervisor, capsys, name=tmp_path / "run") == (
        f"Stopped by Ctrl-C in epoch 2 of 3, after 2 of 3 steps: stored at {tmp_path / 'run.pt'}. "
        "To go on, call supervise() again with the same arguments and resume=True.\n"
    )
    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run", resume=True, progress=False)
    assert len(supervisor.history) == 3 and supervisor.steps == 9


def test_without_a_name_nothing_is_said_to_be_stored(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stop(Stopped(images, tiny_backbone()), capsys, name=None) == (
        "Stopped by Ctrl-C in epoch 2 of 3, after 2 of 3 steps: nothing is stored (name=None). "
        "The networks in memory have learned so far.\n"
    )


def test_before_the_first_step_there_is_nothing_to_store(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Stopped(images, tiny_backbone())
    supervisor.at = 0
    assert stop(supervisor, capsys, name=tmp_path / "run") == (
        "Stopped by Ctrl-C before the first step: nothing is stored yet.\n"
    )


def test_other_exceptions_are_shown_as_ever(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    sys.excepthook = lambda kind, error, trace: shown.append(error)
    stop(Stopped(images, tiny_backbone()), capsys, name=None)
    for error in (ValueError("x"), KeyboardInterrupt()):
        sys.excepthook(type(error), error, None)
        assert shown.pop() is error
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "shown"), [(143, "Stopped by SIGTERM"), (128, ""), ("x", "")])
def test_a_signals_status_of_shells_is_told_and_no_other(
    images: Tensor,
    tiny_backbone: Backbones,
    code: Any,
    shown: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Leaving(RotateNetSupervisor):
        def _forward(self, data: Any) -> Tensor:
            raise SystemExit(code)

    supervisor = Leaving(images, tiny_backbone())
    with pytest.raises(SystemExit) as caught:
        supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    assert caught.value.code == code
    told = capsys.readouterr().err
    assert told.startswith(shown) if shown else told == ""


SCRIPT = """
import sys, torch
from super_selfish.supervisors import RotateNetSupervisor
images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
supervisor = RotateNetSupervisor(images, "narrow-resnet")
supervisor.supervise(epochs=10000, batch_size=4, name=sys.argv[1])
print("ran on as if trained")
"""


def wait_for(text: str, read: Callable[[], bytes]) -> str:
    seen, end = b"", time.monotonic() + 60
    while text.encode() not in seen:
        assert time.monotonic() < end, seen
        seen += read()
    return seen.decode()


@pytest.mark.parametrize("where", ["terminal", "pipe"])
def test_a_script_shows_progress_and_ends_by_the_signal_with_a_sentence(
    where: str, tmp_path: Path
) -> None:
    ours, theirs = os.pipe() if where == "pipe" else os.openpty()
    if where == "terminal":
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    try:
        shown = wait_for("loss", lambda: os.read(ours, 4096))
        process.send_signal(signal.SIGINT)
        shown += wait_for("resume=True.", lambda: os.read(ours, 4096))
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(ours)
    assert output == b""
    assert process.returncode == -signal.SIGINT  # so that a shell's loop ends, too
    assert "Traceback" not in shown
    assert f"stored at {tmp_path / 'run.pt'}. To go on" in shown
    assert (tmp_path / "run.pt").is_file()
    assert ("\r" in shown.replace("\r\n", "")) == (where == "terminal")
    assert ("will be stored at" in shown) == (where != "terminal")
