from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses.nce import NCELoss, estimate_log_normalizer, noise_contrastive
from tests.references import noise_contrastive_in_loops, normalizer_in_loops


def unit(
    rows: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_equals_the_loops(
    temperature: float, masked: bool, generator: torch.Generator
) -> None:
    queries, keys, negatives = (unit(n, 6, generator) for n in (4, 4, 9))
    exclude = torch.rand(4, 9, generator=generator) < 0.3 if masked else None
    ours = noise_contrastive(queries, keys, negatives, temperature, math.log(70.0), 50, exclude)
    theirs = noise_contrastive_in_loops(queries, keys, negatives, temperature, 70.0, 50, exclude)
    assert float(ours) == pytest.approx(theirs)


def test_the_normalizer_equals_the_loops(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 6, generator) for n in (3, 3, 5))
    ours = estimate_log_normalizer(queries, keys, negatives, 0.3, 40)
    assert float(ours.exp()) == pytest.approx(
        normalizer_in_loops(queries, keys, negatives, 0.3, 40)
    )


def test_excluded_entries_do_not_count_for_the_normalizer(generator: torch.Generator) -> None:
    query, negatives = unit(1, 6, generator), unit(5, 6, generator)
    exclude = torch.tensor([[False, True, False, True, False]])
    masked = estimate_log_normalizer(query, query, negatives, 0.3, 40, exclude)
    fewer = estimate_log_normalizer(query, query, negatives[~exclude[0]], 0.3, 40)
    assert float(masked) == pytest.approx(float(fewer))


def test_entries_as_likely_as_noise_cost_log_two_each() -> None:
    # P = K / N for everything: exp(1 / t) / Z = K / N.
    vector = F.normalize(torch.ones(2, 8), dim=1)
    log_normalizer = 1 / 0.5 - math.log(3 / 30)
    loss = noise_contrastive(vector, vector, vector[:1].expand(3, -1), 0.5, log_normalizer, 30)
    assert float(loss) == pytest.approx(4 * math.log(2), rel=1e-5)


def test_independent_unit_vectors_cost_what_theory_says(generator: torch.Generator) -> None:
    # -log h(own) = log K + 1 / (2 D t^2), and the noise adds K E[P] N / K = 1.
    queries, keys, negatives = (unit(n, 128, generator, torch.float32) for n in (512, 512, 4096))
    loss = NCELoss(50000, 0.2)(queries, keys, negatives)
    assert float(loss) == pytest.approx(math.log(4096) + 1 / (2 * 128 * 0.04) + 1, rel=0.05)


def test_gradients_are_right_and_none_reaches_the_normalizer(generator: torch.Generator) -> None:
    queries, keys, negatives = (unit(n, 4, generator) for n in (2, 2, 3))
    queries.requires_grad_()

    def loss(queries: Tensor) -> Tensor:
        return noise_contrastive(queries, keys, negatives, 0.5, 2.0, 10)

    assert torch.autograd.gradcheck(loss, (queries,))
    assert not estimate_log_normalizer(queries, keys, negatives, 0.5, 10).requires_grad


def test_the_first_batch_in_training_fixes_the_normalizer(generator: torch.Generator) -> None:
    queries, keys, others = (unit(n, 8, generator, torch.float32) for n in (4, 4, 6))
    loss = NCELoss(20, 0.2)
    loss.eval()
    loss(keys, queries, others)
    assert loss.log_normalizer == -math.inf
    loss.train()
    loss(queries, keys, others)
    fixed = loss.log_normalizer.clone()
    torch.testing.assert_close(fixed, estimate_log_normalizer(queries, keys, others, 0.2, 20))
    again = loss(queries, queries, others)
    assert torch.equal(loss.log_normalizer, fixed)
    torch.testing.assert_close(again, noise_contrastive(queries, queries, others, 0.2, fixed, 20))
    assert "log_normalizer" in loss.state_dict()


def test_a_sharp_temperature_stays_finite_in_half_precision(generator: torch.Generator) -> None:
    queries = unit(4, 8, generator).to(torch.bfloat16)
    loss = NCELoss(1000, 0.005)(queries, queries, queries)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    rows = unit(3, 4, generator)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        NCELoss(10, 0.0)
    with pytest.raises(ValueError, match="num_images must be"):
        NCELoss(0)
    with pytest.raises(ValueError, match="one shape"):
        noise_contrastive(rows, rows[:2], rows, 0.1, 0.0, 10)
    with pytest.raises(ValueError, match="negatives must be"):
        noise_contrastive(rows, rows, rows[:0], 0.1, 0.0, 10)
    with pytest.raises(ValueError, match="exclude must be bool"):
        noise_contrastive(rows, rows, rows, 0.1, 0.0, 10, torch.zeros(3, 3))


def test_the_normalizer_of_several_processes_is_the_mean_of_theirs(
    generator: torch.Generator,
) -> None:
    queries, keys, others = (unit(n, 8, generator, torch.float32) for n in (4, 4, 6))
    alone, together = (
        NCELoss(20, 0.2),
        NCELoss(20, 0.2, gather=lambda own: torch.stack([own, own + math.log(3.0)])),
    )
    alone(queries, keys, others)
    together.eval()(queries, keys, others)
    assert together.log_normalizer == -math.inf
    together.train()(queries, keys, others)
    expected = alone.log_normalizer + math.log(2.0)  # of Z and 3 Z
    torch.testing.assert_close(together.log_normalizer, expected)


@pytest.mark.parametrize("wrong", [torch.ones(4), torch.ones(1, 1, 4), torch.ones(0, 4)])
def test_what_are_no_rows_of_vectors_is_refused(wrong: Tensor) -> None:
    one = F.normalize(torch.ones(1, 4), dim=1)
    with pytest.raises(ValueError, match=r"queries and keys must be of one shape \[B, D\]"):
        noise_contrastive(wrong, wrong, one, 0.1, 0.0, 10)
    for negatives in (wrong, torch.ones(1, 3)):
        with pytest.raises(ValueError, match=r"negatives must be \[K, 4\] with K >= 1"):
            noise_contrastive(one, one, negatives, 0.1, 0.0, 10)
    assert float(noise_contrastive(one, one, one, 1.0, 1.0, 1)) == pytest.approx(2 * math.log(2))


def test_numbers_end_where_they_make_no_sense() -> None:
    one = F.normalize(torch.ones(1, 4), dim=1)
    assert repr(NCELoss(1, 1e-3)) == "NCELoss(num_images=1, temperature=0.001)"
    for temperature in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be"):
            NCELoss(10, temperature)
        with pytest.raises(ValueError, match="temperature must be"):
            noise_contrastive(one, one, one, temperature, 0.0, 10)
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        noise_contrastive(one, one, one, 0.1, 0.0, 0)
    for exclude in (torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 1)):
        with pytest.raises(ValueError, match=r"exclude must be bool \[1, 1\]"):
            noise_contrastive(one, one, one, 0.1, 0.0, 10, exclude)
