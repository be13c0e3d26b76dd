"""Arguments as NumPy and torch give them are taken; those that cannot be are refused in words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.data.frames import parse_pages
from super_selfish.data.value_range import ValueRange, parse_value_range
from super_selfish.data.workers import parse_timeout
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import MomentumContrastSupervisor, RotateNetSupervisor

IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ONCE: dict[str, Any] = {"epochs": 1, "batch_size": 8, "progress": False}


def new(**options: Any) -> RotateNetSupervisor:
    return RotateNetSupervisor(IMAGES, NarrowResNet(width=8), **options)


@pytest.mark.parametrize(
    "given",
    [
        np.array([0, 2]),
        torch.tensor([0.0, 2.0]),
        [np.float32(0), torch.tensor(2.0)],
        (np.float32(0), torch.tensor(2.0)),
        (torch.zeros(1), np.array([2])),
    ],
)
def test_a_value_range_may_be_of_any_numbers(given: Any) -> None:
    assert parse_value_range(given) == ValueRange((0.0,), (2.0,))
    assert new(value_range=given).value_range == (0.0, 2.0)


def test_a_value_range_of_an_array_has_a_bound_for_each_channel() -> None:
    given = np.array([[0, 0, 0], [1, 2, 3]])
    assert parse_value_range(given) == ValueRange((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"value_range must be \(low, high\)"):
        parse_value_range(np.array([0, 1, 2]))


@pytest.mark.parametrize("seconds", [np.int64(30), np.float32(30), torch.tensor(30)])
def test_a_timeout_may_be_of_any_number(seconds: Any) -> None:
    assert parse_timeout(seconds) == 30.0


@pytest.mark.parametrize("page", [np.int64(2), np.uint8(2), torch.tensor(2)])
def test_a_page_may_be_of_any_whole_number(page: Any) -> None:
    assert parse_pages(page) == 2
    assert type(parse_pages(page)) is int


def test_steps_between_checkpoints_may_be_a_whole_float(tmp_path: Path) -> None:
    supervisor = new().supervise(**ONCE, name=tmp_path / "run", checkpoint_every=2.0)  # type: ignore[arg-type]
    assert supervisor.run is not None and supervisor.run.checkpoint_every == 2
    with pytest.raises(ValueError, match=r"checkpoint_every must be a whole number, got 2\.5"):
        new().supervise(**ONCE, name=tmp_path / "run", checkpoint_every=2.5)  # type: ignore[arg-type]


def test_a_device_without_numbers_is_refused() -> None:
    for supervisor in (new(device="meta"), new().to("meta")):
        with pytest.raises(ValueError, match="holds shapes and no numbers"):
            supervisor.supervise(**ONCE, name=None)


def test_a_run_goes_on_with_a_normalisation_of_tensors(tmp_path: Path) -> None:
    def build(mean: float = 0.5) -> MomentumContrastSupervisor:
        normalize = (torch.full((3,), mean), torch.full((3,), 0.2))
        return MomentumContrastSupervisor(IMAGES, NarrowResNet(width=8), normalize=normalize)

    name = tmp_path / "run"
    build().supervise(**ONCE, name=name)
    again = build().supervise(**ONCE | {"epochs": 2}, name=name, resume=True)
    assert [row["epoch"] for row in again.history] == [1, 2]
    assert build().load(name).epochs_seen == 2
    with pytest.raises(ValueError, match=r"cannot resume .*normalize"):
        build(0.4).supervise(**ONCE | {"epochs": 3}, name=name, resume=True)


def without_lr(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters)


def nothing(parameters: Any, lr: float) -> None:
    return None


def sparse(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SparseAdam(list(parameters), lr)


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (torch.optim.LBFGS, "LBFGS computes the loss of one batch several times"),
        (partial(torch.optim.LBFGS, history_size=3), "LBFGS computes the loss"),
        (torch.optim.SparseAdam, "SparseAdam takes sparse gradients alone"),
        (sparse, "makes SparseAdam"),
        (without_lr, r"called as optimizer\(parameters, lr=lr\), which without_lr\("),
        (nothing, "must make an optimizer.*got None"),
        (nn.Linear, r"called as optimizer\(parameters, lr=lr\), which Linear\("),
    ],
)
def test_an_optimizer_that_cannot_train_is_refused_in_words(optimizer: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        new().supervise(**ONCE, name=None, optimizer=optimizer)
