from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import CombinedNet, Normalize, feature_map, pooled_features
from tests.conftest import TinyBackbone


class Tokens(nn.Module):
    """Like a ViT of timm: tokens from forward_features, one vector from forward."""

    def __init__(self, patch: int, prefix: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, patch, stride=patch)
        self.num_prefix_tokens = prefix

    def forward_features(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = tokens.new_full((len(images), self.num_prefix_tokens, 5), 100.0)
        return torch.cat([first, tokens], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images)[:, 0]


class Returns(nn.Module):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Any:
        return self.output


class MapHead(nn.Conv2d):
    wants_map = True


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(2, 3, 8, 12, generator=generator)


def test_a_map_is_averaged_for_a_head_on_vectors(images: Tensor) -> None:
    backbone, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    network = CombinedNet(backbone, head)
    torch.testing.assert_close(network(images), head(backbone(images).mean(dim=(2, 3))))
    assert network.features(images).shape == (2, 4)


def test_vectors_go_to_the_head_as_they_are(images: Tensor) -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12, 4))
    assert torch.equal(pooled_features(backbone, images), backbone(images))


def test_a_head_that_wants_a_map_gets_it(images: Tensor) -> None:
    backbone, head = nn.Conv2d(3, 4, 3), MapHead(4, 2, 1)
    expected = head(backbone(images))
    assert torch.equal(CombinedNet(backbone, head)(images), expected)
    assert torch.equal(CombinedNet(backbone, nn.Sequential(head))(images), expected)


def test_maps_come_from_forward_features_and_vectors_from_forward(images: Tensor) -> None:
    backbone = Tokens(patch=4, prefix=1)
    assert feature_map(backbone, images).shape == (2, 5, 2, 3)
    assert torch.equal(feature_map(backbone, images), backbone.patches(images))
    assert torch.equal(pooled_features(backbone, images), torch.full((2, 5), 100.0))


def test_tokens_of_an_image_that_patches_do_not_divide_make_a_map(
    generator: torch.Generator,
) -> None:
    images = torch.rand(1, 3, 23, 17, generator=generator)
    backbone = Tokens(patch=4, prefix=2)
    assert torch.equal(feature_map(backbone, images), backbone.patches(images))


def test_a_single_token_is_a_map_of_one_cell() -> None:
    images, backbone = torch.rand(2, 3, 8, 8), Tokens(patch=8, prefix=1)
    assert torch.equal(feature_map(backbone, images), backbone.patches(images))


def test_tokens_that_are_no_grid_are_refused(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Tokens(patch=4, prefix=1)
    monkeypatch.setattr(backbone, "forward_features", lambda _: torch.zeros(2, 8, 5))
    with pytest.raises(ValueError, match=r"gives 8 tokens for an image of 8x12, .*num_prefix_toke"):
        feature_map(backbone, images)


def test_channels_last_maps_of_timm_are_turned_round(images: Tensor) -> None:
    backbone = Returns(torch.arange(2 * 4 * 6 * 5.0).view(2, 4, 6, 5))
    backbone.output_fmt = "NHWC"  # type: ignore[assignment]
    assert feature_map(backbone, images).shape == (2, 5, 4, 6)
    torch.testing.assert_close(pooled_features(backbone, images), backbone.output.mean(dim=(1, 2)))


def test_a_map_of_a_backbone_without_one_is_refused(images: Tensor) -> None:
    network = CombinedNet(Returns(torch.ones(2, 4)), MapHead(4, 2, 1))
    with pytest.raises(
        TypeError, match=r"wants a map .* but Returns gives \[2, 4\]: give the back"
    ):
        network(images)


@pytest.mark.parametrize("output", [(torch.ones(2, 4),), {"x": torch.ones(2, 4)}, None])
def test_outputs_that_are_no_tensor_are_refused(output: Any, images: Tensor) -> None:
    for ask in (pooled_features, feature_map):
        with pytest.raises(TypeError, match=r"^Returns must return one tensor, got .*: wrap it in"):
            ask(Returns(output), images)


def test_unpooled_tokens_are_refused_as_vectors(images: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"must return \[B, D\] or \[B, D, h, w\], got \[2, 7, 4\]"
    ):
        pooled_features(Returns(torch.ones(2, 7, 4)), images)


def test_preprocess_comes_before_the_backbone(images: Tensor) -> None:
    normalise = Normalize.imagenet()
    network = CombinedNet(nn.Identity(), nn.Linear(3, 2), normalise)
    assert torch.equal(network.feature_map(images), normalise(images))
    assert torch.equal(network.features(images), normalise(images).mean(dim=(2, 3)))


def test_parts_are_registered_once_and_kept() -> None:
    backbone, predictor = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    network = CombinedNet(backbone, predictor)
    assert network.backbone is backbone
    assert network.predictor is predictor
    assert network.preprocess is None
    names = {"backbone.weight", "backbone.bias", "predictor.weight", "predictor.bias"}
    assert set(network.state_dict()) == names


def test_a_part_that_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^predictor must be an nn.Module, got int$"):
        CombinedNet(nn.Identity(), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [lambda head: head, nn.Sequential, nn.DataParallel])
def test_a_predictor_of_another_width_is_told_both_numbers(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    network = CombinedNet(TinyBackbone(), wrap(nn.Linear(1280, 10)))
    with pytest.raises(ValueError, match=r"TinyBackbone, gives 16 numbers .* predictor takes 1280"):
        network(torch.rand(2, 3, 32, 32))
    fitting = CombinedNet(TinyBackbone(), wrap(nn.LazyLinear(10)))
    assert fitting(torch.rand(2, 3, 32, 32)).shape == (2, 10)
