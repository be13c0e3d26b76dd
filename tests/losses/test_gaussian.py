from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.losses import LeJEPALoss, lejepa, sigreg
from super_selfish.losses.gaussian import draw_directions
from tests.references import sigreg_in_loops


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def directions_of(size: int, number: int, generator: torch.Generator) -> Tensor:
    return draw_directions(size, number, generator).double()


@pytest.mark.parametrize(("rows", "size", "number"), [(5, 3, 4), (2, 1, 1), (1, 4, 2)])
@pytest.mark.parametrize(("knots", "extent"), [(17, 3.0), (2, 1.0), (5, 5.0)])
def test_it_equals_the_loops(
    rows: int, size: int, number: int, knots: int, extent: float, generator: torch.Generator
) -> None:
    embeddings = normal(rows, size, generator=generator) * 2 + 0.3
    directions = directions_of(size, number, generator)
    expected = sigreg_in_loops(embeddings, directions, knots, extent)
    assert float(sigreg(embeddings, directions, knots, extent)) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [4, 64, 1000])
def test_of_a_gaussian_it_is_what_theory_says(rows: int, generator: torch.Generator) -> None:
    # The integral of (1 - exp(-t^2)) exp(-t^2 / 2) over |t| < 3; METHODS 1.6: 1.05.
    expected = math.sqrt(2 * math.pi) * math.erf(3 / math.sqrt(2))
    expected -= math.sqrt(2 * math.pi / 3) * math.erf(3 * math.sqrt(1.5))
    assert expected == pytest.approx(1.05, abs=0.01)
    draws = normal(4000 // rows + 40, rows, 16, generator=generator)
    found = float(sigreg(draws, directions_of(16, 32, generator)))
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("rows", [1, 64])
def test_where_all_are_zero_it_is_what_theory_says(rows: int, generator: torch.Generator) -> None:
    nothing = torch.zeros(rows, 3)
    found = float(sigreg(nothing, draw_directions(3, 5, generator)))
    assert found == pytest.approx(0.402 * rows, rel=2e-3)  # METHODS 1.6


def test_what_is_shifted_stretched_or_flat_is_far_from_a_gaussian(
    generator: torch.Generator,
) -> None:
    drawn = normal(256, 4, generator=generator)
    directions = directions_of(4, 64, generator)
    flat = drawn * torch.tensor([1.0, 1.0, 1.0, 0.0])
    for other in (drawn + 1, 3 * drawn, drawn / 3, flat, drawn.sign()):
        assert float(sigreg(other, directions)) > 3 * float(sigreg(drawn, directions))


def test_turning_changes_nothing_on_average(generator: torch.Generator) -> None:
    embeddings = normal(40, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.5])
    turn, _ = torch.linalg.qr(normal(3, 3, generator=generator))
    directions = directions_of(3, 4000, generator)
    found = float(sigreg(embeddings, directions))
    assert float(sigreg(embeddings @ turn, directions)) == pytest.approx(found, rel=0.05)
    # With what it is seen from, nothing at all.
    assert float(sigreg(embeddings @ turn, turn.T @ directions)) == pytest.approx(found)


def test_of_views_it_is_the_mean(generator: torch.Generator) -> None:
    views = normal(3, 7, 4, generator=generator)
    directions = directions_of(4, 6, generator)
    each = [float(sigreg(view, directions)) for view in views]
    assert float(sigreg(views, directions)) == pytest.approx(sum(each) / 3)


def test_directions_are_of_length_one_and_everywhere(generator: torch.Generator) -> None:
    drawn = draw_directions(3, 5000, generator)
    assert drawn.shape == (3, 5000)
    torch.testing.assert_close(drawn.norm(dim=0), torch.ones(5000))
    assert float(drawn.mean(dim=1).abs().max()) < 0.03
    torch.testing.assert_close(drawn @ drawn.T / 5000, torch.eye(3) / 3, rtol=0, atol=0.02)


@pytest.mark.parametrize("num_large", [1, 2, 3])
def test_views_are_compared_with_the_centre_of_the_large_ones(
    num_large: int, generator: torch.Generator
) -> None:
    views = normal(3, 5, 2, generator=generator)
    directions = directions_of(2, 4, generator)
    total = 0.0
    for n in range(5):
        for d in range(2):
            centre = sum(float(views[v, n, d]) for v in range(num_large)) / num_large
            total += sum((float(views[v, n, d]) - centre) ** 2 for v in range(3))
    statistic = sum(sigreg_in_loops(view, directions) for view in views) / 3
    expected = 0.7 * total / 30 + 0.3 * statistic
    assert float(lejepa(views, directions, num_large, 0.3)) == pytest.approx(expected)
    equal = views[:1].expand(3, 5, 2)
    assert float(lejepa(equal, directions, num_large, 0.0)) == pytest.approx(0, abs=1e-20)


def test_it_has_the_gradient_of_its_value(generator: torch.Generator) -> None:
    views = normal(3, 4, 2, generator=generator).requires_grad_()
    directions = directions_of(2, 3, generator)
    assert torch.autograd.gradcheck(lambda z: lejepa(z, directions, 2, 0.4, 5, 2.0), [views])


def test_half_inputs_are_computed_in_float32(generator: torch.Generator) -> None:
    views = normal(2, 8, 4, generator=generator).bfloat16()
    directions = draw_directions(4, 6, generator)
    loss = lejepa(views, directions, 2)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), lejepa(views.double(), directions.double(), 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lejepa(views.float(), directions, 2) == loss


def test_the_module_agrees_with_the_function(generator: torch.Generator) -> None:
    views = normal(2, 3, 4, generator=generator)
    directions = directions_of(4, 6, generator)
    assert LeJEPALoss(0.3, 5, 2.0)(views, directions, 1) == lejepa(
        views, directions, 1, 0.3, 5, 2.0
    )
    assert repr(LeJEPALoss()) == "LeJEPALoss(sigreg_weight=0.05, num_knots=17, extent=3.0)"


def test_what_makes_no_sense_is_refused() -> None:
    views, directions = torch.ones(2, 3, 4), torch.ones(4, 5)
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"sigreg_weight must be in \[0, 1\], got"):
            lejepa(views, directions, 1, weight)
    for knots in (1, 0, 2.5):
        with pytest.raises(ValueError, match="num_knots must be a whole number of at least 2"):
            sigreg(views, directions, knots)  # type: ignore[arg-type]
    for extent in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="extent must be > 0 and finite"):
            sigreg(views, directions, 17, extent)
    for wrong in (torch.ones(3), torch.ones(0, 4), torch.ones(2, 3)):
        with pytest.raises(ValueError, match=r"embeddings must be \[N, D\] or \[V, N, D\]"):
            sigreg(wrong, directions)
    for number in (0, 3):
        with pytest.raises(ValueError, match="num_large at least 1 and at most V"):
            lejepa(views, directions, number)
