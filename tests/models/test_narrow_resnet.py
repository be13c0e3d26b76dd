from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models import NarrowResNet, build_backbone
from super_selfish.training.acceleration import lay_out


@pytest.mark.parametrize(("channels", "size"), [(1, (32, 32)), (3, (48, 64)), (5, (33, 35))])
def test_maps_and_vectors_have_the_width_that_it_tells(
    channels: int, size: tuple[int, int]
) -> None:
    network = NarrowResNet(channels, width=4).eval()
    images = torch.rand(2, channels, *size)
    maps = network.forward_features(images)
    assert maps.shape[:2] == (2, network.num_features)
    torch.testing.assert_close(network(images), maps.mean(dim=(2, 3)))


def test_it_has_a_name() -> None:
    assert isinstance(build_backbone("narrow-resnet", 3, (32, 32)), NarrowResNet)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 1, got 3, 0"):
        NarrowResNet(width=0)
    with pytest.raises(ValueError, match="must be >= 1, got 0, 8"):
        NarrowResNet(0, 8)


@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_narrow_ones_train_on_large_images(width: int) -> None:
    network = NarrowResNet(3, width)
    lay_out(nn.ModuleList([network]), None)
    network(torch.rand(2, 3, 256, 256)).sum().backward()  # torch may end the process here
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_only_the_width_that_the_name_stands_for_has_it() -> None:
    assert NarrowResNet(width=32).name == "narrow-resnet"
    assert NarrowResNet(width=8).name is None
