from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import AlexNet, NarrowResNet, build_backbone, feature_map, pooled_features
from super_selfish.models.one_pass import vectors_and_map, way_to_both
from tests.conftest import TinyBackbone


class Vectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.mean(dim=(2, 3)))


class Maps(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 5, 4, stride=4)


class Counted(TinyBackbone):
    """Whose vectors are the mean of its map; counts its passes."""

    passes = 0

    def forward_features(self, images: Tensor) -> Tensor:
        self.passes += 1
        return super().forward_features(images)


class Otherwise(Counted):
    """Whose vectors are no mean."""

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).amax(dim=(2, 3))


def vit() -> nn.Module:
    pytest.importorskip("timm")
    return build_backbone("timm/test_vit", 3, (32, 32))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "vectors": (Vectors, "vectors"),
    "maps": (Maps, "mean"),
    "ours": (lambda: NarrowResNet(3, 4), "mean"),
    "cells": (lambda: AlexNet(3, stem="small", grid=(2, 2)), "twice"),
    "transformer": (vit, "head"),
    "of one's own": (Counted, "mean"),
    "of two passes": (Otherwise, "twice"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_vectors_and_map_are_those_of_two_passes(name: str, generator: torch.Generator) -> None:
    build, expected = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    way = way_to_both(network, 3, (32, 32))
    assert way == expected
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    network.eval()
    images = torch.rand(3, 3, 32, 32, generator=generator)
    with torch.no_grad():
        vectors, maps = vectors_and_map(network, images, way)
        torch.testing.assert_close(vectors, pooled_features(network, images))
        if way == "vectors":
            assert maps is None
        else:
            assert maps is not None
            torch.testing.assert_close(maps, feature_map(network, images))


@pytest.mark.parametrize(("kind", "passes"), [(Counted, 1), (Otherwise, 2)])
def test_one_pass_does_where_it_can(kind: type[Counted], passes: int) -> None:
    network = kind()
    way = way_to_both(network, 3, (32, 32))
    network.passes = 0
    vectors_and_map(network, torch.rand(2, 3, 32, 32), way)
    assert network.passes == passes
