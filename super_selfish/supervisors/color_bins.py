"""Colours as a table of bins: what belongs to which, which are rare, and back to one colour.

Zhang, Isola, Efros, 2016, "Colorful Image Colorization", arXiv 1603.08511, sections 2.1 to 2.3.

Shapes: `Q` bins, `B` images, `h, w` grid of places, `n` bins near a colour, `P` places.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.lab import rgb_to_lab

LATTICE = 4  # levels of 255 between colours of sRGB that are looked at for the table
_AT_ONCE = 2**16  # places whose distances to all bins are held at a time


class SoftColors(NamedTuple):
    """The bins nearest to each colour, and how much of it belongs to each."""

    bins: Tensor  # (B, n, h, w) int64, the nearest first
    shares: Tensor  # (B, n, h, w), sum over n is 1


@lru_cache(maxsize=8)
def gamut_centers(step: float) -> Tensor:
    """The bins that sRGB has colours in: multiples of a step in a* and b*.

    Args:
        step: Side of a bin, in units of a* and b*.

    Returns:
        `[Q, 2]`, a* and b*, in ascending order; 261 for a step of 10. Shared: never write into it.
    """
    levels = torch.tensor([*range(0, 255, LATTICE), 255], dtype=torch.float64) / 255
    colors = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, -1, 1)
    ab = rgb_to_lab(colors)[0, 1:, :, 0].T
    return ((ab / step).round().unique(dim=0) * step + 0.0).float()  # no zero is -0


class ColorBins(nn.Module):
    """A table of bins of colour, and how often images have each; part of the checkpoint.

    Attributes:
        centers: `[Q, 2]`, a* and b*.
        prior: `[Q]`, share of the places of all images whose colour is nearest to a bin; uniform
            until `learn` is called.
        weights: `[Q]`, what a place counts whose colour is nearest to a bin; 1 on average.
        mixture: `[Q]`, the answer for all places that costs least, as far as the prior knows.
    """

    centers: Tensor
    prior: Tensor
    weights: Tensor
    mixture: Tensor

    def __init__(
        self,
        centers: Tensor,
        neighbors: int,
        sigma: float,
        prior_sigma: float,
        uniform_share: float,
    ) -> None:
        """Takes the table.

        Args:
            centers: `[Q, 2]`, a* and b*.
            neighbors: `n`, bins that a colour belongs to.
            sigma: Of the Gaussian by which it belongs to them, in units of a* and b*.
            prior_sigma: Of the Gaussian that smooths the prior, in the same units.
            uniform_share: Of a uniform distribution, mixed into the prior.
        """
        super().__init__()
        self.neighbors = neighbors
        self.sigma = sigma
        self.prior_sigma = prior_sigma
        self.uniform_share = uniform_share
        number = len(centers)
        self.register_buffer("centers", centers.clone())
        self.register_buffer("prior", torch.full((number,), 1 / number))
        self.register_buffer("weights", torch.ones(number))
        self.register_buffer("mixture", torch.full((number,), 1 / number))

    def encode(self, ab: Tensor) -> SoftColors:
        """The bins that colours belong to.

        Args:
            ab: `[B, 2, h, w]`, a* and b*.
        """
        places = ab.permute(0, 2, 3, 1)  # (B, h, w, 2)
        found = [
            _distances(part, self.centers).topk(self.neighbors, dim=1, largest=False)
            for part in places.reshape(-1, 2).split(_AT_ONCE)
        ]
        distances, bins = (torch.cat(parts) for parts in zip(*found, strict=True))  # (P, n) each
        # Relative to the nearest: far from all bins every exponential would be zero.
        nearer = distances[:, :1].square() - distances.square()
        shares = torch.softmax(nearer / (2 * self.sigma**2), dim=1)
        shape = (*places.shape[:3], self.neighbors)
        return SoftColors(*(values.view(shape).permute(0, 3, 1, 2) for values in (bins, shares)))

    def decode(self, logits: Tensor, temperature: float) -> Tensor:
        """The annealed mean: between the mean of all bins and the likeliest one.

        Args:
            logits: `[B, Q, h, w]`.
            temperature: In (0, 1]: 1 is the mean, towards 0 the likeliest.

        Returns:
            a* and b*, `[B, 2, h, w]`.
        """
        chances = (logits / temperature).softmax(dim=1)
        return torch.einsum("bqhw,qc->bchw", chances, self.centers.to(chances.dtype))

    def count(self, ab: Tensor) -> Tensor:
        """How many colours `[P, 2]` are nearest to each bin, `[Q]`, float64 on the CPU."""
        counts = torch.zeros(len(self.centers), dtype=torch.float64)
        for part in ab.split(_AT_ONCE):
            nearest = _distances(part, self.centers).argmin(dim=1)
            counts += nearest.bincount(minlength=len(counts)).cpu()
        return counts

    @torch.no_grad()
    def learn(self, counts: Tensor) -> None:
        """Takes prior and weights from how often each bin was nearest.

        The weights are one over the smoothed prior, mixed with a uniform distribution, scaled so
        that their mean under the smoothed prior is 1 (equation 4). A prior that is there already,
        but for rounding, stays.

        Args:
            counts: `[Q]`, float64.
        """
        prior = counts / counts.sum()
        if torch.allclose(prior, self.prior.double().cpu(), rtol=1e-5, atol=1e-9):
            return
        centers = self.centers.double().cpu()
        kernel = (-_distances(centers, centers).square() / (2 * self.prior_sigma**2)).exp()
        smooth = (kernel / kernel.sum(dim=0)) @ prior  # each bin gives away what it has
        mixed = (1 - self.uniform_share) * smooth + self.uniform_share / len(prior)
        weights = 1 / mixed
        self.prior.copy_(prior)
        self.weights.copy_(weights / (smooth * weights).sum())
        # Equal answers cost least where they are what the places hold, by what these count.
        bins, shares = self.encode(self.centers.T[None, :, :, None])  # (1, n, Q, 1) each
        counted = shares.double().cpu() * (prior * weights)[:, None]
        held = torch.zeros_like(prior)
        held.index_add_(0, bins.flatten().cpu(), counted.flatten())
        held += 1e-3 * held.mean()  # no colour is impossible
        self.mixture.copy_(held / held.sum())


def _distances(colors: Tensor, centers: Tensor) -> Tensor:
    """`[P, Q]`, each computed by itself: a product of matrices would cancel digits."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(colors, centers.to(colors.dtype), compute_mode=exact)
