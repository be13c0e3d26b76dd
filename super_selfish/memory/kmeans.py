"""Spherical k-means: groups of unit vectors that point the same way.

Shapes: `N` vectors, `D` numbers of each, `K` clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_DIRECTION = 1e-6  # length of a mean that points nowhere
_AT_ONCE = 8192  # vectors whose distances are held at a time


class Clusters(NamedTuple):
    """Where clusters are, and which vectors they have."""

    centroids: Tensor  # (K, D), unit vectors
    assigned: Tensor  # (N,), int64


@torch.no_grad()
def spherical_kmeans(
    vectors: Tensor, num_clusters: int, iterations: int, generator: torch.Generator
) -> Clusters:
    """Groups unit vectors by cosine (Lloyd's algorithm on the sphere).

    Begins at some of the vectors. An iteration gives each vector to the nearest centroid, and moves
    each centroid to the direction of the mean of its vectors; one without any, or whose vectors
    cancel out, stays. In the end each vector is given to the nearest once more. Caron et al., 2020,
    arXiv 2006.09882, appendix (DeepCluster v2), and the authors' code.

    Sums are products with matrices, so that the same vectors make the same clusters every time.

    Args:
        vectors: `[N, D]`, unit vectors.
        num_clusters: `K`, at least 1 and at most `N`.
        iterations: At least 1.
        generator: CPU generator, for the vectors to begin at.

    Returns:
        Centroids and assignments, on the device of the vectors.

    Raises:
        ValueError: If there are fewer vectors than clusters, or a number is below 1.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be [N, D], got {list(vectors.shape)}")
    if not 1 <= num_clusters <= len(vectors):
        raise ValueError(
            f"num_clusters must be at least 1 and at most the {len(vectors)} vectors, got "
            f"{num_clusters}"
        )
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}")
    chosen = torch.randperm(len(vectors), generator=generator)[:num_clusters]
    centroids = vectors[chosen.to(vectors.device)]  # a copy
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for part in vectors.split(_AT_ONCE):
            members = F.one_hot(_nearest(part, centroids), num_clusters).to(part)  # (n, K)
            sums += members.T @ part
        has_direction = sums.norm(dim=1, keepdim=True) > _NO_DIRECTION
        centroids = torch.where(has_direction, F.normalize(sums, dim=1), centroids)
    assigned = torch.cat([_nearest(part, centroids) for part in vectors.split(_AT_ONCE)])
    return Clusters(centroids, assigned)


def _nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    return (vectors @ centroids.T).argmax(dim=1)
