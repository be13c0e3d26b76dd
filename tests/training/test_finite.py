from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from super_selfish.training.finite import (
    EVERY_UPDATE,
    LEAVE_OUT,
    LOWER,
    NonFiniteLossError,
    _group_is_finite,
    all_finite,
    listed,
    not_finite,
    tensors_in,
)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_one_number_among_many_tensors_is_found(bad: float, dtype: torch.dtype) -> None:
    tensors = {f"t{n}": torch.ones(3, 5, dtype=dtype) for n in range(20)}
    tensors["whole numbers"] = torch.ones(3, dtype=torch.int64)
    tensors["none"] = torch.ones(0)
    assert bool(all_finite(tensors.values()))
    tensors["t7"][2, 3] = bad
    assert not bool(all_finite(tensors.values()))
    assert not_finite(tensors) == ["t7"]


def test_huge_numbers_are_finite_though_their_squares_are_not() -> None:
    assert bool(all_finite([torch.full((4,), 1e30), torch.full((4,), -3e38)]))


def test_no_tensors_are_finite_and_sparse_ones_are_looked_at() -> None:
    assert bool(all_finite([]))
    assert not bool(all_finite([torch.tensor([0.0, math.inf]).to_sparse()]))


def test_tensors_are_found_by_their_place() -> None:
    found = tensors_in({"state": [{"avg": torch.ones(1), "step": 3}]}, "optimizer")
    assert list(found) == ["optimizer['state'][0]['avg']"]


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 others"


def test_the_error_says_which_step_of_which_epoch() -> None:
    error = NonFiniteLossError(7, "loss", 5)
    assert (error.step, error.indices) == (7, [])
    said = str(error)
    assert said == f"the loss of step 7 (in epoch 2) is not finite. {LEAVE_OUT}"
    told = error.told([4, 2], ": of images 4, 2")
    assert (told.step, told.indices) == (7, [4, 2])
    assert (
        str(told) == f"the loss of step 7 (in epoch 2) is not finite: of images 4, 2. {LEAVE_OUT}"
    )
    assert "of step 4 (in epoch 1)" in str(NonFiniteLossError(4, "loss", 5))
    assert "of step 0 (in epoch 1)" in str(NonFiniteLossError(0, "loss", 0))
    assert "the weight before the first step is not" in str(NonFiniteLossError(-1, "weight", 5))


def test_an_epoch_without_an_update_is_told_as_such() -> None:
    error = NonFiniteLossError(9, EVERY_UPDATE, 5, advice=LOWER).told([], "")
    assert str(error) == (
        "in epoch 2 no update had a finite loss and gradient, and all were left out up to the "
        f"last, that of step 9. {LOWER}"
    )


def test_complex_whole_and_empty_tensors_and_those_of_other_devices_are_looked_at() -> None:
    bad = torch.tensor([1.0, complex(0.0, math.inf)])
    assert not all_finite([torch.ones(2), bad])
    assert all_finite([torch.tensor([1, 2]), torch.ones(0), bad[:1]])
    assert all_finite([torch.ones(0)])
    assert not all_finite([torch.full((2,), 1e30), torch.tensor(math.nan)])


def test_the_largest_number_is_asked_for_on_an_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = []
    norm = torch._foreach_norm

    def noted(group: Any, kind: float = 2.0) -> Any:
        kinds.append(kind)
        return norm(group, kind)

    monkeypatch.setattr(torch, "_foreach_norm", noted)
    group = [torch.full((2,), 1e30)]
    for device, kind in (("meta", math.inf), ("cpu", 2.0)):
        assert _group_is_finite(torch.device(device), group)
        assert kinds.pop() == kind
