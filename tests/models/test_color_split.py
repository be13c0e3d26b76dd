from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import feature_shape, untrained_twin
from super_selfish.models.color_split import (
    ColorToRGB,
    GrayToRGB,
    HalfBackbone,
    LabChannels,
    SplitBackbone,
    SplitHead,
    as_split_predictions,
)

Backbones = Callable[..., nn.Module]


def swap(images: Tensor) -> Tensor:
    """Stands in for a conversion: any function from three channels to three."""
    return images.float().flip(1)


@pytest.fixture
def split(tiny_backbone: Backbones) -> SplitBackbone:
    return SplitBackbone(
        HalfBackbone(LabChannels(swap, "lightness"), tiny_backbone(1)),
        HalfBackbone(LabChannels(swap, "color"), tiny_backbone(2)),
    ).eval()


def test_channels_are_the_first_one_or_the_last_two(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 4, 5, generator=generator)
    assert torch.equal(LabChannels(swap, "lightness")(images), images[:, 2:])
    assert torch.equal(LabChannels(swap, "color")(images), images[:, [1, 0]])


def test_channels_have_the_dtype_of_the_images() -> None:
    assert LabChannels(swap, "color")(torch.zeros(1, 3, 2, 2).half()).dtype == torch.float16


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match='"lightness" or "color", got \'L\''):
        LabChannels(swap, "L")  # type: ignore[arg-type]


def test_gray_is_shown_three_times(generator: torch.Generator) -> None:
    image = torch.rand(2, 1, 4, 5, generator=generator)
    assert torch.equal(GrayToRGB()(image), torch.cat([image] * 3, dim=1))


def test_color_starts_as_both_channels_and_their_mean(generator: torch.Generator) -> None:
    color = torch.rand(2, 2, 4, 5, generator=generator)
    a, b = color.unbind(1)
    shown = ColorToRGB()(color)
    torch.testing.assert_close(shown, torch.stack([a, (a + b) / 2, b], dim=1))
    twin = untrained_twin(ColorToRGB())
    assert torch.equal(twin(color), shown)


def test_features_and_maps_of_the_halves_lie_side_by_side(
    split: SplitBackbone, generator: torch.Generator
) -> None:
    images = torch.rand(2, 3, 32, 48, generator=generator)
    maps, vectors = split.forward_features(images), split(images)
    assert maps.shape == (2, 32, 8, 12)
    assert torch.equal(maps[:, :16], split.lightness.forward_features(images))
    assert torch.equal(vectors[:, 16:], split.color(images))
    torch.testing.assert_close(vectors, maps.mean(dim=(2, 3)))
    assert feature_shape(split, 3, (32, 48), of_map=True) == (32, 8, 12)


@pytest.mark.parametrize(("channel", "moved"), [(2, "lightness"), (1, "color"), (0, "color")])
def test_a_half_sees_its_own_channels_only(
    split: SplitBackbone, generator: torch.Generator, channel: int, moved: str
) -> None:
    images = torch.rand(2, 3, 32, 32, generator=generator)
    other = images.clone()
    other[:, channel] = torch.rand(2, 32, 32, generator=generator)
    for name in ("lightness", "color"):
        half = getattr(split, name)
        assert torch.equal(half(images), half(other)) == (name != moved)


def test_each_head_sees_the_features_of_its_half_only(generator: torch.Generator) -> None:
    head = SplitHead(nn.Linear(3, 4), nn.Linear(5, 2), 3, wants_map=False)
    features = torch.rand(6, 8, generator=generator)
    from_lightness, from_color = head(features)
    assert torch.equal(from_lightness, head.lightness(features[:, :3]))
    assert torch.equal(from_color, head.color(features[:, 3:]))


def test_a_head_on_no_features_is_refused() -> None:
    with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
        SplitHead(nn.Identity(), nn.Identity(), 0, wants_map=True)


def test_a_predictor_that_gives_no_pair_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must return a pair .* got Tensor: build it as"):
        as_split_predictions(torch.zeros(2, 2))
