from __future__ import annotations

import torch

from super_selfish.models.standardize import Standardize


def features(count: int, scale: float = 1e-3) -> torch.Tensor:
    return 0.02 + scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


def test_features_of_any_size_get_mean_0_and_variance_1() -> None:
    for scale in (1e-4, 1e-3, 1.0, 100.0):
        out = Standardize(6)(features(500, scale))
        assert out.mean(dim=0).abs().max() < 1e-3
        assert torch.allclose(out.var(dim=0, unbiased=False), torch.ones(6), atol=0.02)


def test_a_feature_that_never_varies_stays_0() -> None:
    norm = Standardize(6)
    same = torch.full((50, 6), 0.3)
    for _ in range(100):
        assert norm(same).abs().max() < 0.05
    assert norm.eval()(same).abs().max() < 0.05


def test_it_trains_nothing() -> None:
    assert list(Standardize(6).parameters()) == []


def test_batches_of_one_are_standardised_by_the_images_so_far() -> None:
    norm = Standardize(6)
    rows = features(2000)
    for row in rows:
        norm(row[None])
    assert int(norm.num_batches_tracked or 0) == 2000
    out = norm.eval()(rows)
    assert out.mean(dim=0).abs().max() < 1e-3
    assert torch.allclose(out.std(dim=0), torch.ones(6), atol=0.01)


def test_a_single_batch_is_enough_to_evaluate() -> None:
    norm = Standardize(6)
    rows = features(100)
    in_training = norm(rows)
    assert torch.allclose(norm.eval()(rows), in_training, rtol=0.02, atol=1e-3)
