from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.losses.colors import RebalancedCrossEntropyLoss, rebalanced_cross_entropy
from tests.references import rebalanced_cross_entropy_in_loops

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def batch(generator: torch.Generator) -> Batch:
    logits = torch.randn(2, 7, 3, 4, generator=generator, dtype=torch.float64) * 3
    bins = torch.rand(2, 7, 3, 4, generator=generator).argsort(dim=1)[:, :3]  # each once
    shares = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64).softmax(dim=1)
    weights = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) * 2
    weights[1, :2] = 0.0
    return logits, bins, shares, weights


def targets_of(bins: Tensor, shares: Tensor) -> list[list[dict[int, float]]]:
    return [
        [dict(zip(q, z, strict=True)) for q, z in zip(bs.tolist(), ss.tolist(), strict=True)]
        for bs, ss in zip(bins.flatten(2).mT, shares.flatten(2).mT, strict=True)
    ]


def test_it_is_the_papers_equation(batch: Batch) -> None:
    logits, bins, shares, weights = batch
    expected = rebalanced_cross_entropy_in_loops(logits, targets_of(bins, shares), weights)
    assert float(rebalanced_cross_entropy(*batch)) == pytest.approx(expected, rel=1e-12)
    assert float(RebalancedCrossEntropyLoss()(*batch)) == pytest.approx(expected, rel=1e-12)


def test_closed_forms(batch: Batch) -> None:
    logits, bins, shares, weights = batch
    equal = torch.zeros_like(logits)
    mean = float(weights.sum() / (weights > 0).sum())
    assert float(rebalanced_cross_entropy(equal, bins, shares, weights)) == pytest.approx(
        mean * math.log(7)
    )
    hard = torch.zeros_like(shares)
    hard[:, 0] = 1.0
    ones = torch.ones_like(weights)
    expected = torch.nn.functional.cross_entropy(logits, bins[:, 0])
    torch.testing.assert_close(rebalanced_cross_entropy(logits, bins, hard, ones), expected)
    assert float(rebalanced_cross_entropy(logits, bins, shares, 0 * weights)) == 0.0
    # What is said is what is there: the entropy of the shares.
    said = torch.full_like(logits, -1e9).scatter(1, bins, shares.log())
    entropy = -(shares * shares.log()).sum(dim=1).mean()
    torch.testing.assert_close(rebalanced_cross_entropy(said, bins, shares, ones), entropy)


def test_its_gradient_is_right_and_places_without_weight_have_none(batch: Batch) -> None:
    logits, bins, shares, weights = batch
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda given: rebalanced_cross_entropy(given, bins, shares, weights), (logits,)
    )
    rebalanced_cross_entropy(logits, bins, shares, weights).backward()
    assert logits.grad is not None
    assert float(logits.grad[1, :, :2].abs().max()) == 0.0
    assert float(logits.grad[1, :, 2].abs().min()) > 0.0


def test_half_precision_is_computed_in_full(batch: Batch) -> None:
    logits, bins, shares, weights = batch
    half = logits.to(torch.bfloat16)
    found = rebalanced_cross_entropy(half, bins, shares.float(), weights.float())
    expected = rebalanced_cross_entropy(half.float(), bins, shares.float(), weights.float())
    assert found.dtype == torch.float32 and torch.equal(found, expected)
