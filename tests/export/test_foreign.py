from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.export import export_backbone
from super_selfish.models import EfficientFeatures, NarrowResNet, build_backbone, pooled_features
from super_selfish.supervisors.color_split import split_backbone

Backbones = Callable[..., nn.Module]
EFFICIENTNET_LIBRARIES = ("efficientnet-pytorch", "timm")


def read_back(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Does what the side-car says: runs its code, and loads the weights with all of their keys."""
    description = json.loads(Path(f"{path}.json").read_text())
    names: dict[str, Any] = {}
    exec(description["build"], names)
    network: nn.Module = names["network"]
    network.load_state_dict(torch.load(path, weights_only=True), strict=True)
    return network.eval(), description


def require_same(path: Path, backbone: nn.Module, images: Tensor) -> dict[str, Any]:
    network, description = read_back(path)
    network, backbone = network.double(), copy.deepcopy(backbone).double()
    inputs = images = images.double()  # in single precision the order of sums shows
    if description["mean"] is not None:
        mean, std = (torch.tensor(description[name])[:, None, None] for name in ("mean", "std"))
        inputs = (images - mean) / std
    with torch.no_grad():
        expected = pooled_features(backbone, images)
        assert expected.std() > 1e-3  # a network that says nothing would prove nothing
        torch.testing.assert_close(pooled_features(network, inputs), expected, rtol=1e-5, atol=1e-5)
    return description


@pytest.mark.parametrize("library", EFFICIENTNET_LIBRARIES)
def test_the_default_backbone_goes_to_libraries_that_pad_alike(
    tmp_path: Path, efficientnet: nn.Module, pictures: Tensor, library: str
) -> None:
    pytest.importorskip(library.replace("-", "_"))
    path = export_backbone(efficientnet, tmp_path / "a", library, image_size=32)
    description = require_same(path, efficientnet, pictures)
    assert description["mean"] == [0.485, 0.456, 0.406]
    assert description["name"] == "efficientnet-b0"


@pytest.mark.parametrize("library", EFFICIENTNET_LIBRARIES)
def test_stems_of_stride_two_and_other_channels_go_too(
    tmp_path: Path, settle: Any, library: str, generator: torch.Generator
) -> None:
    pytest.importorskip(library.replace("-", "_"))
    backbone = settle(EfficientFeatures(in_channels=1), 1, 48)
    path = export_backbone(backbone, tmp_path / "a", library, image_size=(33, 48), in_channels=1)
    # Odd and even sides are padded differently.
    require_same(path, backbone, torch.rand(2, 1, 33, 48, generator=generator))


@pytest.mark.slow
@pytest.mark.parametrize("library", EFFICIENTNET_LIBRARIES)
@pytest.mark.parametrize("size", range(1, 8))
def test_every_efficientnet_goes(
    tmp_path: Path, settle: Any, pictures: Tensor, library: str, size: int
) -> None:
    pytest.importorskip(library.replace("-", "_"))
    backbone = settle(EfficientFeatures(f"efficientnet-b{size}"), side=64)
    path = export_backbone(backbone, tmp_path / "a", library, image_size=32)
    require_same(path, backbone, pictures)


def test_torchvision_has_other_efficientnets(tmp_path: Path, efficientnet: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"pad another way.*fit \"timm\" and \"efficientnet-py"):
        export_backbone(efficientnet, tmp_path / "a", "torchvision", image_size=32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", EFFICIENTNET_LIBRARIES)
def test_layer_norm_is_refused(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library.replace("-", "_"))
    backbone = EfficientFeatures(norm_type="layer")
    with pytest.raises(ValueError, match="have batch norm, and this one layer norm"):
        export_backbone(backbone, tmp_path / "a", library, image_size=32)


@pytest.mark.parametrize(
    ("library", "side"), [("torchvision", 32), ("timm", 96), ("torchvision", 128)]
)
def test_resnets_go_to_torchvision_and_timm(
    tmp_path: Path, settle: Any, library: str, side: int, generator: torch.Generator
) -> None:
    pytest.importorskip(library)
    backbone = settle(build_backbone("resnet18", 2, (side, side)), 2)
    path = export_backbone(backbone, tmp_path / "a", library, image_size=side, in_channels=2)
    require_same(path, backbone, torch.rand(2, 2, side, side, generator=generator))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("alexnet", "shufflenet_v2_x0_5", "densenet121", "convnext_tiny", "swin_t")
        ),
    ],
)
def test_other_networks_go_to_torchvision(
    tmp_path: Path, settle: Any, name: str, generator: torch.Generator
) -> None:
    backbone = settle(build_backbone(name, 1, (64, 64)), 1, 64)
    path = export_backbone(backbone, tmp_path / "a", "torchvision", image_size=64, in_channels=1)
    require_same(path, backbone, torch.rand(2, 1, 64, 64, generator=generator))


def test_networks_that_timm_has_not_or_has_otherwise_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"it has no mnasnet0_5; \"torchvision\" works"):
        export_backbone(
            build_backbone("mnasnet0_5", 3, (32, 32)), tmp_path / "a", "timm", image_size=32
        )
    with pytest.raises(ValueError, match="its network of that name has other layers"):
        export_backbone(
            build_backbone("efficientnet_b0", 3, (32, 32)), tmp_path / "a", "timm", image_size=32
        )


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_networks_of_timm_keep_their_names(
    tmp_path: Path, settle: Any, name: str, pictures: Tensor
) -> None:
    pytest.importorskip("timm")
    backbone = settle(build_backbone(f"timm/{name}", 3, (32, 32)))
    path = export_backbone(backbone, tmp_path / "a", "timm", image_size=32)
    require_same(path, backbone, pictures)


@pytest.mark.parametrize(
    ("name", "stem", "side", "channels"),
    [
        ("narrow-resnet", "auto", 32, 2),
        ("alexnet-bn", "medium", 40, 1),
        ("resnet18", "auto", 32, 3),
        ("resnet18", "imagenet", 64, 3),
        ("efficientnet-b0", "auto", 32, 1),
        ("timm/resnet10t", "auto", 32, 3),
    ],
)
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_the_sidecar_builds_networks_by_name(
    tmp_path: Path, settle: Any, name: str, stem: str, side: int, channels: int, ending: str
) -> None:
    for package in (["timm"] if name.startswith("timm") else []) + ["safetensors.torch"]:
        pytest.importorskip(package)
    from safetensors.torch import load_file

    backbone = settle(build_backbone(name, channels, (side, side), stem), channels, side)
    path = export_backbone(
        backbone, tmp_path / f"a.{ending}", image_size=side, in_channels=channels
    )
    description = json.loads(Path(f"{path}.json").read_text())
    names: dict[str, Any] = {}
    exec(description["build"], names)
    network = names["network"]
    weights = load_file(path) if ending == "safetensors" else torch.load(path, weights_only=True)
    network.load_state_dict(weights)
    images = torch.rand(2, channels, side, side)
    with torch.no_grad():
        expected = pooled_features(backbone.eval(), images)
        assert expected.std() > 1e-3
        torch.testing.assert_close(pooled_features(network.eval(), images), expected)
    if not name.startswith("timm/"):
        assert description["name"] == name


def test_a_network_of_another_width_has_code_and_no_name(tmp_path: Path) -> None:
    path = export_backbone(NarrowResNet(width=4), tmp_path / "a.pt", image_size=32)
    description = json.loads(Path(f"{path}.json").read_text())
    assert description["name"] is None
    assert description["build"] == (
        "from super_selfish.models import NarrowResNet\n"
        "network = NarrowResNet(in_channels=3, width=4)"
    )


def test_a_changed_network_of_ours_comes_without_code(tmp_path: Path) -> None:
    backbone = NarrowResNet(width=4)
    backbone.blocks.append(nn.Conv2d(32, 32, 1))
    path = export_backbone(backbone, tmp_path / "a.pt", image_size=32)
    assert json.loads(Path(f"{path}.json").read_text())["build"] is None


def test_a_changed_network_of_timm_comes_without_code(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    backbone = timm.create_model("resnet10t", num_classes=5)
    path = export_backbone(backbone, tmp_path / "a", "timm", image_size=32)
    assert json.loads(Path(f"{path}.json").read_text())["build"] is None
    timm.create_model("resnet10t", num_classes=5).load_state_dict(
        torch.load(path, weights_only=True)
    )


@pytest.mark.parametrize("library", ["torchvision", "timm", "efficientnet-pytorch"])
@pytest.mark.parametrize(
    "backbone", [NarrowResNet(width=4), split_backbone("narrow-resnet", (32, 32), None)]
)
def test_what_no_library_has_is_refused_with_what_works(
    tmp_path: Path, library: str, backbone: nn.Module
) -> None:
    pytest.importorskip(library.replace("-", "_"))
    with pytest.raises(ValueError, match=r"\"safetensors\", .* and \"onnx\" work for all"):
        export_backbone(backbone, tmp_path / "a", library, image_size=32)
