from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures


def _settle(network: nn.Module, in_channels: int = 3, side: int = 32) -> nn.Module:
    """Gives batch norms the statistics of images: without, features of a new network are near 0."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain mean over the passes
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.train()(torch.rand(8, in_channels, side, side, generator=generator))
    return network.eval()


@pytest.fixture(scope="session")
def settle() -> Callable[..., nn.Module]:
    return _settle


@pytest.fixture(scope="session")
def efficientnet() -> EfficientFeatures:
    """The default backbone of 32x32 images: its stem has stride 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EfficientFeatures(stem_stride=1)
        _settle(network)
    return network


@pytest.fixture(scope="session")
def short_efficientnet() -> EfficientFeatures:
    """The first two blocks, in which every kind of layer occurs, and a narrow head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EfficientFeatures()
        network._blocks = network._blocks[:2]
        network.drop_connect_rates = network.drop_connect_rates[:2]
        network._conv_head = nn.Conv2d(24, 24, 1, bias=False)
        network._bn1 = nn.BatchNorm2d(24)
        network.num_features = 24
        _settle(network)
    return network


@pytest.fixture
def pictures(generator: torch.Generator) -> Tensor:
    """Three random images, one more than exports are made with."""
    return torch.rand(3, 3, 32, 32, generator=generator)
