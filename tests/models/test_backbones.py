from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, TorchvisionFeatures, build_backbone, feature_map
from super_selfish.models.stems import say_difference


def test_a_module_passes_through_untouched() -> None:
    module = nn.Conv2d(3, 4, 3)
    assert build_backbone(module, 3, (32, 32)) is module


@pytest.mark.parametrize(("size", "stride"), [((64, 200), 1), ((200, 32), 1), ((65, 65), 2)])
def test_the_default_is_efficientnet_b0_with_a_stem_for_the_size(
    size: tuple[int, int], stride: int
) -> None:
    for name in (None, "efficientnet-b0"):
        backbone = build_backbone(name, 4, size)
        assert isinstance(backbone, EfficientFeatures)
        assert backbone._conv_stem.stride == (stride, stride)
        assert backbone.in_channels == 4


@pytest.mark.parametrize(
    ("size", "kernel", "map_size"),
    [((32, 32), 3, (4, 4)), ((64, 96), 3, (8, 12)), ((96, 96), 3, (6, 6)), ((128, 160), 7, (4, 5))],
)
def test_resnets_have_a_stem_for_the_size(
    size: tuple[int, int], kernel: int, map_size: tuple[int, int]
) -> None:
    backbone = build_backbone("resnet18", 3, size).eval()
    assert isinstance(backbone, TorchvisionFeatures)
    assert backbone.network.conv1.kernel_size == (kernel, kernel)
    with torch.no_grad():
        images = torch.rand(1, 3, *size)
        assert feature_map(backbone, images).shape == (1, 512, *map_size)
        assert backbone(images).shape == (1, 512)
    assert backbone.num_features == 512


def test_features_of_a_large_resnet_are_torchvisions(generator: torch.Generator) -> None:
    from torchvision.models import resnet18

    original = resnet18(weights=None).eval()
    backbone = TorchvisionFeatures("resnet18").eval()
    missing, unexpected = backbone.network.load_state_dict(original.state_dict(), strict=False)
    assert not missing
    assert unexpected == ["fc.weight", "fc.bias"]
    original.fc = nn.Identity()
    images = torch.rand(1, 3, 128, 128, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), original(images))
        torch.testing.assert_close(backbone.network(images), original(images))


@pytest.mark.parametrize(
    ("name", "dim"),
    [("squeezenet1_1", 512), ("mobilenet_v3_small", 576), ("shufflenet_v2_x0_5", 1024)],
)
@pytest.mark.parametrize("channels", [1, 4])
def test_other_networks_of_torchvision_give_maps(name: str, dim: int, channels: int) -> None:
    backbone = build_backbone(name, channels, (48, 64)).eval()
    images = torch.rand(1, channels, 48, 64)
    with torch.no_grad():
        maps = feature_map(backbone, images)
        torch.testing.assert_close(backbone(images), maps.mean(dim=(2, 3)))
    assert maps.shape[1] == dim == backbone.num_features


def test_densenet_keeps_its_last_relu(generator: torch.Generator) -> None:
    from torchvision.models import DenseNet

    backbone = TorchvisionFeatures("densenet121", image_size=(32, 32)).eval()
    assert isinstance(backbone.network, DenseNet)
    images = torch.rand(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), backbone.network(images))


def test_a_network_of_timm_by_name() -> None:
    pytest.importorskip("timm")
    backbone = build_backbone("timm/convnext_atto", 1, (64, 96)).eval()
    with torch.no_grad():
        assert feature_map(backbone, torch.rand(1, 1, 64, 96)).shape == (1, 320, 2, 3)


def test_a_vit_of_timm_is_built_for_the_image_size() -> None:
    pytest.importorskip("timm")
    backbone = build_backbone("timm/vit_tiny_patch16_224", 3, (64, 48)).eval()
    with torch.no_grad():
        assert feature_map(backbone, torch.rand(1, 3, 64, 48)).shape == (1, 192, 16, 12)
    backbone = build_backbone("timm/vit_tiny_patch16_224", 3, (64, 48), "imagenet").eval()
    with torch.no_grad():
        assert feature_map(backbone, torch.rand(1, 3, 64, 48)).shape == (1, 192, 4, 3)


def test_missing_timm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"'timm/resnet18' needs timm: pip install timm$"):
        build_backbone("timm/resnet18", 3, (32, 32))


def test_weights_that_timm_has_not_are_refused_with_those_that_it_has() -> None:
    pytest.importorskip("timm")
    said = r"unknown backbone 'timm/test_vit\.r160_in1': did you mean timm/test_vit\.r160_in1k\?"
    with pytest.raises(ValueError, match=said):
        build_backbone("timm/test_vit.r160_in1", 3, (32, 32))


def test_unknown_names_are_refused_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet19': did you mean .*resnet18"):
        build_backbone("resnet19", 3, (32, 32))
    with pytest.raises(ValueError, match=r"'efficientnet-b9': did you mean efficientnet-b"):
        build_backbone("efficientnet-b9", 3, (32, 32))
    with pytest.raises(ValueError, match=r"unknown backbone 'vit_b_16': .*timm has others"):
        build_backbone("vit_b_16", 3, (32, 32))
    with pytest.raises(TypeError, match=r"^backbone is an nn.Module, a name or None, got int$"):
        build_backbone(18, 3, (32, 32))  # type: ignore[arg-type]


def test_unknown_names_of_timm_are_refused_with_near_ones() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"'timm/resnet19': did you mean timm/resnet18"):
        build_backbone("timm/resnet19", 3, (32, 32))


def test_images_too_small_for_a_network_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match=r"could not take images of shape \(1, 3, 16, 16\)"):
        build_backbone("squeezenet1_1", 3, (16, 16))


def test_images_of_another_kind_of_tensor_keep_their_dtype(generator: torch.Generator) -> None:
    backbone = build_backbone("resnet18", 3, (32, 32)).double().eval()
    images: Tensor = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        assert backbone(images).dtype == torch.float64


@pytest.mark.parametrize("name", ["narrow-resnet", "timm/convnext_atto", "nothing-like-it"])
def test_what_has_one_stem_only_is_built_with_no_other(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has the first layers that it has: leave stem"):
        build_backbone(name, 3, (64, 64), "small")


def test_positions_for_another_size_are_told(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("timm")
    say_difference.cache_clear()  # it is said once for a network and a size
    build_backbone("timm/vit_tiny_patch16_224", 3, (224, 224))
    assert caplog.text == ""
    build_backbone("timm/vit_tiny_patch16_224", 3, (64, 48), "imagenet")
    assert "for images of 64x48 begins with positions for that size" in caplog.text
    assert "image_size=(224, 224) gives that one" in caplog.text
