from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from super_selfish.training.schedules import (
    WarmupCosine,
    build_schedule,
    constant,
    steps_every_update,
)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)


def rates(schedule: WarmupCosine, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        schedule.optimizer.step()
        schedule.step()
    return found


def test_cosine_has_its_closed_form() -> None:
    found = rates(WarmupCosine(optimizer(), 8, end_fraction=0.5), 9)
    expected = [1 + 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    assert found == pytest.approx(expected)


def test_warm_up_rises_in_a_line_and_takes_at_most_a_tenth() -> None:
    found = rates(WarmupCosine(optimizer(), 40, warmup_steps=100), 5)
    assert found[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert found[4] == pytest.approx(2.0)


def test_a_longer_run_goes_on_from_a_stored_position() -> None:
    first = WarmupCosine(optimizer(), 10)
    rates(first, 5)
    second = WarmupCosine(optimizer(), 20)
    second.load_state_dict(first.state_dict())
    assert second.total_steps == 20
    assert second.last_epoch == 5


def test_schedules_by_name_and_function() -> None:
    assert isinstance(build_schedule("cosine", optimizer(), 10), WarmupCosine)
    assert isinstance(build_schedule(constant, optimizer(), 10), StepLR)
    with pytest.raises(ValueError, match="'linear'"):
        build_schedule("linear", optimizer(), 10)


def test_only_schedules_that_say_so_count_updates() -> None:
    assert steps_every_update(WarmupCosine(optimizer(), 10))
    assert not steps_every_update(constant(optimizer()))
