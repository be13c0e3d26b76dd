from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.training.progress import Progress


class Talkative:
    """Has the same to say after every step."""

    def after_step(self, feed: Any) -> str:
        return "more workers"


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
