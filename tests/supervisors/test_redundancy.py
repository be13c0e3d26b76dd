"""What algorithms share that compare the numbers of embeddings with one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.losses.redundancy import EPSILON
from super_selfish.supervisors import BarlowTwinsSupervisor, VICRegSupervisor, redundancy
from super_selfish.supervisors.exhibits import seen_batch


@pytest.mark.parametrize("kind", [BarlowTwinsSupervisor, VICRegSupervisor])
def test_views_are_compared_by_numbers_less_their_mean_and_by_their_deviation(
    kind: Any, images: Tensor, tiny_backbone: Callable[..., nn.Module], monkeypatch: Any
) -> None:
    asked: list[Any] = []

    def among(*given: Any) -> list[Any]:
        asked.append(given)
        return []

    monkeypatch.setattr(redundancy, "among_views", among)
    supervisor = kind(images, tiny_backbone(), embedding_size=8).eval()
    with torch.no_grad():
        assert supervisor.exhibit([3, 4], seed=1) == []
        (_, first, second, index, seed) = asked[0]
        views = seen_batch(supervisor, range(len(images)), 1).second
        found, embeddings = first(views), supervisor.model(views)
    assert first is second and list(index) == [3, 4] and seed == 1
    variance, mean = torch.var_mean(embeddings, dim=0, correction=0)
    torch.testing.assert_close(found, (embeddings - mean) / (variance.sqrt() + EPSILON))
