from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.transformations import transform
from super_selfish.data.collate import Batch, Collator
from super_selfish.supervisors import AETSupervisor
from super_selfish.supervisors.aet import TransformedPairs
from super_selfish.supervisors.exhibits import seen_batch
from tests.references import squared_error_in_loops

Backbones = Callable[..., nn.Module]
KINDS = ("projective", "affine")


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> TransformedPairs:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


class Mean(nn.Module):
    """A head that says the mean of the numbers, of all transformations."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(number))

    def forward(self, features: Tensor) -> Tensor:
        return self.value + 0 * features.sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("kind", "number", "spread"), [("projective", 8, 0.47), ("affine", 6, 0.389)]
)
def test_saying_the_mean_costs_the_spread(
    kind: Any, number: int, spread: float, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = AETSupervisor(images, tiny_backbone(), Mean(number), kind=kind)
    assert supervisor.spread == pytest.approx(spread, rel=0.05)
    assert supervisor.chance_loss({}) == supervisor.spread
    data = batch_of(supervisor, images.repeat(20, 1, 1, 1))
    assert float(supervisor(data).detach()) == pytest.approx(spread, rel=0.1)
    assert float(supervisor._logged["explained"]) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_paper(kind: Any, images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = AETSupervisor(images, tiny_backbone(), kind=kind).eval()
    data = batch_of(supervisor, images[:5])
    mean, deviation = (0.0, 0.0, 16.0) * 2 + (0.0, 0.0), (1.0, 1.0, 20.0) * 2 + (0.015, 0.015)
    with torch.no_grad():
        told = []
        for first, second in data.pairs:
            features = [supervisor.get_backbone()(image[None]) for image in (first, second)]
            told.append(supervisor.get_predictor()(torch.cat(features, dim=1)))
        targets = data.targets
        if kind == "projective":
            targets = (targets - torch.tensor(mean)) / torch.tensor(deviation)
        else:
            assert float(torch.cat(told).abs().max()) <= 1.0  # tanh
        expected = squared_error_in_loops(torch.cat(told), targets)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["constant", "reflect"])
def test_the_copy_is_the_image_transformed_by_the_target(
    kind: Any, padding: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = AETSupervisor(
        images, tiny_backbone(), kind=kind, padding=padding, fill=0.3, crop=False
    )
    data = batch_of(supervisor, images)
    first, second = data.pairs.unbind(dim=1)
    torch.testing.assert_close(first, images / 255)
    matrices = supervisor.transformations.matrices(data.targets, (32, 32))
    torch.testing.assert_close(second, transform(first, matrices, padding, 0.3))
    has_fill = ((second - 0.3).abs() < 1e-6).all(dim=1).flatten(1).any(dim=1)
    assert bool(has_fill.float().mean() > 0.7) == (padding == "constant")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(32, 32), (96, 128), (225, 225)])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_and_number_of_channels(
    kind: Any,
    size: tuple[int, int],
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = AETSupervisor(images, tiny_backbone(channels), kind=kind)
    data = batch_of(supervisor, images)
    assert data.pairs.shape == (2, 2, channels, *size)
    assert math.isfinite(float(supervisor(data).detach()))


class Centroids(nn.Module):
    """Where the light of each channel lies, and how far it spreads."""

    num_features = 18

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(18))

    def forward(self, images: Tensor) -> Tensor:
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, 32)] * 2, indexing="ij")
        maps = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y])
        return torch.einsum("bchw,nhw->bcn", images, maps).flatten(1) * self.scale / 100


def test_transformations_are_learnt_where_content_tells_them(generator: torch.Generator) -> None:
    """Three lights, one above, one to the right, one in the middle."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 32)] * 2, indexing="ij")
    lights = [
        ((x - a) ** 2 + (y - b) ** 2).mul(-12).exp() for a, b in ((0, -0.5), (0.5, 0), (0, 0))
    ]
    images = torch.stack(lights)[None] * torch.rand(80, 1, 1, 1, generator=generator).add(1) / 2
    torch.manual_seed(0)
    head = nn.Sequential(nn.BatchNorm1d(36), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 6))
    supervisor = AETSupervisor(images, Centroids(), head, kind="affine", crop=False, fill=0.0)
    supervisor.supervise(lr=1e-2, epochs=40, batch_size=40, name=None, progress=False)
    assert supervisor.history[-1]["explained"] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_as_it_was_told_is_shown(
    kind: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    class Knows(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return supervisor._standardised(seen.targets)

    supervisor = AETSupervisor(images, tiny_backbone(), kind=kind, padding="reflect")
    assert "Black bars" in getattr(supervisor.collate_fn, "note", "")
    seen = seen_batch(supervisor, [0, 1], 0)
    number = len(supervisor.transformations.names)
    for head, is_right in ((Mean(number), False), (Knows(), True)):
        supervisor.model.predictor = head
        with torch.no_grad():
            groups = supervisor.eval().exhibit([0, 1], 0)
        for _, copy, told in groups:
            assert bool(told.image.isfinite().all())
            assert torch.allclose(copy.image, told.image, atol=1e-3) == is_right


def test_a_head_of_another_shape_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="gives 6 numbers, but there are 8 numbers of a transform"):
        AETSupervisor(images, tiny_backbone(), nn.Linear(32, 6))
    with pytest.raises(ValueError, match=r"features of two images side by side, \[B, 32\]"):
        AETSupervisor(images, tiny_backbone(), nn.Linear(16, 8))


def test_a_damaged_deviation_is_not_loaded(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = AETSupervisor(images, tiny_backbone())
    supervisor.target_deviation[2] = 0.0
    supervisor.save(tmp_path / "base")
    with pytest.raises(ValueError, match="'target_deviation' is not above 0"):
        AETSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")


def test_health_knows_who_says_the_mean(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = AETSupervisor(images, tiny_backbone())
    assert "no better than by one who" in str(supervisor._health({"epoch": 5, "explained": 0.04}))
    assert supervisor._health({"epoch": 5, "explained": 0.06}) is None
    assert supervisor._health({"epoch": 4, "explained": 0.0}) is None


@pytest.mark.parametrize("kind", ["affine", "projective"])
@pytest.mark.parametrize(
    ("name", "value"), [("shift", 0.9), ("shift", -0.1), ("degrees", 181.0), ("shear", 90.0)]
)
def test_numbers_of_the_other_kind_are_looked_at_too(kind: str, name: str, value: float) -> None:
    given: dict[str, Any] = {"kind": kind, name: value}
    with pytest.raises(ValueError, match=name):
        AETSupervisor(image_size=32, **given)
