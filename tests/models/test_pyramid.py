"""Maps of several strides, of any backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from super_selfish.models import EfficientFeatures, StrideMaps, build_backbone, feature_map


@pytest.mark.filterwarnings("ignore:resnet18 at")
@pytest.mark.parametrize(
    ("name", "size", "strides", "widths"),
    [
        ("narrow-resnet", 32, (2, 4, 8, 16), (32, 64, 128, 256)),
        ("resnet18", 128, (4, 8, 16, 32), (64, 128, 256, 512)),
        ("mobilenet_v3_small", 64, (2, 4, 8, 16, 32), (16, 16, 24, 48, 576)),
        ("timm/convnext_atto", 64, (4, 8, 16, 32), (40, 80, 160, 320)),
        ("timm/vit_tiny_patch16_224", 224, (16,), (192,)),
    ],
)
def test_there_is_a_level_for_each_size(
    name: str, size: int, strides: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    backbone = build_backbone(name, 3, (size, size)).eval()
    pyramid = StrideMaps(backbone, 3, (size, size))
    assert (pyramid.strides, pyramid.widths) == (strides, widths)
    assert pyramid.backbone is backbone
    with torch.no_grad():
        images = torch.rand(2, 3, size, size)
        maps = pyramid(images)
        assert list(maps) == [str(level) for level in range(len(strides))]
        for found, stride, width in zip(maps.values(), strides, widths, strict=True):
            assert found.shape == (2, width, size // stride, size // stride)
        assert torch.equal(maps[str(len(strides) - 1)], feature_map(backbone, images))


def test_of_several_blocks_of_one_size_it_is_the_last() -> None:
    backbone = EfficientFeatures()
    pyramid = StrideMaps(backbone, levels=4)
    assert pyramid.names == ("_blocks.2", "_blocks.4", "_blocks.10")
    assert pyramid.strides == (4, 8, 16, 32)
    assert pyramid.widths == (24, 40, 112, 1280)


def test_levels_are_counted_from_the_last(tiny_backbone: Callable[..., nn.Module]) -> None:
    backbone = tiny_backbone()
    assert StrideMaps(backbone, 3, (32, 32)).strides == (2, 4)
    assert StrideMaps(backbone, 3, (32, 32), levels=2).strides == (2, 4)
    assert StrideMaps(backbone, 3, (32, 32), levels=1).strides == (4,)
    for levels in (0, 3):
        message = f"from 1 to 2, since .* TinyBackbone has maps of 16x16, 8x8, got {levels}$"
        with pytest.raises(ValueError, match=message):
            StrideMaps(backbone, 3, (32, 32), levels=levels)


def test_other_sizes_follow_and_gradients_reach_all_levels(
    tiny_backbone: Callable[..., nn.Module],
) -> None:
    pyramid = StrideMaps(tiny_backbone(), 3, (32, 32))
    maps = pyramid(torch.rand(2, 3, 48, 40))
    assert [tuple(found.shape) for found in maps.values()] == [(2, 8, 24, 20), (2, 16, 12, 10)]
    maps["0"].sum().backward()
    first, last = pyramid.backbone.layers[0], pyramid.backbone.layers[3]  # type: ignore[index]
    assert first.weight.grad is not None and last.weight.grad is None  # type: ignore[union-attr]
