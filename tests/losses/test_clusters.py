from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses import (
    ClusterPredictionLoss,
    SwappedPredictionLoss,
    cluster_prediction,
    prototype_scores,
    sinkhorn_codes,
    swapped_prediction,
)
from tests.references import sinkhorn_in_loops, swapped_prediction_in_loops


def cosines(rows: int, size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(rows, size, generator=generator, dtype=torch.float64) - 1


@pytest.mark.parametrize(("images", "prototypes"), [(6, 4), (4, 6), (5, 1), (1, 5)])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_codes_equal_the_loops(
    images: int, prototypes: int, iterations: int, epsilon: float, generator: torch.Generator
) -> None:
    scores = cosines(images, prototypes, generator)
    expected = sinkhorn_in_loops(scores, epsilon, iterations)
    torch.testing.assert_close(sinkhorn_codes(scores, epsilon, iterations), expected)


@pytest.mark.parametrize(("images", "prototypes"), [(64, 8), (512, 64)])
def test_images_are_shared_out_evenly(
    images: int, prototypes: int, generator: torch.Generator
) -> None:
    codes = sinkhorn_codes(cosines(images, prototypes, generator).float(), 0.5, 3)
    assert codes.dtype == torch.float32 and not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(images))
    share = images / prototypes
    assert float((codes.sum(dim=0) / share - 1).abs().max()) < 0.05
    many = sinkhorn_codes(cosines(images, prototypes, generator), 0.05, 100)
    assert float((many.sum(dim=0) / share - 1).abs().max()) < 1e-3


def test_where_all_is_alike_codes_are_uniform_and_where_each_has_its_own_they_are_certain() -> None:
    uniform = sinkhorn_codes(torch.full((6, 4), 0.3), 0.05, 3)
    torch.testing.assert_close(uniform, torch.full((6, 4), 0.25))
    certain = sinkhorn_codes(2 * torch.eye(5) - 1, 0.05, 3)
    torch.testing.assert_close(certain, torch.eye(5))


def test_all_images_cannot_go_to_one_prototype() -> None:
    scores = torch.zeros(8, 4)
    scores[:, 0] = 0.9  # all are nearest to the first
    codes = sinkhorn_codes(scores, 0.05, 3)
    torch.testing.assert_close(codes, torch.full((8, 4), 0.25))


def test_images_that_do_not_count_change_nothing(generator: torch.Generator) -> None:
    scores, others = cosines(6, 4, generator), 5 * cosines(3, 4, generator)
    weights = torch.tensor([1.0] * 6 + [0.0] * 3)
    found = sinkhorn_codes(torch.cat([scores, others]), 0.05, 3, weights)
    torch.testing.assert_close(found[:6], sinkhorn_codes(scores, 0.05, 3))
    assert bool((found[6:] == 0).all())


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2, 1e3])
def test_no_epsilon_loses_an_image(epsilon: float, generator: torch.Generator) -> None:
    scores = cosines(32, 8, generator).float()
    codes = sinkhorn_codes(scores, epsilon, 3)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(32))
    assert bool(codes.isfinite().all())


def test_the_loss_equals_the_loops(generator: torch.Generator) -> None:
    for coded, views in ((2, 2), (2, 5), (1, 3)):
        codes = torch.rand(coded, 4, 6, generator=generator).softmax(dim=2)
        scores = torch.stack([cosines(4, 6, generator) for _ in range(views)])
        for temperature in (0.1, 1.0):
            found = float(swapped_prediction(codes, scores, temperature))
            expected = swapped_prediction_in_loops(codes, scores, temperature)
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("prototypes", [2, 3000])
def test_equal_scores_cost_the_logarithm_of_their_number(
    prototypes: int, generator: torch.Generator
) -> None:
    codes = torch.rand(2, 3, prototypes, generator=generator).softmax(dim=2)
    scores = torch.full((8, 3, prototypes), 0.4)
    loss = float(swapped_prediction(codes, scores, 0.1))
    assert loss == pytest.approx(math.log(prototypes), rel=1e-5)


def test_a_code_that_is_foretold_costs_nothing_and_its_own_view_does_not_count() -> None:
    codes = torch.eye(3).expand(1, 3, 3)
    scores = torch.stack([torch.zeros(3, 3), 100 * torch.eye(3)])
    assert float(swapped_prediction(codes, scores, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(swapped_prediction(codes, scores.flip(0), 1.0)) == pytest.approx(math.log(3))


def test_scores_are_cosines(generator: torch.Generator) -> None:
    embeddings = torch.randn(4, 5, generator=generator)
    prototypes = F.normalize(torch.randn(3, 5, generator=generator), dim=1)
    found = prototype_scores(7 * embeddings, prototypes)
    expected = torch.stack([F.cosine_similarity(embeddings, p[None]) for p in prototypes], dim=1)
    torch.testing.assert_close(found, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prototype_scores(7 * embeddings, prototypes), found)
        codes = sinkhorn_codes(found, 0.05, 3)
    assert torch.equal(codes, sinkhorn_codes(found, 0.05, 3))
    assert sinkhorn_codes(found.bfloat16(), 0.05, 3).dtype == torch.float32


def test_it_has_the_gradient_of_its_value(generator: torch.Generator) -> None:
    codes = torch.rand(2, 3, 4, generator=generator).double().softmax(dim=2)
    scores = torch.stack([cosines(3, 4, generator) for _ in range(3)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(codes, s, 0.5), [scores])
    vectors = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 2)]
    inputs = [vector.requires_grad_() for vector in vectors]
    assert torch.autograd.gradcheck(prototype_scores, inputs)
    assert not sinkhorn_codes(scores[0], 0.05, 3).requires_grad


def test_the_module_agrees_with_the_function(generator: torch.Generator) -> None:
    codes = torch.rand(2, 3, 4, generator=generator).softmax(dim=2)
    scores = torch.rand(3, 3, 4, generator=generator)
    assert SwappedPredictionLoss(0.3)(codes, scores) == swapped_prediction(codes, scores, 0.3)
    assert repr(SwappedPredictionLoss()) == "SwappedPredictionLoss(temperature=0.1)"


def test_what_makes_no_sense_is_refused() -> None:
    codes, scores = torch.ones(2, 3, 4), torch.ones(2, 3, 4)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be > 0 and finite"):
            SwappedPredictionLoss(temperature)
        with pytest.raises(ValueError, match="temperature must be > 0 and finite"):
            swapped_prediction(codes, scores, temperature)
    for wrong_codes, wrong_scores in (
        (codes[0], scores),
        (codes, scores[:1]),
        (codes[:1], scores[:1]),
        (codes[:, :2], scores),
        (codes[:0], scores),
    ):
        with pytest.raises(ValueError, match=r"codes must be \[A, B, K\] and scores"):
            swapped_prediction(wrong_codes, wrong_scores, 0.1)
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="epsilon must be > 0 and finite"):
            sinkhorn_codes(scores[0], epsilon, 3)
    with pytest.raises(ValueError, match="iterations must be >= 1, got 0"):
        sinkhorn_codes(scores[0], 0.05, 0)
    for wrong in (torch.ones(3), torch.ones(0, 3), torch.ones(3, 0)):
        with pytest.raises(ValueError, match=r"scores must be \[N, K\]"):
            sinkhorn_codes(wrong, 0.05, 3)


def test_the_prediction_of_clusters_equals_the_loops(generator: torch.Generator) -> None:
    scores = torch.rand(3, 4, 5, generator=generator, dtype=torch.float64)
    clusters = torch.tensor([4, 0, 2, 2])
    total = 0.0
    for view in scores:
        for row, cluster in zip((view / 0.3).exp(), clusters, strict=True):
            total -= math.log(float(row[cluster] / row.sum()))
    assert float(cluster_prediction(scores, clusters, 0.3)) == pytest.approx(total / 12)
    assert ClusterPredictionLoss(0.3)(scores, clusters) == cluster_prediction(scores, clusters, 0.3)
    assert repr(ClusterPredictionLoss()) == "ClusterPredictionLoss(temperature=0.1)"
    equal = torch.ones(2, 3, 7)
    assert float(cluster_prediction(equal, torch.arange(3), 0.1)) == pytest.approx(math.log(7))


def test_clusters_that_make_no_sense_are_refused() -> None:
    scores = torch.ones(2, 3, 4)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be > 0 and finite"):
            cluster_prediction(scores, torch.arange(3), temperature)
    for wrong in (torch.arange(2), torch.ones(3, 1).long()):
        with pytest.raises(ValueError, match=r"scores must be \[V, B, K\] and clusters \[B\]"):
            cluster_prediction(scores, wrong, 1.0)
