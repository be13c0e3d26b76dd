from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.lab import rgb_to_lab
from super_selfish.supervisors.color_bins import ColorBins, gamut_centers
from tests.references import color_weights_in_loops, soft_colors_in_loops


def table(neighbors: int = 5, sigma: float = 5.0) -> ColorBins:
    bins = ColorBins(gamut_centers(10.0), neighbors, sigma, prior_sigma=5.0, uniform_share=0.5)
    return bins.double()


def colors(generator: torch.Generator, *size: int) -> Tensor:
    images = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    return rgb_to_lab(images)[:, 1:]


def test_the_table_is_all_that_srgb_has_by_tens() -> None:
    """METHODS 3.2: 261 centres, a* from -90 to 100 and b* from -110 to 90."""
    centers = gamut_centers(10.0)
    assert centers.shape == (261, 2)
    assert centers.amin(dim=0).tolist() == [-90.0, -110.0]
    assert centers.amax(dim=0).tolist() == [100.0, 90.0]
    assert torch.equal(centers, (centers / 10).round() * 10)
    assert torch.equal(centers, centers.unique(dim=0))
    assert [0.0, 0.0] in centers.tolist()
    assert len(gamut_centers(30.0)) == 40


def test_no_colour_is_far_from_all_bins(generator: torch.Generator) -> None:
    ab = colors(generator, 40, 40).flatten(2).mT.reshape(-1, 2)
    nearest = torch.cdist(ab, gamut_centers(10.0).double()).amin(dim=1)
    assert float(nearest.max()) <= 50**0.5 + 1e-6  # half of a bin's diagonal


def test_soft_encoding_is_the_papers(generator: torch.Generator) -> None:
    ab = colors(generator, 3, 4)
    bins, shares = table().encode(ab)
    assert bins.shape == shares.shape == (2, 5, 3, 4)
    centers = gamut_centers(10.0).tolist()
    for b in range(2):
        for y in range(3):
            for x in range(4):
                a_star, b_star = ab[b, :, y, x].tolist()
                expected = soft_colors_in_loops((a_star, b_star), centers, 5, 5.0)
                found = dict(zip(bins[b, :, y, x].tolist(), shares[b, :, y, x], strict=True))
                assert found.keys() == expected.keys()
                for q, share in expected.items():
                    assert float(found[q]) == pytest.approx(share, rel=1e-9)
                assert int(bins[b, 0, y, x]) == max(expected, key=lambda q: expected[q])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 3, 4, dtype=torch.float64))


def test_the_mean_of_a_soft_colour_is_near_it(generator: torch.Generator) -> None:
    """METHODS 3.2: within about 3 units."""
    ab = colors(generator, 30, 30) * 0.7  # inside the gamut, where bins lie all around
    bins, shares = table().encode(ab)
    mean = torch.einsum("bnhw,bnhwc->bchw", shares, gamut_centers(10.0).double()[bins])
    assert float((mean - ab).norm(dim=1).mean()) < 3.0


def test_colours_beyond_all_bins_have_shares() -> None:
    far = torch.tensor([[[[500.0]], [[500.0]]]], dtype=torch.float64)
    _, shares = table().encode(far)
    assert float(shares.sum()) == pytest.approx(1.0)


def test_weights_are_the_papers(generator: torch.Generator) -> None:
    bins = table()
    counts = torch.rand(261, generator=generator, dtype=torch.float64) ** 8
    counts[100:] = 0.0
    bins.learn(counts)
    prior = (counts / counts.sum()).tolist()
    expected = color_weights_in_loops(prior, gamut_centers(10.0).tolist(), 5.0, 0.5)
    torch.testing.assert_close(bins.weights, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(bins.prior, torch.tensor(prior, dtype=torch.float64))
    assert float(bins.weights[200]) > float(bins.weights[prior.index(max(prior))])
    assert float(bins.mixture.sum()) == pytest.approx(1.0) and float(bins.mixture.min()) > 0


def test_all_colours_count_alike_where_all_is_uniform(generator: torch.Generator) -> None:
    counts = torch.rand(261, generator=generator, dtype=torch.float64)
    uniform = ColorBins(gamut_centers(10.0), 5, 5.0, 5.0, uniform_share=1.0).double()
    uniform.learn(counts)
    torch.testing.assert_close(uniform.weights, torch.ones(261, dtype=torch.float64))
    fresh = table()
    assert torch.equal(fresh.weights, torch.ones(261, dtype=torch.float64))
    assert float(fresh.prior.sum()) == pytest.approx(1.0)


def test_a_prior_that_is_there_stays_bit_for_bit(generator: torch.Generator) -> None:
    bins = table()
    counts = torch.rand(261, generator=generator, dtype=torch.float64)
    bins.learn(counts)
    before = {name: value.clone() for name, value in bins.state_dict().items()}
    bins.learn(counts * (1 + 1e-9) * 7)
    assert all(torch.equal(value, before[name]) for name, value in bins.state_dict().items())
    bins.learn(counts.flip(0))
    assert not torch.equal(bins.weights, before["weights"])


def test_counting_finds_the_nearest_bin() -> None:
    bins = table()
    centers = gamut_centers(10.0).double()
    counts = bins.count(torch.cat([centers + 1.0, centers[3:5] - 2.0]))
    expected = torch.ones(261, dtype=torch.float64)
    expected[3:5] += 1
    assert torch.equal(counts, expected)


def test_annealing_lies_between_the_mean_and_the_likeliest(generator: torch.Generator) -> None:
    """Equation 5: the expectation under `exp(log(z) / T) / sum exp(log(z) / T)`."""
    logits = torch.randn(1, 261, 2, 2, generator=generator, dtype=torch.float64) * 2
    z = logits.softmax(dim=1)
    for temperature in (1.0, 0.38):
        annealed = (z.log() / temperature).exp()
        annealed = annealed / annealed.sum(dim=1, keepdim=True)
        expected = torch.einsum("bqhw,qc->bchw", annealed, gamut_centers(10.0).double())
        torch.testing.assert_close(table().decode(logits, temperature), expected)
    likeliest = gamut_centers(10.0).double()[logits.argmax(dim=1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(table().decode(logits, 1e-4), likeliest)
