from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.data.collate import Batch
from super_selfish.models import EfficientFeatures, feature_map
from super_selfish.models.color_split import SplitHead
from super_selfish.supervisors.color_split import LabCollator, LabTargets
from super_selfish.supervisors.split_brain_net import SplitBrainNetSupervisor
from tests.references import cross_entropy_of_places_in_loops

Backbones = Callable[..., nn.Module]
NAMED = "shufflenet_v2_x0_5"  # small, 1024 features


def batch_of(supervisor: SplitBrainNetSupervisor, images: Tensor) -> LabTargets:
    assert isinstance(supervisor.collate_fn, LabCollator)
    batch = Batch(images, torch.arange(len(images)))
    return supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))


def parts(supervisor: SplitBrainNetSupervisor, images: Tensor) -> dict[str, float]:
    supervisor(batch_of(supervisor, images))
    return {name: value.item() for name, value in supervisor._logged.items()}


@pytest.mark.parametrize("own", [True, False])
def test_loss_starts_at_the_logarithm_of_the_bins(
    images: Tensor, tiny_backbone: Backbones, own: bool
) -> None:
    torch.manual_seed(0)
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone() if own else NAMED)
    logged = parts(supervisor, images[:4])
    assert logged["color_loss"] == pytest.approx(math.log(81), rel=0.1)
    assert logged["lightness_loss"] == pytest.approx(math.log(50), rel=0.1)


def test_the_loss_is_that_of_the_paper_and_crosses_over(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone()).eval()
    data = batch_of(supervisor, images[:2])
    with torch.no_grad():
        color, lightness = supervisor.model(data.images)
        level = (data.lab[:, 0] / 2).floor().clamp(0, 49)
        a_star, b_star = ((data.lab[:, n] + 128).div(26).floor() for n in (1, 2))
        expected = cross_entropy_of_places_in_loops(color, 9 * a_star + b_star)
        expected += cross_entropy_of_places_in_loops(lightness, level)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def repainted(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, the same in other colours, and the same in another light; muted, so all exist."""
    coarse = torch.rand(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    noise = F.interpolate(coarse, size=(32, 32), mode="bilinear")
    lab = noise * 24 + torch.tensor([40.0, -12.0, -12.0], dtype=torch.float64).view(3, 1, 1)
    other_color, other_light = lab.clone(), lab.clone()
    other_color[:, 1:] = lab[:, 1:].flip(0)
    other_light[:, 0] = lab[:, 0].flip(0)
    return lab_to_rgb(lab), lab_to_rgb(other_color), lab_to_rgb(other_light)


@pytest.mark.parametrize("own", [True, False])
def test_colors_are_told_from_lightness_alone_and_lightness_from_colors_alone(
    repainted: tuple[Tensor, Tensor, Tensor], tiny_backbone: Backbones, own: bool
) -> None:
    images, other_color, other_light = repainted
    torch.manual_seed(0)
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone() if own else NAMED)
    supervisor.double()  # batch norm sees the same batch, in another order
    with torch.no_grad():
        color, lightness = supervisor.model(images)
        assert color.shape[1] == 81
        assert lightness.shape[1] == 50
        repainted_color, repainted_lightness = supervisor.model(other_color)
        relit_color, relit_lightness = supervisor.model(other_light)
    rounding: dict[str, Any] = {"atol": 1e-8, "rtol": 0}  # of L*a*b* there and back
    torch.testing.assert_close(repainted_color, color, **rounding)
    torch.testing.assert_close(relit_lightness, lightness, **rounding)
    assert (repainted_lightness - lightness).abs().max() > 1e-5
    assert (relit_color - color).abs().max() > 1e-5


def test_a_half_gets_gradient_from_its_own_prediction_only(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone())
    halves = supervisor.model.backbone
    predictions = supervisor.model(images[:4] / 255)
    predictions.from_lightness.square().sum().backward()
    assert any(p.grad.abs().sum() > 0 for p in halves.lightness.parameters())
    assert all(p.grad.abs().sum() == 0 for p in halves.color.parameters())


def test_targets_are_averages_of_lab_over_cells(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone(), crop=False)
    data = batch_of(supervisor, images)
    torch.testing.assert_close(data.images, images / 255)
    assert data.lab.shape == (22, 3, 8, 8)
    cell = rgb_to_lab(images / 255)[3, :, 8:12, 20:24].mean(dim=(1, 2))
    torch.testing.assert_close(data.lab[3, :, 2, 5], cell, atol=1e-3, rtol=0)


def test_cropped_images_and_targets_agree(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone(), stride=1)
    data = batch_of(supervisor, images)
    torch.testing.assert_close(lab_to_rgb(data.lab), data.images, atol=1e-3, rtol=0)
    assert not torch.allclose(data.images, images / 255, atol=0.05)


@pytest.mark.parametrize(
    ("size", "stride", "grid"), [((225, 225), 4, (56, 56)), ((96, 128), 8, (12, 16))]
)
def test_predictions_have_the_grid_of_the_targets(
    tiny_backbone: Backbones,
    generator: torch.Generator,
    size: tuple[int, int],
    stride: int,
    grid: tuple[int, int],
) -> None:
    images = torch.randint(256, (2, 3, *size), generator=generator, dtype=torch.uint8)
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone(), stride=stride)
    data = batch_of(supervisor, images)
    color, lightness = supervisor.model(data.images)
    assert color.shape[2:] == lightness.shape[2:] == data.lab.shape[2:] == grid


def test_the_backbone_by_name_eats_rgb_and_gives_both_halves() -> None:
    supervisor = SplitBrainNetSupervisor(image_size=32, backbone=NAMED).eval()
    backbone = supervisor.get_backbone()
    images = torch.rand(2, 3, 32, 32)
    assert backbone is supervisor.get_backbone()
    assert backbone(images).shape == (2, 2048)
    assert feature_map(backbone, images).shape == (2, 2048, 1, 1)
    assert torch.equal(supervisor.preprocess(images), images)


@pytest.mark.parametrize("norm_type", ["batch", "layer"])
def test_a_network_of_ones_own_is_returned_untouched(norm_type: Any) -> None:
    backbone = EfficientFeatures(norm_type=norm_type, stem_stride=1)
    supervisor = SplitBrainNetSupervisor(image_size=32, backbone=backbone).eval()
    assert supervisor.get_backbone() is backbone
    images = torch.rand(2, 3, 32, 32)
    seen = supervisor.preprocess(images)
    assert torch.equal(seen[:, 0], seen[:, 2])
    half = supervisor.model.backbone.lightness
    torch.testing.assert_close(backbone(seen), half(images), atol=0, rtol=0)


def test_a_checkpoint_of_named_networks_loads_without_a_dataset(
    images: Tensor, tmp_path: Path
) -> None:
    saved = SplitBrainNetSupervisor(images, NAMED, ab_step=30.0, stride=8)
    saved.save(tmp_path / "base")
    loaded = SplitBrainNetSupervisor(image_size=64, backbone=NAMED).load(tmp_path / "base")
    features = [s.eval().get_backbone()(images[:2] / 255) for s in (saved, loaded)]
    assert torch.equal(features[0], features[1])
    assert loaded.bins == saved.bins


def test_heads_of_ones_own_see_the_maps(images: Tensor, tiny_backbone: Backbones) -> None:
    head = SplitHead(nn.Conv2d(16, 81, 1), nn.Conv2d(16, 50, 1), 16, wants_map=True)
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone(), head)
    assert supervisor.get_predictor() is head
    assert torch.isfinite(supervisor(batch_of(supervisor, images)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"l_step": 0.0}, "l_step and ab_step must be > 0, got 0.0 and 26.0"),
        ({"ab_step": 0.0}, "l_step and ab_step must be > 0, got 2.0 and 0.0"),
        ({"ab_step": -1.0}, "l_step and ab_step must be > 0, got 2.0 and -1.0"),
        ({"l_offset": float("inf")}, r"offsets are finite, got inf of L\*"),
        ({"b_offset": float("nan")}, "offsets are finite, got .* and nan of b"),
        ({"ab_step": 500.0}, "need two bins each"),
        ({"stride": 40}, "stride must be from 1 .* 32x32 pixels, got 40"),
        ({"in_channels": 1}, "SplitBrainNetSupervisor needs colour"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitBrainNetSupervisor(image_size=32, **arguments)


def test_gray_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="needs colour: RGB images of 3 channels, got 1"):
        SplitBrainNetSupervisor(images[:, :1])


def test_gray_pictures_stored_as_rgb_are_told(images: Tensor, tiny_backbone: Backbones) -> None:
    gray = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    supervisor = SplitBrainNetSupervisor(gray, tiny_backbone())
    verdict = supervisor._health({"epoch": 1.0, **parts(supervisor, gray)})
    assert verdict is not None
    assert "hardly any colour" in verdict
    assert supervisor._health({"epoch": 1.0, **parts(supervisor, images)}) is None


def test_colors_worse_than_the_commonest_one_are_told(tiny_backbone: Backbones) -> None:
    supervisor = SplitBrainNetSupervisor(image_size=32, backbone=tiny_backbone())
    row = {"epoch": 3.0, "color_spread": 0.1, "color_accuracy": 0.1, "commonest_color": 0.5}
    verdict = supervisor._health(row)
    assert verdict is not None
    assert verdict.startswith("10% of the colours are right")
    assert supervisor._health({**row, "color_accuracy": 0.6}) is None


def test_the_commonest_color_is_counted(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = SplitBrainNetSupervisor(images, tiny_backbone(), crop=False)
    _, color = supervisor.bins.classes(batch_of(supervisor, images).lab)
    counts = [int((color == k).sum()) for k in range(81)]
    logged = parts(supervisor, images)
    assert logged["commonest_color"] == pytest.approx(max(counts) / color.numel())
