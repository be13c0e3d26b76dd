from __future__ import annotations

import pytest
import torch

from super_selfish.losses.counting import CountingLoss, counting_loss, squared_distance
from tests.references import counting_in_loops


@pytest.mark.parametrize(("margin", "weight"), [(10.0, 1.0), (3.0, 0.4)])
def test_it_is_the_papers_equation(
    margin: float, weight: float, generator: torch.Generator
) -> None:
    whole, parts, others = torch.rand(3, 6, 9, generator=generator, dtype=torch.float64)
    others[:3] *= 3  # some beyond the margin, some within
    expected = counting_in_loops(whole, parts, others, margin, weight)
    assert float(counting_loss(whole, parts, others, margin, weight)) == pytest.approx(expected)
    assert float(CountingLoss(margin, weight)(whole, parts, others)) == pytest.approx(expected)


def test_closed_forms() -> None:
    zeros, ones = torch.zeros(4, 1000), torch.ones(4, 1000)
    assert float(counting_loss(zeros, zeros, zeros)) == 10.0  # nothing is counted: the margin
    assert float(counting_loss(ones, ones, zeros)) == 0.0  # 1000 apart
    assert float(counting_loss(zeros, ones, ones, weight=0.5)) == 1005.0
    # The margin is that of the whole vector: 1000 counts that differ by 0.1 are 10 apart.
    assert float(counting_loss(zeros, zeros, ones * 0.1)) == pytest.approx(0.0, abs=1e-4)
    assert float(counting_loss(zeros, zeros, ones * 0.05)) == pytest.approx(7.5)


def test_its_gradient_is_right_and_ends_beyond_the_margin(generator: torch.Generator) -> None:
    given = [
        torch.rand(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    ]
    assert torch.autograd.gradcheck(counting_loss, tuple(given))
    far = torch.full((3, 4), 9.0, dtype=torch.float64, requires_grad=True)
    counting_loss(given[0], given[1], far).backward()
    assert far.grad is not None and float(far.grad.abs().max()) == 0.0


def test_half_precision_is_computed_in_full() -> None:
    halves = torch.full((2, 1000), 0.01, dtype=torch.bfloat16)
    found = squared_distance(halves, torch.zeros(2, 1000))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((2,), 0.1), rtol=1e-2, atol=0)


@pytest.mark.parametrize("numbers", [(0.0, 1.0), (10.0, 0.0), (float("inf"), 1.0)])
def test_numbers_that_teach_nothing_are_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="margin and weight must be numbers > 0, got"):
        CountingLoss(*numbers)
