"""Transformers of timm for images of any size."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from super_selfish.models import NarrowResNet, build_backbone, feature_shape
from super_selfish.models.stems import say_difference
from super_selfish.models.transformers import in_whole_patches, own_size, patch_of, patch_side
from super_selfish.supervisors import RotateNetSupervisor, SwAVSupervisor

pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("side", "patch"),
    [
        (28, 4),
        (32, 4),
        (48, 4),
        (55, 5),
        (56, 8),
        (64, 8),
        (96, 8),
        (112, 16),
        (224, 16),
        (225, 15),
    ],
)
def test_patches_suit_the_size_of_images(side: int, patch: int) -> None:
    assert patch_side((side, side), 16, "a network") == patch


def test_patches_divide_both_sides_and_are_no_larger_than_published_unless_they_must() -> None:
    assert patch_side((64, 48), 16, "a network") == 4
    assert patch_side((64, 96), 16, "a network") == 8
    assert patch_side((518, 518), 14, "a network") == 14
    assert patch_side((225, 225), 14, "a network") == 15
    assert patch_side((16, 16), 16, "a network") == 4
    assert patch_side((9, 9), 16, "a network") == 3


def test_patches_are_half_as_large_again_or_two_thirds_at_most() -> None:
    assert patch_side((66, 77), 16, "a network") == 11  # where 8 are wanted
    assert patch_side((60, 66), 16, "a network") == 6
    assert patch_side((57, 57), 2, "a network") == 3
    for size in ((65, 78), (60, 65), (35, 49), (34, 38)):  # 13, 5, 7 and 2
        with pytest.raises(ValueError, match=f"none such divide {size[0]}x{size[1]}: give"):
            patch_side(size, 16, "a network")
    assert patch_side((27, 26), 16, "a network") == 1  # few pixels are better than no network
    assert patch_side((14, 9), 16, "a network") == 1
    with pytest.raises(ValueError, match="none such divide 28x29"):
        patch_side((28, 29), 16, "a network")


def test_sizes_near_by_are_told_that_patches_divide() -> None:
    for size, wanted, near in (
        ((65, 78), 8, (64, 80)),
        ((34, 38), 4, (32, 40)),
        ((37, 149), 4, (36, 148)),
    ):
        said = f"of about {wanted} pixels, .*: give image_size={re.escape(str(near))}"
        with pytest.raises(ValueError, match=said):
            patch_side(size, 16, "a network")
        assert patch_side(near, 16, "a network") >= 1


def test_the_size_that_a_transformer_was_built_for_is_height_and_width() -> None:
    built = build_backbone("timm/vit_tiny_patch16_224", 3, (32, 48))
    assert own_size(built) == (32, 48)
    assert own_size(NarrowResNet(3)) is None


def test_a_size_that_no_patches_divide_is_refused_with_the_nearest() -> None:
    message = r"of about 4 pixels, and none such divide 37x41: give image_size=\(36, 40\)"
    with pytest.raises(ValueError, match=message):
        patch_side((37, 41), 16, "a network")
    with pytest.raises(ValueError, match="timm/vit_tiny_patch16_224 cuts images into square"):
        RotateNetSupervisor(image_size=34, backbone="timm/vit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("deit_tiny_distilled_patch16_224", 8),
        ("eva02_tiny_patch14_224", 8),
        ("swin_tiny_patch4_window7_224", 4),
    ],
)
def test_others_of_timm_take_small_images_and_crops_of_them(name: str, patch: int) -> None:
    backbone = build_backbone(f"timm/{name}", 5, (64, 64))
    assert patch_of(backbone) == patch
    whole = feature_shape(backbone, 5, (64, 64))
    crop = feature_shape(backbone, 5, (32, 32))
    assert (crop.height, crop.width) == (whole.map_size[0] // 2, whole.map_size[1] // 2)


def test_patches_of_maps_stay_as_they_are() -> None:
    backbone = build_backbone("timm/vit_tiny_r_s16_p8_224", 3, (64, 64))
    assert patch_of(backbone) is None
    assert feature_shape(backbone, 3, (64, 64)).map_size == (2, 2)


@pytest.mark.parametrize("stem", ["small", "medium"])
def test_transformers_have_no_other_stems(stem: str) -> None:
    with pytest.raises(ValueError, match=f"stem='{stem}' is for .* \"imagenet\" for timm's trans"):
        build_backbone("timm/vit_tiny_patch16_224", 3, (32, 32), stem)


def test_one_line_says_what_the_patches_are(caplog: pytest.LogCaptureFixture) -> None:
    say_difference.cache_clear()  # it is said once for a network and a size
    with caplog.at_level(logging.WARNING), torch.device("meta"):
        build_backbone("timm/vit_tiny_patch16_224", 3, (32, 32))
        build_backbone("timm/vit_tiny_patch16_224", 3, (224, 224))
    assert caplog.messages == [
        "timm/vit_tiny_patch16_224 for images of 32x32 begins with patches of 4x4 pixels and "
        'positions for that size, so it is not the published network; stem="imagenet" builds that '
        "one"
    ]


def test_small_crops_are_whole_patches() -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", 3, (32, 32))
    assert in_whole_patches(backbone, (14, 9)) == (16, 12)
    assert in_whole_patches(NarrowResNet(3), (14, 9)) == (14, 9)
    supervisor = SwAVSupervisor(image_size=32, backbone=backbone)
    assert supervisor.arguments["small_size"] == (16, 16)
