"""The rate of a run whose `lr` is that for 256 images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from super_selfish.supervisors import BiGanSupervisor, RotateNetSupervisor
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint
from tests.conftest import TinyBackbone
from tests.supervisors.test_contract import weights


def rotate(images: Tensor, **settings: Any) -> RotateNetSupervisor:
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(images, TinyBackbone())
    plain = {"epochs": 1, "batch_size": 8, "optimizer": SGD, "name": None, "progress": False}
    supervisor.supervise(**{**plain, **settings})
    return supervisor


@pytest.mark.parametrize(("scaling", "rate"), [("linear", 0.1), ("sqrt", 0.4)])
def test_a_run_has_the_rate_of_its_images_in_an_update(
    scaling: str, rate: float, images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"accumulate": 2, "progress": True}  # 16 images, 1/16 of 256
    scaled = rotate(images, lr=1.6, lr_scaling=scaling, **settings)
    assert scaled.history[0]["lr"] == pytest.approx(rate)
    assert (
        f'lr_scaling="{scaling}": lr=1.6 for 256 images is {rate} for the 16 of an update '
        "(8 images x 2 batches)\n" in capsys.readouterr().err
    )
    plain = rotate(images, lr=rate, **settings)
    torch.testing.assert_close(weights(plain), weights(scaled))
    assert "lr_scaling" not in capsys.readouterr().err


def test_groups_and_players_begin_with_the_scaled_rate(images: Tensor) -> None:
    class Slow(RotateNetSupervisor):
        def _parameter_groups(self, named: Any, lr: float) -> Any:
            given.append(lr)
            return super()._parameter_groups(named, lr)

    given: list[float] = []
    settings: Any = {"epochs": 0, "batch_size": 16, "name": None, "progress": False}
    Slow(images, TinyBackbone()).supervise(lr=1.6, lr_scaling="linear", **settings)
    assert given == [pytest.approx(0.1)]
    players = BiGanSupervisor(images, TinyBackbone(), latent_channels=3)
    players.supervise(lr=1.6, lr_scaling="linear", **settings)
    assert players.run is not None and players.run.learning_rate == pytest.approx(0.1)


def test_a_run_that_goes_on_with_the_scaling_of_another_is_told(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"name": tmp_path / "base", "lr": 1.6, "batch_size": 16}
    rotate(images, lr_scaling="linear", **settings)
    stored = read_checkpoint(checkpoint_path(tmp_path / "base"))
    schedule = stored["run"]["schedule"]
    assert schedule["lr_scaling"] == "linear" and schedule["images_per_update"] == 16
    assert stored["provenance"]["settings"]["lr_scaling"] == "linear"
    with caplog.at_level(logging.WARNING, "super_selfish"):
        resumed = rotate(images, lr_scaling="sqrt", resume=True, **{**settings, "epochs": 2})
    assert [row["lr"] for row in resumed.history] == pytest.approx([0.1, 0.4])
    (line,) = caplog.messages
    assert "lr=0.4 instead of 0.1" in line
    assert "lr_scaling='sqrt' instead of 'linear'" in line
