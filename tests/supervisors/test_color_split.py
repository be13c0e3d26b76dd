from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.lab import normalize_lab, rgb_to_lab
from super_selfish.models import Normalize
from super_selfish.supervisors.color_split import (
    color_spread,
    gray_verdict,
    require_color,
    split_backbone,
    unit_lab,
)

Backbones = Callable[..., nn.Module]


def first_weights(network: nn.Module) -> Tensor:
    return next(network.parameters())


@pytest.fixture
def colors(generator: torch.Generator) -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=generator)


def test_lab_is_that_of_the_papers_moved_to_zero_to_one(colors: Tensor) -> None:
    expected = (normalize_lab(rgb_to_lab(colors)) + 1) / 2
    torch.testing.assert_close(unit_lab(colors), expected)
    assert unit_lab(colors).aminmax().min >= 0
    assert unit_lab(colors).aminmax().max <= 1


def test_lab_is_float32_under_autocast(colors: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(unit_lab(colors), unit_lab(colors.clone()))
        inside = unit_lab(colors)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, unit_lab(colors))


def test_a_name_means_networks_of_one_and_of_two_channels() -> None:
    halves = split_backbone("shufflenet_v2_x0_5", (32, 32), None)
    for half, channels in ((halves.lightness, 1), (halves.color, 2)):
        assert first_weights(half.network).shape[1] == channels


def test_a_network_of_ones_own_sees_lightness_as_gray(
    colors: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    halves = split_backbone(backbone, (32, 32), None)
    assert halves.lightness.network is backbone
    gray = unit_lab(colors)[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(halves.lightness.preprocess(colors), gray)
    assert torch.equal(halves.eval().lightness(colors), backbone(gray))


def test_an_untrained_twin_sees_color(colors: Tensor, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone()
    backbone.requires_grad_(False)
    halves = split_backbone(backbone, (32, 32), None)
    assert all(p.requires_grad for p in halves.color.parameters())
    first, twin = first_weights(backbone), first_weights(halves.color.network)
    assert first.shape == twin.shape
    assert not torch.equal(first, twin)
    assert halves.color.preprocess(colors).shape == colors.shape


def test_the_network_that_sees_color_begins_as_its_class_does() -> None:
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone, fresh = resnet18(weights=None), resnet18(weights=None)
        backbone.fc, fresh.fc = nn.Identity(), nn.Identity()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.mul_(3).add_(0.1)
            for part in backbone.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.running_mean = torch.full_like(part.weight, 0.1)  # it has seen batches
        color = split_backbone(backbone, (32, 32), None).color.network
    for name, expected in fresh.state_dict().items():
        drawn = color.state_dict()[name]
        if expected.ndim < 2:
            assert torch.equal(drawn, expected), name  # norms: scale 1, shift 0, new statistics
        else:
            assert float(drawn.std() / expected.std()) == pytest.approx(1, abs=0.05), name


def test_weights_of_the_twin_follow_torchs_seed(tiny_backbone: Backbones) -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        halves = split_backbone(tiny_backbone(), (32, 32), None)
        weights.append(first_weights(halves.color.network))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_input_is_normalised_for_a_network_of_ones_own(
    colors: Tensor, tiny_backbone: Backbones
) -> None:
    plain = split_backbone(tiny_backbone(), (32, 32), None).lightness.preprocess(colors)
    normalised = split_backbone(tiny_backbone(), (32, 32), "imagenet").lightness.preprocess(colors)
    assert torch.equal(normalised, Normalize.imagenet()(plain))


def test_normalisation_is_refused_for_networks_by_name() -> None:
    with pytest.raises(ValueError, match="normalize= is for a network of your own"):
        split_backbone(None, (32, 32), "imagenet")


@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_color_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"X needs colour: .* got {channels}"):
        require_color("X", channels)


def test_gray_has_no_color_spread(colors: Tensor) -> None:
    assert color_spread(colors[:, :1].expand(-1, 3, -1, -1)) == 0
    assert color_spread(colors) > 0.1


def test_gray_pictures_are_told_and_colorful_ones_are_not(colors: Tensor) -> None:
    jpeg_noise = (colors[:, :1] + 0.002 * (colors - 0.5)).clamp(0, 1)
    verdict = gray_verdict({"epoch": 1, "color_spread": float(color_spread(jpeg_noise))})
    assert verdict is not None
    assert verdict.startswith("the images hold hardly any colour")
    assert gray_verdict({"epoch": 1, "color_spread": float(color_spread(colors))}) is None
