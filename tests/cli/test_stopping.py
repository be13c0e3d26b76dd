"""A run of the command line in its own process is stopped, and goes on when it is called again."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish.cli import main
from super_selfish.pretraining import finishing
from super_selfish.supervisors import MomentumContrastSupervisor
from super_selfish.training import display
from super_selfish.training.checkpoint import checkpoint_path, read_run
from tests.cli.conftest import LINE, shorten
from tests.killing import run as in_a_process


def typed(photos: Path, folder: Path, log: Path, number: int | None, at: int) -> None:
    """Types the line of the fixture `run` into a log file; a signal comes in step `at`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    torch.set_num_threads(1)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    forward, patch = MomentumContrastSupervisor._forward, pytest.MonkeyPatch()
    shorten(patch)
    patch.setattr(finishing, "_judged", lambda *_: (None, None, []))
    patch.setattr(display, "FIRST", 0.0)  # seconds until a log is told how far it is

    def stopping(self: MomentumContrastSupervisor, data: Any) -> Any:
        assert self.run is not None
        if number is not None and self.run.global_step == at:
            os.kill(os.getpid(), number)
        return forward(self, data)

    patch.setattr(MomentumContrastSupervisor, "_forward", stopping)
    sys.exit(main(["pretrain", str(photos), "--out", str(folder), *LINE]))


def test_a_stopped_run_is_stored_and_the_same_line_goes_on(
    photos: Path, run: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "mine", tmp_path / "log"
    told = []
    for number, code, at in ((signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 6), (None, 0, 0)):
        assert in_a_process(typed, photos, folder, log, number, at) == code
        assert [byte for byte in log.read_bytes() if byte < 32 and byte != 10] == []  # no bar
        told.append(log.read_text())
    assert "Traceback" not in "".join(told)
    stopped = (
        "in epoch {} of 4, after 1 of 2 steps: stored at {}/run.pt. The same call goes on with"
    )
    assert f"super-selfish: Stopped by Ctrl-C {stopped.format(2, folder)}" in told[0]
    assert f"\nStopped by SIGTERM {stopped.format(4, folder)}" in told[1]
    whole, parts = (read_run(checkpoint_path(str(each / "run"))) for each in (run, folder))
    assert parts["model"].keys() == whole["model"].keys()
    for key, value in whole["model"].items():
        assert torch.equal(parts["model"][key], value), key
