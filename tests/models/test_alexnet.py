from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from super_selfish.models import AlexNet, build_backbone, feature_map


def test_without_norms_it_is_torchvisions(generator: torch.Generator) -> None:
    published, network = alexnet(weights=None).eval(), AlexNet().eval()
    theirs = [part for part in published.features if isinstance(part, nn.Conv2d)]
    ours = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        for their, our in zip(theirs, ours, strict=True):
            our.weight.copy_(their.weight)
            their.bias.zero_()  # type: ignore[union-attr]
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = 0.0
        images = torch.rand(2, 3, 224, 224, generator=generator)
        maps = published.features(images)
        torch.testing.assert_close(network.forward_features(images), maps)
        torch.testing.assert_close(network(images), published.avgpool(maps).flatten(1))
    assert network.num_features == 9216


@pytest.mark.parametrize(
    ("channels", "size", "map_size", "grid"),
    [
        (1, (32, 32), (4, 4), (4, 4)),
        (3, (48, 80), (6, 10), (6, 6)),
        (5, (33, 100), (5, 13), (5, 6)),
        (3, (224, 128), (6, 3), (6, 3)),
    ],
)
def test_it_takes_images_of_any_size_and_channels(
    channels: int, size: tuple[int, int], map_size: tuple[int, int], grid: tuple[int, int]
) -> None:
    network = build_backbone("alexnet-bn", channels, size).eval()
    assert isinstance(network, AlexNet)
    images = torch.rand(2, channels, *size)
    with torch.no_grad():
        maps, vectors = feature_map(network, images), network(images)
    assert maps.shape == (2, 256, *map_size)
    assert vectors.shape == (2, 256 * grid[0] * grid[1]) == (2, network.num_features)
    if map_size == grid:
        torch.testing.assert_close(vectors, maps.flatten(1))


@pytest.mark.parametrize("stem", ["imagenet", "medium", "small"])
def test_small_patches_pass_too(stem: str) -> None:
    network = AlexNet(stem=stem, grid=(2, 3)).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 8, 11)).shape == (1, 6 * 256)


def test_features_are_dropped_in_training_and_maps_are_not(images: Tensor) -> None:
    torch.manual_seed(0)
    network = AlexNet(stem="medium", grid=(2, 2), dropout=0.75)
    pictures = images.float() / 255
    maps = network.forward_features(pictures)
    vectors = network(pictures)
    kept = vectors != 0
    assert 0.2 < kept.sum() / (maps != 0).sum() < 0.3
    torch.testing.assert_close(vectors[kept], 4 * maps.flatten(1)[kept])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, r"in_channels and the sides of grid must be >= 1, got 0, \(6, 6\)"),
        ({"grid": (0, 2)}, r"must be >= 1, got 3, \(0, 2\)"),
        ({"stem": "auto"}, "stem is one of 'imagenet', 'medium', 'small', got 'auto'"),
        ({"dropout": 1.0}, r"dropout is a probability in \[0, 1\), got 1.0"),
    ],
)
def test_what_makes_no_network_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlexNet(**arguments)  # type: ignore[arg-type]


def test_the_name_says_what_it_stands_for() -> None:
    assert build_backbone("alexnet-bn", 3, (32, 32)).name == "alexnet-bn"
    with pytest.raises(ValueError, match="did you mean alexnet"):
        build_backbone("alexnet_bn", 3, (32, 32))
