from __future__ import annotations

import math

import pytest
import torch

from super_selfish.training.finite import all_finite, listed, not_finite, tensors_in


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
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 others"
