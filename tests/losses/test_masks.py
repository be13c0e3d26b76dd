from __future__ import annotations

import math

import pytest
import torch

from super_selfish.losses.masks import masked_binary_cross_entropy


def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 1, 4, 5, generator=generator, dtype=torch.float64)
    targets = torch.rand(3, 1, 4, 5, generator=generator) < 0.4
    counts = torch.rand(3, 1, 4, 5, generator=generator) < 0.7
    return logits, targets, counts


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_it_is_the_mean_over_the_pixels_that_count(weight: float) -> None:
    logits, targets, counts = drawn()
    slow, number = 0.0, 0
    for x, y, counted in zip(logits.flatten(), targets.flatten(), counts.flatten(), strict=True):
        if counted:
            chance = 1 / (1 + math.exp(-float(x)))
            slow -= weight * math.log(chance) if y else math.log(1 - chance)
            number += 1
    loss = masked_binary_cross_entropy(logits, targets, counts, weight)
    assert float(loss) == pytest.approx(slow / number, rel=1e-12)


def test_who_knows_nothing_pays_log_2() -> None:
    _, targets, counts = drawn()
    loss = masked_binary_cross_entropy(torch.zeros(3, 1, 4, 5), targets, counts)
    assert float(loss) == pytest.approx(math.log(2))


def test_what_does_not_count_has_no_gradient() -> None:
    logits, targets, counts = drawn()
    logits.requires_grad_()
    masked_binary_cross_entropy(logits, targets, counts).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, counts)


def test_where_nothing_counts_there_is_nothing_to_learn() -> None:
    logits, targets, counts = drawn()
    logits.requires_grad_()
    loss = masked_binary_cross_entropy(logits, targets, torch.zeros_like(counts))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None and not logits.grad.any()


def test_it_is_computed_in_float32() -> None:
    logits, targets, counts = drawn()
    assert masked_binary_cross_entropy(logits.bfloat16(), targets, counts).dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    logits, targets, counts = drawn()
    with pytest.raises(ValueError, match="of one shape, got"):
        masked_binary_cross_entropy(logits, targets[:, :, :2], counts)
    with pytest.raises(ValueError, match="positive_weight must be above 0, got 0"):
        masked_binary_cross_entropy(logits, targets, counts, 0)
