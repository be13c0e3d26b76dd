from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.memory import kmeans, spherical_kmeans


def unit(rows: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, size, generator=generator, dtype=torch.float64), dim=1)


def in_loops(
    vectors: Tensor, start: list[int], iterations: int
) -> tuple[list[list[float]], list[int]]:
    """Lloyd's algorithm on the sphere, one vector at a time."""
    rows = vectors.tolist()
    centroids = [list(rows[position]) for position in start]

    def nearest(row: list[float]) -> int:
        products = [sum(a * b for a, b in zip(row, c, strict=True)) for c in centroids]
        return products.index(max(products))

    for _ in range(iterations):
        assigned = [nearest(row) for row in rows]
        for cluster in range(len(centroids)):
            members = [row for row, own in zip(rows, assigned, strict=True) if own == cluster]
            total = [sum(column) for column in zip(*members, strict=True)]
            length = math.sqrt(sum(x * x for x in total))
            if members and length > 1e-6:
                centroids[cluster] = [x / length for x in total]
    return centroids, [nearest(row) for row in rows]


@pytest.mark.parametrize(("rows", "clusters", "iterations"), [(30, 4, 5), (7, 7, 2), (20, 1, 1)])
@pytest.mark.parametrize("at_once", [8192, 6])
def test_it_equals_the_loops(
    rows: int, clusters: int, iterations: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kmeans, "_AT_ONCE", at_once)
    vectors = unit(rows, 3)
    start = torch.randperm(rows, generator=torch.Generator().manual_seed(5))[:clusters].tolist()
    centroids, assigned = in_loops(vectors, start, iterations)
    found = spherical_kmeans(vectors, clusters, iterations, torch.Generator().manual_seed(5))
    torch.testing.assert_close(found.centroids, torch.tensor(centroids, dtype=torch.float64))
    assert found.assigned.tolist() == assigned


def test_clusters_that_lie_apart_are_found() -> None:
    directions = torch.eye(4, dtype=torch.float64)
    vectors = F.normalize(directions.repeat(25, 1) + 0.1 * unit(100, 4), dim=1)
    best = min(  # of some beginnings, as the one that is right is tightest
        (spherical_kmeans(vectors, 4, 10, torch.Generator().manual_seed(s)) for s in range(10)),
        key=lambda found: -float((vectors * found.centroids[found.assigned]).sum()),
    )
    of_direction = best.assigned.view(25, 4)
    assert bool((of_direction == of_direction[0]).all())
    assert sorted(of_direction[0].tolist()) == [0, 1, 2, 3]


def test_clusters_without_vectors_stay_where_they_were() -> None:
    copies = F.normalize(torch.ones(6, 4), dim=1)
    found = spherical_kmeans(copies, 3, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.centroids, copies[:3])
    assert len(set(found.assigned.tolist())) == 1  # the other two are empty


def test_vectors_that_cancel_out_leave_their_centroid() -> None:
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = spherical_kmeans(vectors, 1, 3, torch.Generator().manual_seed(0))
    assert bool((found.centroids == vectors).all(dim=1).any())


def test_equal_beginnings_make_equal_clusters() -> None:
    vectors = unit(50, 5)
    first, again, other = (
        spherical_kmeans(vectors, 6, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.centroids, again.centroids)
    assert torch.equal(first.assigned, again.assigned)
    assert not torch.equal(first.centroids, other.centroids)


def test_what_makes_no_clusters_is_refused() -> None:
    generator = torch.Generator()
    for number in (0, 5):
        with pytest.raises(ValueError, match="at least 1 and at most the 4 vectors, got"):
            spherical_kmeans(unit(4, 2), number, 1, generator)
    with pytest.raises(ValueError, match="iterations must be >= 1, got 0"):
        spherical_kmeans(unit(4, 2), 2, 0, generator)
    with pytest.raises(ValueError, match=r"vectors must be \[N, D\], got \[2\]"):
        spherical_kmeans(torch.ones(2), 1, 1, generator)
