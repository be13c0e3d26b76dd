from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.progress import Progress

Backbones = Callable[..., nn.Module]


class Talkative:
    """Has the same to say after every step."""

    def after_step(self, feed: Any) -> str:
        return "more workers"


class Quiet:
    """Has nothing to say."""

    def after_step(self, feed: Any) -> None:
        return None


def run_of(progress: bool, share: float = 0.0) -> Any:
    history = SimpleNamespace(means=lambda: {"loss": 0.25}, waited_fraction=share, rows=[])
    return SimpleNamespace(
        epochs=1,
        num_images=8,
        epoch=0,
        step=0,
        batch_size=4,
        steps_per_epoch=2,
        progress=progress,
        name=None,
        device="cpu",
        history=history,
        is_over=lambda: False,
        footprint=None,
    )


@pytest.mark.parametrize("progress", [True, False])
def test_advice_is_given_once_without_a_terminal_and_never_to_the_silent(
    progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run, advice = run_of(progress), Talkative()
    bar = Progress("Run", run, advice, shown=True)  # type: ignore[arg-type]
    for _ in range(3):
        bar.show(run, SimpleNamespace(images=1))
    bar.close()
    captured = capsys.readouterr()
    assert captured.err.count("more workers\n") == (1 if progress else 0)
    assert "\x1b" not in captured.err  # no colours in a file
    assert captured.out == ""


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_the_bar_shows_images_a_second_and_the_share_of_waiting(
    share: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = run_of(True, share)
    bar = Progress("Run", run, Quiet(), shown=True)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    shown = capsys.readouterr().err
    assert "img/s" in shown
    assert f"{share:.0%} waiting for data" in shown


def test_a_log_says_what_begins_how_it_goes_and_where_it_lies(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run")
    captured = capsys.readouterr()
    start, first, end = captured.err.splitlines()
    place = f"stored at {tmp_path / 'run'}.pt"
    assert start == (f"RotateNetSupervisor: 22 images, 3 epochs of 3 steps on cpu; will be {place}")
    loss = supervisor.history[0]["loss"]
    assert first.startswith(f"RotateNetSupervisor: epoch 1/3, loss {loss:.4g}, ")
    assert " img/s, " in first and first.endswith(" left")
    loss = supervisor.history[-1]["loss"]
    assert end.startswith("RotateNetSupervisor: 3 epochs in ")
    assert end.endswith(f" s, loss {loss:.4g}; {place}")
    assert captured.out == ""

    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run", resume=True)
    assert capsys.readouterr().err == "RotateNetSupervisor: nothing left to do of 3 epochs\n"
    supervisor.supervise(epochs=4, batch_size=8, name=tmp_path / "run", resume=True)
    assert capsys.readouterr().err.startswith(
        "RotateNetSupervisor: 22 images, 4 epochs of 3 steps on cpu, from epoch 4 on; will be"
    )


def test_a_run_that_its_time_limit_ends_says_so_and_how_to_go_on(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            time.sleep(0.6)
            return super()._forward(data)

    supervisor = Slow(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run", time_limit="1s")
    end = capsys.readouterr().err.splitlines()[-1]
    assert end.startswith("Slow: 0 epochs and 2 steps in ") and " in 0 s" not in end
    assert end.endswith(
        f" s. Stopped by time_limit='1s' in epoch 1 of 3, after 2 of 3 steps: stored at "
        f"{tmp_path / 'run'}.pt. To go on, call supervise() again with the same arguments and "
        "resume=True."
    )
    RotateNetSupervisor(images, tiny_backbone()).supervise(
        epochs=1, batch_size=8, name=None, time_limit="0s"
    )
    end = capsys.readouterr().err.splitlines()[-1]
    assert "Stopped by time_limit='0s'" in end and "nothing is stored (name=None)" in end


def test_progress_false_says_nothing(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    with warnings.catch_warnings():
        supervisor.supervise(epochs=2, batch_size=8, name=None, progress=False)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(True)
    bar = Progress("Run", run, Talkative(), shown=False)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    assert capsys.readouterr().err == ""
