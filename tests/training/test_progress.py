from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.training.progress import Progress


class Talkative:
    """Has the same to say after every step."""

    def after_step(self, feed: Any) -> str:
        return "more workers"


class Silent:
    """Has nothing to say."""

    def after_step(self, feed: Any) -> None:
        return None


def run_of(progress: bool) -> Any:
    return SimpleNamespace(epochs=1, num_images=8, epoch=0, step=0, batch_size=4, progress=progress)


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
    assert captured.err.count("more workers") == (1 if progress else 0)
    assert captured.out == ""


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_the_bar_shows_images_a_second_and_the_share_of_waiting(
    share: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = run_of(progress=True)
    run.history = SimpleNamespace(means=lambda: {"loss": 0.25}, waited_fraction=share)
    bar = Progress("Run", run, Silent(), shown=True)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    shown = capsys.readouterr().err
    assert "img/s" in shown
    assert f"{share:.0%} waiting for data" in shown
