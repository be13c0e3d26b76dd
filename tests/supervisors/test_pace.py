from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import RotateNetSupervisor, pace
from super_selfish.supervisors.base import Supervisor
from tests.several import run_several

QUIET: dict[str, Any] = {"batch_size": 8, "epochs": 1, "name": None, "progress": False}


@pytest.fixture
def rotate(images: Tensor) -> Callable[[], RotateNetSupervisor]:
    def build() -> RotateNetSupervisor:
        torch.manual_seed(0)
        return RotateNetSupervisor(images, nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))

    return build


def times(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> list[str]:
    """Has each precision take so many seconds a step; which were asked for."""
    asked = []

    def measured(supervisor: Any, forward: Any, data: Any, precision: str, devices: Any) -> float:
        assert data[0].shape[-1] == 32 and devices == [torch.device("cpu")]
        asked.append(precision)
        return seconds[precision]

    monkeypatch.setattr(pace, "seconds_a_step", measured)
    return asked


@pytest.mark.parametrize("bf16, chosen", [(0.0895, "bf16"), (0.0925, "fp32"), (0.2, "fp32")])
def test_bf16_is_taken_where_it_is_a_tenth_faster(
    rotate: Callable[[], Supervisor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bf16: float,
    chosen: str,
) -> None:
    asked = times(monkeypatch, fp32=0.1, bf16=bf16)
    supervisor = rotate().supervise(precision="auto", **{**QUIET, "progress": True})
    assert asked == ["fp32", "bf16"]
    run = supervisor.run
    assert run is not None and run.precision == chosen
    said = f'precision="auto" took {chosen}: {1000 * bf16:.3g} ms a step in bf16, 100 in fp32'
    assert said in capsys.readouterr().err


def test_nothing_stays_of_the_measurement(
    rotate: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WORTH", 1e9)  # so that it is fp32, whatever this machine likes
    chosen = rotate().supervise(precision="auto", **QUIET)
    given = rotate().supervise(precision="fp32", **QUIET)
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, chosen.state_dict()[name]), name


def test_a_run_that_goes_on_keeps_its_precision(
    rotate: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quiet = {**QUIET, "name": tmp_path / "run", "precision": "auto"}
    times(monkeypatch, fp32=0.2, bf16=0.1)
    rotate().supervise(**quiet)
    asked = times(monkeypatch, fp32=0.1, bf16=0.2)
    supervisor = rotate().supervise(resume=True, **{**quiet, "epochs": 2})
    assert supervisor.run is not None and supervisor.run.precision == "bf16"
    assert asked == []


def test_the_seconds_of_a_step_are_the_mean_of_three_after_one_that_warms_up(
    rotate: Callable[[], RotateNetSupervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, halves = rotate(), []
    took = iter([100.0, 0.25, 0.5, 0.75])
    now = 0.0

    def step(data: Tensor) -> Tensor:
        nonlocal now
        now += next(took)
        halves.append(torch.is_autocast_enabled("cpu"))
        return supervisor.model(data).sum()

    monkeypatch.setattr(pace.time, "perf_counter", lambda: now)
    data = torch.rand(2, 3, 32, 32)
    assert pace.seconds_a_step(supervisor, step, data, "bf16", [torch.device("cpu")]) == 0.5
    assert halves == [True] * 4
    assert all(parameter.grad is None for parameter in supervisor.parameters())


def _in_two(folder: Path, images: Tensor) -> str:
    """In the second process fp32 would be the faster."""
    rank = torch.distributed.get_rank()
    pace.seconds_a_step = lambda *args: 1.0 + (rank if "bf16" in args else 0.5)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    supervisor = RotateNetSupervisor(images, backbone).supervise(precision="auto", **QUIET)
    assert supervisor.run is not None
    return supervisor.run.precision


def test_the_first_of_several_processes_measures_for_all(images: Tensor, tmp_path: Path) -> None:
    assert run_several(2, _in_two, tmp_path, images) == ["bf16", "bf16"]


class _NoHalf(nn.Module):
    """A layer that refuses bf16."""

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no kernel for BFloat16")
        return images


def test_a_network_that_cannot_have_bf16_trains_in_fp32(
    images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), _NoHalf())
    supervisor = RotateNetSupervisor(images, backbone)
    supervisor.supervise(precision="auto", **{**QUIET, "progress": True})
    assert supervisor.run is not None and supervisor.run.precision == "fp32"
    assert "took fp32: bf16 does not run (no kernel for BFloat16)" in capsys.readouterr().err


def test_own_collators_cannot_be_measured(
    rotate: Callable[[], RotateNetSupervisor], capsys: pytest.CaptureFixture[str]
) -> None:
    class Plain(Supervisor):
        def _forward(self, data: Any) -> Tensor:
            return self.model(data).square().mean()

    supervisor = Plain(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        torch.zeros(16, 3, 32, 32, dtype=torch.uint8),
        None,
        collate_fn=lambda items: torch.zeros(len(items), 3, 32, 32),
    )
    supervisor.supervise(precision="auto", **{**QUIET, "progress": True})
    assert supervisor.run is not None and supervisor.run.precision == "fp32"
    assert "only a Collator can be measured" in capsys.readouterr().err
