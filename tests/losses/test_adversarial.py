from __future__ import annotations

import math

import pytest
import torch

from super_selfish.losses.adversarial import adversarial_cross_entropy, adversarial_least_squares
from tests.references import adversarial_cross_entropy_in_loops


@pytest.mark.parametrize("is_real", [True, False])
def test_a_discriminator_that_knows_nothing_costs_log_two(is_real: bool) -> None:
    assert float(adversarial_cross_entropy(torch.zeros(5), is_real)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("is_real", [True, False])
def test_cross_entropy_equals_the_loops(generator: torch.Generator, is_real: bool) -> None:
    logits = 3 * torch.randn(7, generator=generator)
    expected = adversarial_cross_entropy_in_loops(logits, is_real)
    assert float(adversarial_cross_entropy(logits, is_real)) == pytest.approx(expected, rel=1e-5)


def test_a_deceived_player_keeps_its_gradient_and_a_sure_one_overflows_nothing() -> None:
    logits = torch.tensor([-500.0, 500.0], requires_grad=True)
    loss = adversarial_cross_entropy(logits, True)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(250.0)
    assert gradient.tolist() == [-0.5, 0.0]


@pytest.mark.parametrize(
    ("logit", "is_real", "expected"),
    [(1.0, True, 0.0), (0.0, True, 0.5), (0.0, False, 0.0), (3.0, False, 4.5)],
)
def test_least_squares_is_half_the_squared_distance(
    logit: float, is_real: bool, expected: float
) -> None:
    assert float(adversarial_least_squares(torch.full((3, 1), logit), is_real)) == expected


@pytest.mark.parametrize("loss", [adversarial_cross_entropy, adversarial_least_squares])
@pytest.mark.parametrize("is_real", [True, False])
def test_gradients_are_those_of_the_values(
    generator: torch.Generator, loss: type, is_real: bool
) -> None:
    logits = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, is_real), [logits])


@pytest.mark.parametrize("loss", [adversarial_cross_entropy, adversarial_least_squares])
def test_half_precision_is_computed_in_float32(loss: type) -> None:
    assert loss(torch.zeros(3, dtype=torch.bfloat16), True).dtype == torch.float32
