from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.losses import BarlowTwinsLoss, VICRegLoss, barlow_twins, vicreg
from super_selfish.losses.redundancy import correlations, standardised, vicreg_terms
from tests.references import barlow_twins_in_loops, vicreg_in_loops


def two(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first, second = (
        torch.randn(rows, size, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return first, second + 0.5 * first


@pytest.mark.parametrize(("rows", "size"), [(9, 4), (4, 9), (5, 5), (3, 1)])
@pytest.mark.parametrize("weight", [0.0, 5e-3, 1.0])
def test_it_equals_the_loops(
    rows: int, size: int, weight: float, generator: torch.Generator
) -> None:
    first, second = two(rows, size, generator)
    expected = barlow_twins_in_loops(first, second, weight)
    # The 1e-5 that is added to variances of about 1.
    assert float(barlow_twins(first, second, weight)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("rows", "size"), [(9, 4), (4, 9)])
def test_fewer_images_than_numbers_make_the_same_sums(
    rows: int, size: int, generator: torch.Generator
) -> None:
    first, second = (standardised(view) for view in two(rows, size, generator))
    matrix = first.T @ second / rows
    found = correlations(first, second)
    torch.testing.assert_close(found.own, matrix.diagonal())
    others = matrix[~torch.eye(size, dtype=torch.bool)].square().sum()
    torch.testing.assert_close(found.others, others)


def test_the_identity_costs_nothing() -> None:
    # Three numbers of eight images that do not correlate, each the same in both views.
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    first = torch.cartesian_prod(signs, signs, signs)  # (8, 3)
    assert float(barlow_twins(3 * first + 7, first, 1.0)) == pytest.approx(0, abs=1e-8)


def test_equal_views_of_independent_numbers_cost_what_theory_says(
    generator: torch.Generator,
) -> None:
    # METHODS 1.6: w D (D - 1) / N
    first = torch.randn(512, 256, generator=generator)
    expected = 5e-3 * 256 * 255 / 512
    assert float(barlow_twins(first, first, 5e-3)) == pytest.approx(expected, rel=0.02)


def test_unrelated_views_cost_the_number_of_numbers(generator: torch.Generator) -> None:
    first, second = (torch.randn(2048, 64, generator=generator) for _ in range(2))
    assert float(barlow_twins(first, second, 0.0)) == pytest.approx(64 * (1 + 1 / 2048), rel=0.02)


def test_embeddings_that_are_the_same_for_all_images_agree_in_nothing() -> None:
    constant = torch.ones(6, 5, requires_grad=True)
    loss = barlow_twins(constant, constant, 1.0)
    loss.backward()
    assert float(loss.detach()) == 5
    assert constant.grad is not None and bool(constant.grad.isfinite().all())


def test_numbers_that_all_say_the_same_cost_the_other_term(generator: torch.Generator) -> None:
    copies = torch.randn(64, 1, generator=generator).expand(64, 5)
    assert float(barlow_twins(copies, copies, 0.1)) == pytest.approx(0.1 * 5 * 4, rel=1e-3)


def test_images_in_another_order_cost_more(generator: torch.Generator) -> None:
    first, _ = two(32, 8, generator)
    order = torch.randperm(32, generator=generator)
    assert float(barlow_twins(first, first[order], 5e-3)) > 10 * float(
        barlow_twins(first, first, 5e-3)
    )
    torch.testing.assert_close(  # the same order for both changes nothing
        barlow_twins(first[order], first[order], 5e-3), barlow_twins(first, first, 5e-3)
    )


@pytest.mark.parametrize(("rows", "size"), [(5, 3), (3, 5)])
def test_it_has_the_gradient_of_its_value(rows: int, size: int, generator: torch.Generator) -> None:
    inputs = [view.requires_grad_() for view in two(rows, size, generator)]
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, 0.3), inputs)


def test_half_inputs_are_computed_in_float32(generator: torch.Generator) -> None:
    first, second = (view.bfloat16() for view in two(8, 16, generator))
    loss = barlow_twins(first, second, 5e-3)
    assert loss.dtype == torch.float32
    expected = barlow_twins(first.double(), second.double(), 5e-3)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-4)
    plain = barlow_twins(first.float(), second.float(), 5e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert barlow_twins(first.float(), second=second.float(), off_diagonal_weight=5e-3) == plain


def test_the_module_agrees_with_the_function(generator: torch.Generator) -> None:
    first, second = two(6, 4, generator)
    assert BarlowTwinsLoss(0.3)(first, second) == barlow_twins(first, second, 0.3)
    assert repr(BarlowTwinsLoss()) == "BarlowTwinsLoss(off_diagonal_weight=0.005)"


def test_what_makes_no_sense_is_refused() -> None:
    one = torch.ones(2, 3)
    for weight in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="off_diagonal_weight must be >= 0 and finite"):
            BarlowTwinsLoss(weight)
        with pytest.raises(ValueError, match="off_diagonal_weight must be >= 0 and finite"):
            barlow_twins(one, one, weight)
    for wrong in (torch.ones(3), torch.ones(0, 3), torch.ones(2, 2, 3)):
        with pytest.raises(ValueError, match=r"expected two tensors of one shape \[N, D\]"):
            barlow_twins(wrong, wrong, 0.1)
    with pytest.raises(ValueError, match=r"got \[2, 3\] and \[2, 4\]"):
        barlow_twins(one, torch.ones(2, 4), 0.1)


@pytest.mark.parametrize(("rows", "size"), [(9, 4), (4, 9), (5, 5), (3, 1)])
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 3.0)])
def test_vicreg_equals_the_loops(
    rows: int, size: int, weights: tuple[float, float, float], generator: torch.Generator
) -> None:
    first, second = two(rows, size, generator)
    for deviation in (1.0, 2.5):
        expected = vicreg_in_loops(first, second, weights, deviation)
        assert float(vicreg(first, second, *weights, deviation)) == pytest.approx(expected)


def test_numbers_that_deviate_enough_and_have_nothing_in_common_cost_nothing() -> None:
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    first = torch.cartesian_prod(signs, signs, signs)  # (8, 3), of variance 8 / 7
    terms = vicreg_terms(first, first)
    assert [float(term) for term in terms] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    unit = first * (7 / 8) ** 0.5  # of variance 1
    for scale, expected in ((1.0, 0.0), (0.5, 1 - (0.25 + 1e-4) ** 0.5)):
        assert float(vicreg_terms(scale * unit, scale * unit).variance) == pytest.approx(expected)
    moved = vicreg_terms(first + 2, first + 2 + 0.5)  # means are no matter, but of both views
    assert [float(term) for term in moved] == pytest.approx([0.25, 0.0, 0.0], abs=1e-12)


def test_the_same_for_all_images_costs_the_weight_of_the_variance() -> None:
    constant = torch.ones(6, 5, requires_grad=True)
    loss = vicreg(constant, constant)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(24.75)  # METHODS 1.6
    assert constant.grad is not None and bool(constant.grad.isfinite().all())


def test_copies_of_a_number_cost_the_third_term(generator: torch.Generator) -> None:
    copies = torch.randn(64, 1, generator=generator).expand(64, 5)
    expected = 2 * 4 * float(copies[:, 0].var()) ** 2
    assert float(vicreg_terms(copies, copies).covariance) == pytest.approx(expected, rel=1e-4)


def test_one_image_deviates_from_nothing_and_its_views_are_brought_together() -> None:
    first, second = (torch.full((1, 4), value, requires_grad=True) for value in (0.0, 3.0))
    loss = vicreg(first, second)
    assert float(loss.detach()) == pytest.approx(25 * 9 + 24.75)
    loss.backward()
    assert first.grad is not None and bool((first.grad < 0).all())


@pytest.mark.parametrize(("rows", "size"), [(5, 3), (3, 5)])
def test_vicreg_has_the_gradient_of_its_value(
    rows: int, size: int, generator: torch.Generator
) -> None:
    inputs = [view.requires_grad_() for view in two(rows, size, generator)]
    assert torch.autograd.gradcheck(lambda a, b: vicreg(a, b, 2.0, 3.0, 0.5, 1.5), inputs)


def test_vicreg_of_half_inputs_is_computed_in_float32(generator: torch.Generator) -> None:
    first, second = (view.bfloat16() for view in two(8, 16, generator))
    loss = vicreg(first, second)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), vicreg(first.double(), second.double()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert vicreg(first.float(), second.float()) == loss


def test_the_module_of_vicreg_agrees_with_the_function(generator: torch.Generator) -> None:
    first, second = two(6, 4, generator)
    assert VICRegLoss(2.0, 3.0, 0.5, 1.5)(first, second) == vicreg(
        first, second, 2.0, 3.0, 0.5, 1.5
    )
    assert VICRegLoss()(first, second) == vicreg(first, second)
    assert repr(VICRegLoss()) == (
        "VICRegLoss(invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0, "
        "deviation=1.0)"
    )


def test_what_makes_no_sense_to_vicreg_is_refused() -> None:
    one = torch.ones(2, 3)
    for name in ("invariance_weight", "variance_weight", "covariance_weight"):
        for weight in (-0.1, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"^{name} must be >= 0 and finite, got"):
                vicreg(one, one, **{name: weight})
    for deviation in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^deviation must be > 0 and finite, got"):
            vicreg(one, one, deviation=deviation)
    for wrong in (torch.ones(3), torch.ones(0, 3), torch.ones(2, 4)):
        with pytest.raises(ValueError, match=r"expected two tensors of one shape \[N, D\]"):
            vicreg(one, wrong)
