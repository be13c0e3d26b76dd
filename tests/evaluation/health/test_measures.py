from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.health import measures
from super_selfish.evaluation.health.measures import (
    alignment,
    dead_share,
    directions_carrying,
    rankme,
    retrieval,
    uniformity,
    variance_shares,
)
from tests.references import (
    alignment_in_loops,
    rankme_by_numpy,
    retrieval_in_loops,
    uniformity_in_loops,
)


def features(images: int, width: int, rank: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(images, rank, generator=generator)
    return left @ torch.randn(rank, width, generator=generator)


@pytest.mark.parametrize(("images", "width"), [(40, 16), (16, 40), (12, 12), (1, 5)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_rankme_is_its_formula_in_float64(images: int, width: int, shift: float) -> None:
    drawn = features(images, width, 16).relu() + shift
    assert rankme(drawn) == pytest.approx(rankme_by_numpy(drawn), rel=1e-9)


def test_rankme_counts_equal_directions_and_is_bounded_by_images_and_features() -> None:
    assert rankme(torch.eye(7, 30)) == pytest.approx(7.0, rel=1e-4)
    assert rankme(torch.ones(50, 8)) == pytest.approx(1.0, rel=1e-4)
    assert rankme(torch.zeros(50, 8)) == 0.0
    assert rankme(torch.randn(20, 300, generator=torch.Generator().manual_seed(0))) < 20.01


def test_rankme_does_not_ask_for_the_scale() -> None:
    drawn = features(30, 12, 12)
    assert rankme(drawn * 1e-6) == pytest.approx(rankme(drawn), rel=1e-6)


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("pairs_per_block", [2**23, 50])
def test_retrieval_is_what_loops_count(
    noise: float, pairs_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "_PAIRS_PER_BLOCK", pairs_per_block)
    drawn = features(23, 6, 6)
    views = drawn + noise * features(23, 6, 6, seed=1)
    assert retrieval(drawn, views) == pytest.approx(retrieval_in_loops(drawn, views))


def test_retrieval_asks_for_directions_and_is_chance_for_a_collapsed_network() -> None:
    eye = torch.eye(4)
    assert retrieval(eye, 3 * eye + 0.1) == 1.0
    assert retrieval(eye, eye[[1, 0, 2, 3]]) == 0.5
    assert retrieval(torch.ones(5, 3), torch.ones(5, 3)) == pytest.approx(1 / 5)
    with pytest.raises(ValueError, match=r"same shape, got \[4, 4\] and \[3, 4\]"):
        retrieval(eye, eye[:3])


def test_shares_of_variance_are_those_of_the_principal_components() -> None:
    drawn = features(60, 9, 9) + 5.0
    expected = torch.linalg.eigvalsh(torch.cov(drawn.double().T)).flip(0)
    torch.testing.assert_close(variance_shares(drawn), expected / expected.sum())


def test_directions_carrying_counts_up_to_the_part() -> None:
    shares = torch.tensor([0.6, 0.3, 0.06, 0.04], dtype=torch.float64)
    found = [directions_carrying(shares, part) for part in (0.5, 0.8, 0.95, 0.97)]
    assert found == [1, 2, 3, 4]
    assert directions_carrying(variance_shares(features(50, 20, 3))) <= 3
    assert directions_carrying(variance_shares(torch.ones(9, 4))) == 0
    with pytest.raises(ValueError, match=r"part is a share in \(0, 1\), got 1.0"):
        directions_carrying(shares, 1.0)


def test_dead_features_are_those_that_do_not_vary_for_their_size() -> None:
    drawn = features(50, 4, 4)
    drawn[:, 0] = 0.0
    drawn[:, 1] = 7.3
    drawn[:, 2] *= 1e-9  # tiny, but of use
    noise = torch.rand(50, generator=torch.Generator().manual_seed(0))
    drawn[:, 3] = 7.3 + 1e-6 * noise  # round-off
    assert dead_share(drawn) == 0.75
    # A hundred-thousandth of its mean is what rounding leaves of a constant.
    signs = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert dead_share(1 + signs * torch.tensor([0.9e-5, 1.1e-5])) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_alignment_and_uniformity_are_their_formulas(seed: int) -> None:
    first, second = features(9, 5, 5, seed), features(9, 5, 5, seed + 10)
    assert alignment(first, second) == pytest.approx(alignment_in_loops(first, second), rel=1e-9)
    assert uniformity(first) == pytest.approx(uniformity_in_loops(first), rel=1e-9)


def test_alignment_and_uniformity_at_their_ends() -> None:
    drawn = features(9, 5, 5)
    assert alignment(drawn, 3.0 * drawn) == pytest.approx(0.0, abs=1e-12)
    assert alignment(drawn, -drawn) == pytest.approx(4.0)
    assert uniformity(torch.ones(9, 5)) == pytest.approx(0.0, abs=1e-12)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    spread = uniformity(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)))
    assert spread == pytest.approx(-3.94, abs=0.01)


def test_uniformity_in_blocks_is_uniformity(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = features(23, 6, 6)
    whole = uniformity(drawn)
    monkeypatch.setattr(measures, "_PAIRS_PER_BLOCK", 50)
    assert uniformity(drawn) == pytest.approx(whole, rel=1e-12)
    assert math.isfinite(whole)


def test_what_is_no_feature_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"features must be \[N, D\], got \[3\]"):
        rankme(torch.ones(3))
    with pytest.raises(ValueError, match="both views must have the same shape"):
        alignment(torch.ones(3, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="uniformity is of pairs"):
        uniformity(torch.ones(1, 4))


@pytest.mark.parametrize("part", [0.001, 0.2, 0.999])
def test_any_part_of_the_variance_may_be_asked_for(part: float) -> None:
    shares = torch.full((100,), 0.01, dtype=torch.float64)
    assert directions_carrying(shares, part) == pytest.approx(100 * part, abs=1)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="part"):
            directions_carrying(shares, wrong)
