from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.training.settings import differences, told_optimizer

TENSOR = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    "value",
    [
        *(1, 0.5, "a", None, True, float("nan"), [0.5, 0.5], (1, "a"), {"a": 1}, [], {}),
        *(TENSOR, [TENSOR], {"a": TENSOR}, {"a": [TENSOR, 1]}, [[TENSOR]]),
    ],
)
def test_a_setting_is_the_same_as_itself(value: Any) -> None:
    copy = torch.clone(value) if isinstance(value, torch.Tensor) else value
    assert differences({"x": value}, {"x": copy}) == []


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        *((1, 2), (0.5, 0.51), (None, 0), ("a", "b"), (float("nan"), 1.0), ({"a": 1}, {"b": 1})),
        *(([0.5], [0.53]), ([0.5], [0.5, 0.5]), ({"a": 1}, {"a": 2}), ({"a": 1}, {})),
        *((TENSOR, TENSOR + 1), (TENSOR, TENSOR.double()), (TENSOR, TENSOR[:1]), (TENSOR, None)),
        *(([TENSOR], [TENSOR + 1]), ({"a": TENSOR}, {"a": TENSOR + 1}), (1.0, TENSOR)),
    ],
)
def test_settings_that_differ_are_told_with_both_values(stored: Any, given: Any) -> None:
    (said,) = differences({"x": stored, "y": 1}, {"x": given, "y": 1})
    assert said.startswith("x=")
    assert ", this call has " in said
    for value in (stored, given):
        if isinstance(value, torch.Tensor):
            assert f"a tensor {list(value.shape)}" in said


def test_measured_numbers_of_a_list_may_differ_by_what_decoders_do() -> None:
    assert differences({"x": [0.50, 1.0]}, {"x": [0.519, 0.981]}) == []
    assert len(differences({"x": [0.50, 1.0]}, {"x": [0.5201, 1.0]})) == 1
    assert len(differences({"x": 0.50}, {"x": 0.51})) == 1  # told, not measured


def test_what_only_one_of_two_tells_is_not_compared() -> None:
    assert differences({"x": 1, "y": 2}, {"y": 2, "z": 3}) == []


def test_a_momentum_that_a_schedule_cycles_is_told_as_it_was_given() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.85, weight_decay=0.01)
    assert told_optimizer(optimizer)["momentum"] == 0.85
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    assert optimizer.param_groups[0]["momentum"] != 0.85
    told = told_optimizer(optimizer)
    assert told["momentum"] == 0.85
    assert told["weight_decay"] == 0.01
    assert "lr" not in told and "max_momentum" not in told
