from __future__ import annotations

import math

import pytest
import torch

from super_selfish.losses import (
    cosine_regression,
    masked_mean_squared_error,
    mean_squared_error,
    negative_cosine,
)
from tests.references import (
    cosine_regression_in_loops,
    masked_squared_error_in_loops,
    negative_cosine_in_loops,
)


@pytest.mark.parametrize(("degrees", "expected"), [(0, 0.0), (90, 2.0), (180, 4.0)])
def test_cosine_regression_of_an_angle(degrees: int, expected: float) -> None:
    radians = math.radians(degrees)
    predictions = torch.tensor([[1.0, 0.0]]) * 3
    targets = torch.tensor([[math.cos(radians), math.sin(radians)]]) * 0.5
    assert float(cosine_regression(predictions, targets)) == pytest.approx(expected, abs=1e-6)


def test_cosine_regression_equals_the_loops(generator: torch.Generator) -> None:
    predictions, targets = (torch.randn(4, 6, generator=generator) for _ in range(2))
    expected = cosine_regression_in_loops(predictions, targets)
    assert float(cosine_regression(predictions, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("degrees", "expected"), [(0, -1.0), (60, -0.5), (90, 0.0), (180, 1.0)])
def test_negative_cosine_of_an_angle(degrees: int, expected: float) -> None:
    radians = math.radians(degrees)
    predictions = torch.tensor([[1.0, 0.0]]) * 3
    targets = torch.tensor([[math.cos(radians), math.sin(radians)]]) * 0.5
    assert float(negative_cosine(predictions, targets)) == pytest.approx(expected, abs=1e-6)


def test_negative_cosine_equals_the_loops_and_half_the_regression(
    generator: torch.Generator,
) -> None:
    predictions, targets = (torch.randn(4, 6, generator=generator) for _ in range(2))
    found = float(negative_cosine(predictions, targets))
    assert found == pytest.approx(negative_cosine_in_loops(predictions, targets), rel=1e-5)
    assert found == pytest.approx(float(cosine_regression(predictions, targets)) / 2 - 1, rel=1e-5)
    half = negative_cosine(predictions.bfloat16(), targets.bfloat16())
    assert half.dtype == torch.float32
    with pytest.raises(ValueError, match=r"predictions must be \[B, D\], got \[6\]"):
        negative_cosine(predictions[0], targets[0])


def test_cosine_regression_ignores_lengths(generator: torch.Generator) -> None:
    predictions, targets = (torch.randn(4, 6, generator=generator) for _ in range(2))
    torch.testing.assert_close(
        cosine_regression(predictions, targets), cosine_regression(7 * predictions, targets / 9)
    )


def test_gradients_are_those_of_the_values(generator: torch.Generator) -> None:
    vectors = [
        torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    ]
    images = [
        torch.randn(2, 2, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    ]
    mask = torch.rand(2, 1, 2, 3, generator=generator) < 0.5
    assert torch.autograd.gradcheck(cosine_regression, vectors)
    assert torch.autograd.gradcheck(negative_cosine, vectors)
    assert torch.autograd.gradcheck(mean_squared_error, images)
    assert torch.autograd.gradcheck(lambda a, b: masked_mean_squared_error(a, b, mask), images)


def test_masked_error_equals_the_loops(generator: torch.Generator) -> None:
    predictions, targets = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    weights = torch.rand(2, 1, 4, 5, generator=generator) * 10
    expected = masked_squared_error_in_loops(predictions, targets, weights)
    ours = masked_mean_squared_error(predictions, targets, weights)
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_a_full_mask_gives_the_plain_error(generator: torch.Generator) -> None:
    predictions, targets = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    mask = torch.ones(2, 3, 4, 5, dtype=torch.bool)
    torch.testing.assert_close(
        masked_mean_squared_error(predictions, targets, mask),
        mean_squared_error(predictions, targets),
    )


def test_pixels_outside_the_mask_do_not_count(generator: torch.Generator) -> None:
    predictions, targets = (torch.randn(1, 3, 4, 4, generator=generator) for _ in range(2))
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    changed = torch.where(mask.bool(), predictions, 100.0)
    torch.testing.assert_close(
        masked_mean_squared_error(predictions, targets, mask),
        masked_mean_squared_error(changed, targets, mask),
    )


def test_an_empty_mask_costs_nothing_and_has_finite_gradient() -> None:
    predictions = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = masked_mean_squared_error(predictions, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert predictions.grad is not None
    assert predictions.grad.abs().max() == 0


@pytest.mark.parametrize("weight", [1e-3, 0.25, 4.0])
def test_weights_are_shares_however_small_they_are(weight: float) -> None:
    predictions = torch.tensor([[[[1.0, 3.0]]]])
    loss = masked_mean_squared_error(
        predictions, 0 * predictions, weight * torch.eye(1, 2)[None, None]
    )
    assert float(loss) == pytest.approx(1.0)


def test_half_inputs_are_computed_in_float32() -> None:
    predictions = torch.full((1, 1, 4, 4), 300.0, dtype=torch.float16)  # its square is no float16
    loss = mean_squared_error(predictions, torch.zeros_like(predictions))
    assert loss.dtype == torch.float32
    assert float(loss) == 90000
    mask = torch.ones(1, 1, 4, 4, dtype=torch.float16)
    assert float(masked_mean_squared_error(predictions, 0 * predictions, mask)) == 90000


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[2, 3\] and \[1, 3\]"):
        mean_squared_error(torch.ones(2, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"one shape, got \[2, 3\] and \[2, 4\]"):
        cosine_regression(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"predictions must be \[B, D\], got \[3\]"):
        cosine_regression(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"predictions must be \[B, D\], got \[1, 1, 3\]"):
        cosine_regression(torch.ones(1, 1, 3), torch.ones(1, 1, 3))
    images = torch.ones(2, 3, 4, 4)
    for mask in (images[:1], images[:, :2], images[..., :1], images[None]):
        with pytest.raises(ValueError, match=r"mask must be \[2, 1, 4, 4\]"):
            masked_mean_squared_error(images, images, mask)
    with pytest.raises(ValueError, match=r"mask must be \[2, 1, 4, 4\] or \[2, 3, 4, 4\]"):
        masked_mean_squared_error(images, images, torch.ones(4, 4))
