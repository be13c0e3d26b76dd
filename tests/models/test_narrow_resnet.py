from __future__ import annotations

import pytest
import torch

from super_selfish.models import NarrowResNet, build_backbone


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
