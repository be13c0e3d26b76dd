from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from super_selfish.export import export_backbone
from super_selfish.models import TorchvisionFeatures, build_backbone, feature_map
from super_selfish.models.stems import say_difference
from super_selfish.supervisors import (
    ContrastivePredictiveCodingSupervisor,
    JigsawNetSupervisor,
    RotateNetSupervisor,
    SplitBrainNetSupervisor,
)
from tests.conftest import TinyBackbone


@pytest.fixture(autouse=True)
def tell_anew() -> None:
    """Each network and size is told once in a process."""
    say_difference.cache_clear()


@pytest.mark.parametrize(
    ("stem", "size", "side"),
    [
        ("imagenet", 64, 2),
        ("medium", 64, 4),
        ("small", 64, 8),
        ("auto", 64, 8),
        ("auto", 65, 5),
        ("auto", 127, 8),
        ("auto", 128, 4),
        ("small", 128, 16),
    ],
)
def test_a_resnet_begins_as_it_was_told(stem: str, size: int, side: int) -> None:
    network = build_backbone("resnet18", 3, (size, size), stem)
    assert feature_map(network, torch.zeros(1, 3, size, size)).shape == (1, 512, side, side)


@pytest.mark.parametrize(
    ("stem", "size", "side"),
    [("auto", 64, 8), ("auto", 65, 5), ("auto", 128, 3), ("small", 96, 12)],
)
def test_an_alexnet_begins_as_it_was_told(stem: str, size: int, side: int) -> None:
    network = build_backbone("alexnet-bn", 3, (size, size), stem)
    assert feature_map(network, torch.zeros(1, 3, size, size)).shape == (1, 256, side, side)


def test_published_weights_of_torchvision_fit_small_images_with_the_published_stem() -> None:
    network = build_backbone("resnet18", 3, (32, 32), "imagenet")
    assert isinstance(network, TorchvisionFeatures)
    found = network.network.load_state_dict(get_model("resnet18").state_dict(), strict=False)
    assert found.missing_keys == []
    assert sorted(found.unexpected_keys) == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize(("stem", "size", "side"), [("imagenet", 64, 2), ("small", 96, 6)])
def test_an_efficientnet_begins_as_it_was_told(stem: str, size: int, side: int) -> None:
    network = build_backbone("efficientnet-b0", 3, (size, size), stem).eval()
    with torch.no_grad():
        assert feature_map(network, torch.zeros(1, 3, size, size)).shape[2:] == (side, side)


def test_the_choice_of_auto_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        build_backbone("resnet18", 3, (48, 32))
        build_backbone("resnet18", 3, (128, 128))
        build_backbone("resnet18", 3, (32, 32), "small")
        build_backbone("mobilenet_v3_small", 3, (32, 32))
        build_backbone("narrow-resnet", 3, (32, 32))
    assert caplog.messages == [
        "resnet18 for images of 48x32 begins with a 3x3 convolution of stride 1 and no pooling, so "
        'it is not the published network; stem="imagenet" builds that one'
    ]
    build_backbone("efficientnet-b0", 3, (64, 64))
    assert "efficientnet-b0 for images of 64x64 begins with a convolution" in caplog.messages[-1]
    ContrastivePredictiveCodingSupervisor(image_size=32, in_channels=3)
    assert "efficientnet-b0 for images of 16x16 begins with a convolution" in caplog.messages[-1]
    assert len(caplog.messages) == 3


def test_positions_of_timm_that_are_not_the_published_ones_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("timm")
    build_backbone("timm/vit_tiny_patch16_224", 3, (64, 64), "imagenet")
    assert "image_size=(224, 224) gives that one" in caplog.messages[0]


@pytest.mark.parametrize(
    ("backbone", "stem", "message"),
    [
        ("resnet18", "cifar", "stem is one of 'auto', 'imagenet', 'medium', 'small', got 'cifar'"),
        ("efficientnet-b0", "medium", 'an EfficientNet takes "imagenet"'),
        ("mobilenet_v3_small", "small", "mobilenet_v3_small has the first layers that it has"),
        ("narrow-resnet", "small", "narrow-resnet has the first layers that it has"),
        (TinyBackbone(), "small", "your TinyBackbone has the first layers that it has"),
    ],
)
def test_a_stem_that_a_network_has_not_is_refused(
    backbone: Any, stem: str, message: str, images: Tensor
) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(backbone, 3, (32, 32), stem)
    with pytest.raises(ValueError, match=message):
        RotateNetSupervisor(images, backbone=backbone, stem=stem)


@pytest.mark.parametrize("size", [None, 32])
def test_who_awaits_the_size_of_a_checkpoint_says_nothing_of_the_one_until_then(
    size: int | None, images: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("timm")
    with caplog.at_level(logging.WARNING):
        RotateNetSupervisor(backbone="timm/test_vit", image_size=size)
    assert len(caplog.messages) == (size is not None)
    with caplog.at_level(logging.WARNING):
        RotateNetSupervisor(images.repeat(1, 1, 2, 2), backbone="timm/test_vit")
    assert "64x64" in caplog.messages[-1]


def test_a_checkpoint_keeps_it(images: Tensor, tmp_path: Path) -> None:
    def build(**more: Any) -> RotateNetSupervisor:
        return RotateNetSupervisor(images, backbone="resnet18", **more)

    build(stem="imagenet").save(tmp_path / "base")
    loaded = build(stem="small").load(tmp_path / "base")
    assert loaded.get_backbone().state_dict()["network.conv1.weight"].shape[2:] == (7, 7)
    assert loaded.arguments["stem"] == loaded.stem == "imagenet"
    build().save(tmp_path / "auto")
    loaded.load(tmp_path / "auto")
    assert loaded.get_backbone().stem == "small" and loaded.stem == "auto"


def test_a_puzzle_hands_it_on(images: Tensor) -> None:
    puzzle = JigsawNetSupervisor(images, backbone="efficientnet-b0", stem="imagenet")
    assert puzzle.get_backbone().stem == "imagenet"


def test_split_networks_and_patches_have_it(images: Tensor) -> None:
    halves = SplitBrainNetSupervisor(images, backbone="resnet18", stem="imagenet").get_backbone()
    sevens = [m for m in halves.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (7, 7)]
    assert len(sevens) == 2
    patches = ContrastivePredictiveCodingSupervisor(images, stem="imagenet").get_backbone()
    assert patches.stem == "imagenet"


def test_a_run_is_not_resumed_with_another_stem(images: Tensor, tmp_path: Path) -> None:
    def build(**more: Any) -> RotateNetSupervisor:
        return RotateNetSupervisor(images[:4], backbone="efficientnet-b0", **more)

    settings: dict[str, Any] = {"epochs": 1, "batch_size": 4, "progress": False}
    settings["name"] = tmp_path / "base"
    build().supervise(**settings)
    with pytest.raises(ValueError, match="stem='auto', this RotateNetSupervisor has 'imagenet'"):
        build(stem="imagenet").supervise(**settings, resume=True)  # the weights would fit


@pytest.mark.parametrize(("stem", "says"), [("auto", True), ("imagenet", False)])
def test_the_export_says_for_which_network_it_is(
    stem: str, says: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = build_backbone("resnet18", 3, (32, 32), stem).eval()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        path = export_backbone(network, tmp_path / "net.pt", "torchvision", image_size=32)
    described = json.loads((tmp_path / "net.pt.json").read_text())
    assert described["stem"] == ("small" if says else "imagenet")
    told = [message for message in caplog.messages if "that torchvision publishes" in message]
    assert len(told) == says
    found: dict[str, Any] = {}
    exec(described["build"], found)
    weights = torch.load(path, weights_only=True)
    found["network"].load_state_dict(weights, strict=True)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found["network"].eval()(images), network(images))
    if not says:  # torchvision's own, as it comes
        assert get_model("resnet18").load_state_dict(weights, strict=False).unexpected_keys == []
