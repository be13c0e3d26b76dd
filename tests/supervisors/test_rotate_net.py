from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.supervisors.rotate_net import RotateCollator, RotatedViews
from tests.references import cross_entropy_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> RotatedViews:
    assert isinstance(supervisor.collate_fn, RotateCollator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone()).eval()
    data = batch_of(supervisor, images[:5])
    with torch.no_grad():
        expected = sum(
            cross_entropy_in_loops(supervisor.model(data.views[:, k]), torch.full((5,), k))
            for k in range(4)
        )
        assert float(supervisor(data)) == pytest.approx(expected / 4, rel=1e-5)


def test_the_loss_begins_at_log_four(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    loss = float(supervisor(batch_of(supervisor, images)).detach())
    assert loss == pytest.approx(math.log(4), rel=0.2)


def test_turning_back_by_the_label_restores_the_image_exactly(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), crop=False)
    data = batch_of(supervisor, images)
    for views, targets, image in zip(data.views, data.targets, to_unit_range(images), strict=True):
        assert targets.tolist() == [0, 1, 2, 3]
        for view, target in zip(views, targets.tolist(), strict=True):
            degrees = supervisor.rotations[target]
            assert torch.equal(torch.rot90(view, -degrees // 90, (1, 2)), image)


def test_angles_are_counter_clockwise(tiny_backbone: Backbones) -> None:
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, 0, 31] = 1  # a dot in the upper right corner
    views = batch_of(RotateNetSupervisor(images, tiny_backbone(), crop=False), images).views[0]
    corners = [view[0].nonzero().tolist() for view in views]
    assert corners == [[[0, 31]], [[0, 0]], [[31, 0]], [[31, 31]]]  # 0, 90, 180, -90 degrees


def test_all_views_of_an_image_show_the_same_crop(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    data = batch_of(supervisor, images)
    for k in range(4):
        assert torch.equal(data.views[:, k], torch.rot90(data.views[:, 0], k, (2, 3)))
    assert not torch.equal(data.views[:, 0], to_unit_range(images))
    assert not torch.equal(data.views, batch_of(supervisor, images, seed=1).views)


def test_rotations_of_ones_own_are_the_classes_in_their_order(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), rotations=(180, 0.0), crop=False)  # type: ignore[arg-type]
    data = batch_of(supervisor, images)
    assert data.views.shape == (22, 2, 3, 32, 32)
    assert torch.equal(data.views[:, 1], to_unit_range(images))
    assert torch.equal(data.views[:, 0], to_unit_range(images).flip(2, 3))
    assert supervisor.model(images[:3] / 255).shape == (3, 2)


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (96, 128), (225, 225)])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_square_at_any_size(
    crop: bool,
    size: tuple[int, int],
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = RotateNetSupervisor(images, tiny_backbone(channels), crop=crop)
    data = batch_of(supervisor, images)
    assert data.views.shape == (2, 4, channels, min(size), min(size))
    assert torch.isfinite(supervisor(data))


def test_noise_betrays_no_angle(tiny_backbone: Backbones, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    noise = torch.randint(256, (384, 3, 32, 32), generator=generator, dtype=torch.uint8)
    supervisor = RotateNetSupervisor(noise[:256], tiny_backbone())
    supervisor.supervise(lr=1e-2, epochs=3, batch_size=32, name=None)
    with torch.no_grad():
        supervisor.eval()(batch_of(supervisor, noise[256:]))
    # 512 views, whose four answers are not independent within an image of 128.
    assert float(supervisor._logged["accuracy"]) == pytest.approx(
        0.25, abs=3 * math.sqrt(0.25 * 0.75 / 128)
    )


def test_health_knows_marks_and_chance(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    for epoch in (1.0, 5.0):
        verdict = str(supervisor._health({"epoch": epoch, "accuracy": 0.995}))
        assert verdict.startswith(f"99.5% of the rotations are right in epoch {epoch:.0f}")
    assert "by chance (25%)" in str(supervisor._health({"epoch": 5, "accuracy": 0.26}))
    assert supervisor._health({"epoch": 1, "accuracy": 0.26}) is None
    assert supervisor._health({"epoch": 5, "accuracy": 0.8}) is None
    assert supervisor._health({"epoch": 30, "accuracy": 0.995}) is None


@pytest.mark.parametrize("wrong", [(0,), (0, 45), (90, 90), (0, 360), ()])
def test_wrong_rotations_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^rotations are at least two different multiples of 90"):
        RotateNetSupervisor(image_size=32, rotations=wrong)
