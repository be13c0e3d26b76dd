from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, FeatureShape, feature_shape


class Restless(nn.Module):
    """Changes a buffer, replaces another and draws at random, in eval mode too."""

    calls: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.norm.eval()  # frozen, while the rest trains
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.calls.add_(1)
        self.last = torch.rand(4)
        return self.norm(images)


class TwoWidths(nn.Conv2d):
    def forward_features(self, images: Tensor) -> Tensor:
        return super().forward(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).mean(dim=(2, 3)).repeat(1, 2)


@pytest.mark.parametrize("size", [(32, 32), (40, 64)])
def test_shape_is_that_of_the_features(size: tuple[int, int]) -> None:
    backbone = EfficientFeatures(stem_stride=1)
    expected = FeatureShape(1280, -(-size[0] // 16), -(-size[1] // 16))
    assert expected.map_size == expected[1:] and FeatureShape(1280, None, None).map_size == (1, 1)
    assert feature_shape(backbone, 3, size) == expected


def test_vectors_have_no_height() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 7))
    assert feature_shape(backbone, 3, (4, 4)) == (7, None, None)


def test_a_map_may_have_another_width_than_the_vectors() -> None:
    backbone = TwoWidths(3, 5, 2, stride=2)
    assert feature_shape(backbone, 3, (8, 6)) == (10, 4, 3)
    assert feature_shape(backbone, 3, (8, 6), of_map=True) == (5, 4, 3)


def test_dtype_of_the_backbone_is_used() -> None:
    assert feature_shape(nn.Conv2d(1, 2, 3).double(), 1, (8, 8)) == (2, 6, 6)


def test_the_dry_run_leaves_no_trace() -> None:
    backbone = Restless()
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    last, random_state = backbone.last, torch.get_rng_state()
    assert feature_shape(backbone, 3, (8, 8)) == (3, 8, 8)
    assert backbone.training
    assert not backbone.norm.training
    assert backbone.last is last
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_dry_run_leaves_no_trace_when_it_fails() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 5))
    with pytest.raises(ValueError, match=r"could not take images"):
        feature_shape(backbone, 3, (8, 8))
    assert all(module.training for module in backbone.modules())


def test_images_that_the_backbone_cannot_take_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"^the backbone Conv2d could not take images of shape \(1, 1, 8, 9\): "
    ) as caught:
        feature_shape(nn.Conv2d(3, 4, 3), 1, (8, 9))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_outputs_that_are_no_tensor_keep_their_error() -> None:
    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(TypeError, match=r"Pair must return one tensor, got tuple"):
        feature_shape(Pair(), 3, (8, 8))


def test_a_map_of_a_backbone_without_one_is_refused() -> None:
    with pytest.raises(TypeError, match=r"wants a map"):
        feature_shape(nn.Flatten(), 3, (8, 8), of_map=True)


def test_tokens_that_are_no_grid_are_vectors_of_their_width() -> None:
    class Tokens(nn.Module):
        """Six of width five, of which no square can be made, and their mean."""

        def forward_features(self, images: Tensor) -> Tensor:
            return images.new_zeros(len(images), 6, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.forward_features(images).mean(dim=1)

    assert feature_shape(Tokens(), 3, (32, 32)) == (5, None, None)
