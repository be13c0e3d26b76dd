"""What evaluation shows of itself where it takes long, and where it must not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from super_selfish.evaluation import Monitor, evaluate, extract_features
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import display

Backbones = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log has its first line at once, as if the work were long."""
    monkeypatch.setattr(display, "FIRST", 0.0)


def test_features_say_how_far_they_are(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    extract_features(tiny_backbone(), images, batch_size=8)
    assert capsys.readouterr().err.startswith("Features: 8 of 22 img, ")
    with display.quiet(), display.quiet(False):
        extract_features(tiny_backbone(), images, batch_size=8)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("progress", [True, False])
def test_evaluate_says_how_far_it_is_or_nothing(
    progress: bool, images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [number % 2 for number in range(22)]
    data = (images, labels)
    evaluate(tiny_backbone(), data, data, protocols=("knn",), untrained=None, progress=progress)
    shown = capsys.readouterr().err
    assert ("Evaluating: 1 of 1 score" in shown) == progress
    assert progress or shown == ""


def test_a_monitor_says_nothing_within_a_run(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=1, name=None, monitor=Monitor(every=1), progress=False)
    assert capsys.readouterr().err == ""
    assert "rankme" in supervisor.history[-1]
