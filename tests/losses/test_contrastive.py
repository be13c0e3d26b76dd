from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses import InfoNCELoss, NTXentLoss, info_nce, nt_xent
from tests.references import info_nce_in_loops, nt_xent_in_loops


def unit(
    rows: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize(("batch", "dim", "count"), [(1, 3, 1), (4, 5, 7), (3, 8, 2)])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_equals_the_loops(
    batch: int, dim: int, count: int, temperature: float, generator: torch.Generator
) -> None:
    queries, keys, negatives = (unit(n, dim, generator) for n in (batch, batch, count))
    ours = info_nce(queries, keys, negatives, temperature)
    assert float(ours) == pytest.approx(info_nce_in_loops(queries, keys, negatives, temperature))


def test_info_nce_equals_the_loops_with_excluded_entries(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 4, generator) for n in (3, 3, 6))
    exclude = torch.rand(3, 6, generator=generator) < 0.4
    ours = info_nce(queries, keys, negatives, 0.1, exclude)
    assert float(ours) == pytest.approx(info_nce_in_loops(queries, keys, negatives, 0.1, exclude))


@pytest.mark.parametrize("count", [1, 10, 4096])
def test_negatives_as_similar_as_the_positive_cost_log_of_one_plus_their_number(count: int) -> None:
    vector = F.normalize(torch.ones(2, 8), dim=1)
    loss = info_nce(vector, vector, vector[:1].expand(count, -1), 0.07)
    assert float(loss) == pytest.approx(math.log(1 + count), rel=1e-5)


def test_independent_unit_vectors_cost_what_theory_says(generator: torch.Generator) -> None:
    # METHODS.md 1.6: K 4096, D 128, temperature 0.2: log(K + 1) + 1 / (2 D t^2) = 8.42
    queries, keys, negatives = (unit(n, 128, generator, torch.float32) for n in (512, 512, 4096))
    assert float(info_nce(queries, keys, negatives, 0.2)) == pytest.approx(8.42, rel=0.02)


def test_random_queue_costs_what_theory_says_for_similar_keys(generator: torch.Generator) -> None:
    # METHODS.md 1.6: K 4096, cos+ 0.95, temperature 0.2: 3.7
    queries, negatives = (unit(n, 128, generator) for n in (256, 4096))
    aside = unit(256, 128, generator)
    aside = F.normalize(aside - (aside * queries).sum(1, keepdim=True) * queries, dim=1)
    keys = 0.95 * queries + math.sqrt(1 - 0.95**2) * aside
    assert float(info_nce(queries, keys, negatives, 0.2)) == pytest.approx(3.7, rel=0.05)


def test_excluded_entries_get_no_gradient(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 4, generator) for n in (2, 2, 3))
    negatives.requires_grad_()
    exclude = torch.tensor([[True, False, False], [True, False, False]])
    info_nce(queries, keys, negatives, 0.2, exclude).backward()
    assert negatives.grad is not None
    assert negatives.grad[0].abs().max() == 0
    assert negatives.grad[1:].abs().min() > 0


def test_query_without_any_negative_costs_nothing_and_has_finite_gradient(
    generator: torch.Generator,
) -> None:
    queries, keys, negatives = (unit(n, 4, generator) for n in (2, 2, 3))
    queries.requires_grad_()
    exclude = torch.tensor([[True, True, True], [False, False, False]])
    loss = info_nce(queries, keys, negatives, 0.2, exclude)
    loss.backward()
    alone = info_nce(queries[1:].detach(), keys[1:], negatives, 0.2)
    assert float(loss.detach()) == pytest.approx(float(alone) / 2)
    assert queries.grad is not None
    assert queries.grad[0].abs().max() < 1e-12
    assert queries.grad.isfinite().all()


def test_info_nce_has_the_gradient_of_its_value(generator: torch.Generator) -> None:
    inputs = [unit(n, 3, generator).requires_grad_() for n in (2, 2, 4)]
    exclude = torch.tensor([[True, False, False, False], [False, False, True, False]])
    assert torch.autograd.gradcheck(lambda q, k, n: info_nce(q, k, n, 0.2), inputs)
    assert torch.autograd.gradcheck(lambda q, k, n: info_nce(q, k, n, 0.2, exclude), inputs)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_equals_the_loops(temperature: float, generator: torch.Generator) -> None:
    first, second = unit(5, 4, generator), unit(5, 4, generator)
    ours = nt_xent(first, second, temperature)
    assert float(ours) == pytest.approx(nt_xent_in_loops(first, second, temperature))


def test_nt_xent_of_equal_vectors_is_the_log_of_the_candidates() -> None:
    vectors = F.normalize(torch.ones(6, 4), dim=1)
    assert float(nt_xent(vectors, vectors, 0.1)) == pytest.approx(math.log(11), rel=1e-5)


def test_nt_xent_of_independent_vectors_costs_what_theory_says(generator: torch.Generator) -> None:
    first, second = unit(256, 128, generator), unit(256, 128, generator)
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(6.25, rel=0.02)


def test_nt_xent_has_the_gradient_of_its_value(generator: torch.Generator) -> None:
    inputs = [unit(3, 3, generator).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), inputs)


def test_nt_xent_is_the_same_with_the_views_exchanged(generator: torch.Generator) -> None:
    first, second = unit(5, 4, generator), unit(5, 4, generator)
    torch.testing.assert_close(nt_xent(first, second, 0.2), nt_xent(second, first, 0.2))


def test_modules_agree_with_functions(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 4, generator) for n in (3, 3, 5))
    exclude = torch.rand(3, 5, generator=generator) < 0.5
    assert InfoNCELoss(0.3)(queries, keys, negatives, exclude) == info_nce(
        queries, keys, negatives, 0.3, exclude
    )
    assert NTXentLoss(0.3)(queries, keys) == nt_xent(queries, keys, 0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    queries, keys, negatives = (unit(n, 16, generator).to(dtype) for n in (4, 4, 64))
    loss = info_nce(queries, keys, negatives, 0.07)
    expected = info_nce(queries.double(), keys.double(), negatives.double(), 0.07)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert nt_xent(queries, keys, 0.1).dtype == torch.float32


def test_autocast_changes_no_digit(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 16, generator, torch.float32) for n in (4, 4, 64))
    plain = info_nce(queries, keys, negatives, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert info_nce(queries, keys, negatives=negatives, temperature=0.07) == plain
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"^temperature must be > 0, got {temperature}$"):
        InfoNCELoss(temperature)
    with pytest.raises(ValueError, match=f"^temperature must be > 0, got {temperature}$"):
        nt_xent(torch.ones(1, 2), torch.ones(1, 2), temperature)


def test_shapes_that_do_not_fit_are_refused() -> None:
    vectors = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"one shape \[B, D\], got \[2, 3\] and \[3, 3\]"):
        info_nce(vectors, torch.ones(3, 3), vectors, 0.1)
    with pytest.raises(ValueError, match=r"negatives must be \[K, 3\] with K >= 1, got \[0, 3\]"):
        info_nce(vectors, vectors, torch.ones(0, 3), 0.1)
    with pytest.raises(ValueError, match=r"exclude must be \[B, K\] = \[2, 4\], got \[2, 1\]"):
        info_nce(vectors, vectors, torch.ones(4, 3), 0.1, torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"exclude must be bool, got torch.float32"):
        info_nce(vectors, vectors, torch.ones(4, 3), 0.1, torch.ones(2, 4))


def test_a_temperature_at_which_all_is_alike_is_refused() -> None:
    for make in (InfoNCELoss, NTXentLoss):
        with pytest.raises(ValueError, match="temperature must be finite, got inf"):
            make(math.inf)
        assert repr(make(1e-3)) == f"{make.__name__}(temperature=0.001)"
    vectors = torch.ones(1, 2)
    for temperature in (0.0, math.inf):
        with pytest.raises(ValueError, match="temperature must be"):
            info_nce(vectors, vectors, vectors, temperature)


@pytest.mark.parametrize("wrong", [torch.ones(3), torch.ones(1, 1, 3), torch.ones(0, 3)])
def test_what_are_no_rows_of_vectors_is_refused(wrong: Tensor) -> None:
    one = torch.ones(1, 3)
    with pytest.raises(ValueError, match=r"expected two tensors of one shape \[B, D\]"):
        info_nce(wrong, wrong, one, 0.1)
    with pytest.raises(ValueError, match=r"expected two tensors of one shape \[B, D\]"):
        nt_xent(wrong, wrong, 0.1)
    with pytest.raises(ValueError, match=r"negatives must be \[K, 3\] with K >= 1"):
        info_nce(one, one, wrong, 0.1)
    with pytest.raises(ValueError, match=r"negatives must be \[K, 3\] with K >= 1"):
        info_nce(one, one, torch.ones(1, 4), 0.1)
    assert float(info_nce(one, one, one, 0.1)) == pytest.approx(math.log(2))
    assert float(nt_xent(one, one, 0.1)) == 0  # a view of one image has no negatives
