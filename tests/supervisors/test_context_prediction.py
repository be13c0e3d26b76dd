from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.resampling import resize
from super_selfish.augmentations.warping import affine_matrices, warp
from super_selfish.data.collate import Batch, Collator
from super_selfish.supervisors import ContextPredictionSupervisor
from super_selfish.supervisors.context_prediction import PatchPairs, framed
from super_selfish.supervisors.pair_places import NEIGHBOURS, PairPlaces, fitting_places
from super_selfish.supervisors.patch_grid import FRAME
from super_selfish.supervisors.tile_tone import standardize
from tests.references import cross_entropy_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> PatchPairs:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def test_the_loss_begins_at_chance(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = ContextPredictionSupervisor(images, tiny_backbone()).eval()
    found = float(supervisor(batch_of(supervisor, images)).detach())
    assert found == pytest.approx(math.log(8), rel=0.05)


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextPredictionSupervisor(images, tiny_backbone(), num_pairs=3).eval()
    data = batch_of(supervisor, images[:4])
    assert data.patches.shape == (4, 3, 2, 3, 12, 12)
    rows = []
    with torch.no_grad():
        for pairs in data.patches:
            for first, second in pairs:
                features = [supervisor.get_backbone()(patch[None]) for patch in (first, second)]
                rows.append(supervisor.get_predictor()(torch.cat(features, dim=1)))
        expected = cross_entropy_in_loops(torch.cat(rows), data.targets.flatten())
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


def test_places_are_those_of_the_second_patch_seen_from_the_first(
    generator: torch.Generator,
) -> None:
    targets, corners = PairPlaces(8, 4, 0)(4000, 40, 64, generator)
    apart = corners[:, 1] - corners[:, 0]  # (down, right)
    assert torch.equal(apart, torch.tensor(NEIGHBOURS)[targets] * 12)
    # The code of the authors numbers columns and rows: x + 1, (x + 7) / 2, x + 6 by rows.
    for (down, right), target in zip(apart.tolist(), targets.tolist(), strict=True):
        x, y = right // 12, down // 12
        assert target == {-1: x + 1, 0: (x + 7) // 2, 1: x + 6}[y]
    opposite = [NEIGHBOURS.index((-down, -right)) for down, right in NEIGHBOURS]
    assert opposite == [7 - k for k in range(8)]  # the pair the other way round
    assert torch.bincount(targets, minlength=8).min() > 4000 / 8 * 0.85
    assert corners.min() == 0
    assert corners[..., 0].max() == 32 and corners[..., 1].max() == 56
    # Every place that leaves room for the other patch is as likely: right of something at 0 to 44.
    tops = corners[targets == 4][:, 0]
    assert tops[:, 0].unique().tolist() == list(range(33))
    assert tops[:, 1].unique().tolist() == list(range(45))


def test_jitter_moves_each_patch_by_itself_and_leaves_a_gap(generator: torch.Generator) -> None:
    _, corners = PairPlaces(16, 8, 3)(6000, 96, 96, generator)
    assert corners.min() == 0 and corners.max() == 80
    apart = (corners[:, 1] - corners[:, 0]).abs()
    moved = torch.where(apart > 12, apart - 24, apart)  # from one or no step
    assert moved.min() == -6 and moved.max() == 6
    assert apart.amax(dim=1).min() >= 16 + 8 - 6  # at least two pixels between them
    assert (moved[:, 0] != moved[:, 1]).double().mean() > 0.8


@pytest.mark.parametrize(
    ("size", "side", "gap", "jitter"),
    [(32, 8, 4, 1), (64, 16, 8, 1), (96, 24, 12, 1), (224, 56, 28, 4), (225, 56, 28, 4)],
)
def test_sizes_are_those_of_the_method_reference(
    size: int, side: int, gap: int, jitter: int
) -> None:
    places = fitting_places((size, 2 * size), 0.25, 0.5, 7 / 96)
    assert (places.side, places.gap, places.jitter) == (side, gap, jitter)
    paper = fitting_places((384, 500), 0.25, 0.5, 7 / 96)
    assert (paper.side, paper.gap, paper.jitter) == (96, 48, 7)


def test_patches_are_the_image_at_their_corners(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextPredictionSupervisor(
        images, tiny_backbone(), colors="keep", p_low_resolution=0.0
    )
    data = batch_of(supervisor, images)
    for image, pairs, corners in zip(images / 255, data.patches, data.corners, strict=True):
        for pair, places in zip(pairs, corners.tolist(), strict=True):
            for patch, (top, left) in zip(pair, places, strict=True):
                own = image[:, top : top + 12, left : left + 12]
                torch.testing.assert_close(patch, standardize(own[None, None])[0, 0])


def test_patches_are_shown_as_they_are_in_frames_on_a_pale_image() -> None:
    image = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0, 10], [30, 48]])
    shown = framed(image, corners, side=32)
    expected = 0.3 * image + 0.7
    red, blue = (torch.tensor(color)[:, None, None] for color in (FRAME, (0.16, 0.38, 0.62)))
    expected[:, 0:34, 8:44] = red  # two pixels wide, and none above the image
    expected[:, 28:64, 46:80] = blue
    expected[:, 0:32, 10:42] = image[:, 0:32, 10:42]
    expected[:, 30:62, 48:80] = image[:, 30:62, 48:80]
    torch.testing.assert_close(shown, expected)


def test_patches_of_enlarged_images_are_smaller_parts_enlarged(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ContextPredictionSupervisor(
        images, tiny_backbone(), colors="keep", p_low_resolution=0.0, zoom=(1.0, 3**0.5)
    )
    data = batch_of(supervisor, images)
    assert data.patches.shape == (22, 4, 2, 3, 12, 12)
    assert data.sides.min() >= 7 and data.sides.max() <= 12 and len(data.sides.unique()) > 2
    every = zip(images / 255, data.patches, data.corners, data.sides.tolist(), strict=True)
    for image, pairs, corners, side in every:
        for pair, places in zip(pairs, corners.tolist(), strict=True):
            for patch, (top, left) in zip(pair, places, strict=True):
                own = resize(image[None, :, top : top + side, left : left + side], 12)
                torch.testing.assert_close(patch, standardize(own[None])[0, 0])
    for corners, targets, side in zip(data.corners, data.targets, data.sides, strict=True):
        step = side + side // 2
        apart = corners[:, 1] - corners[:, 0] - torch.tensor(NEIGHBOURS)[targets] * step
        assert apart.abs().max() <= 2
    assert float(supervisor(data).detach()) == pytest.approx(math.log(8), rel=0.1)


def test_images_are_enlarged_to_equally_likely_areas(generator: torch.Generator) -> None:
    supervisor: Any = ContextPredictionSupervisor(
        backbone="narrow-resnet", image_size=400, zoom=(1.0, 2.0)
    )
    factors = 100 / supervisor.collate_fn._sides(20_000, generator)
    shares = torch.histc(factors.square(), 3, 1.0, 4.0) / 20_000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("zoom", "words"),
    [((0.5, 1.0), "two factors of at least 1"), ((1.0, 4.0), "enlarges patches of 3 pixels")],
)
def test_factors_that_leave_no_patch_are_refused(
    zoom: tuple[float, float], words: str, tiny_backbone: Backbones
) -> None:
    with pytest.raises(ValueError, match=words):
        ContextPredictionSupervisor(backbone=tiny_backbone(), image_size=32, zoom=zoom)


def test_patches_keep_one_channel_and_have_one_brightness(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    patches = batch_of(ContextPredictionSupervisor(images, tiny_backbone()), images).patches
    flat = patches.flatten(3).flatten(0, 2)
    torch.testing.assert_close(flat.mean(dim=1), torch.full((176,), 0.5), atol=1e-3, rtol=0)
    deviations = patches.flatten(4).flatten(0, 2).std(dim=2).sort(dim=1).values  # (176, 3)
    assert (deviations[:, 2] > 10 * deviations[:, 1]).double().mean() > 0.9


def aberrated(number: int, generator: torch.Generator) -> Tensor:
    """Textures without parts, seen through a lens that shows green smaller than red and blue."""
    noise = F.avg_pool2d(torch.rand(number, 1, 98, 98, generator=generator), 3, 1)
    gray = (noise - 0.5) * 1.5 + 0.5
    no, zero = torch.zeros(number), torch.zeros(number, 2)
    larger, smaller = (
        warp(gray, affine_matrices(no, zero, torch.full((number,), scale), zero), mode="bicubic")
        for scale in (1.02, 0.98)
    )
    return (torch.cat([larger, smaller, larger], dim=1).clamp(0, 1) * 255).to(torch.uint8)


class LensReader(nn.Module):
    """Measures by how much green lies beside red and blue: all that fringes tell of a place."""

    num_features = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, patches: Tensor) -> Tensor:
        green, others = patches[:, 1], (patches[:, 0] + patches[:, 2]) / 2
        mean = (green + others) / 2
        across = (mean[:, 1:-1, 2:] - mean[:, 1:-1, :-2]) / 2
        along = (mean[:, 2:, 1:-1] - mean[:, :-2, 1:-1]) / 2
        difference = (green - others)[:, 1:-1, 1:-1]
        slopes = torch.stack([across, along], dim=1).flatten(2)  # (K, 2, pixels)
        products = slopes @ slopes.transpose(1, 2) + 1e-3 * torch.eye(2)
        shifts = torch.linalg.solve(products, slopes @ difference.flatten(1)[:, :, None])
        return shifts[:, :, 0] * self.scale


@pytest.mark.parametrize(
    ("colors", "is_given_away"), [("keep", True), ("drop", False), ("project", False)]
)
def test_fringes_of_a_lens_give_the_place_away_unless_colours_are_dropped(
    colors: str, is_given_away: bool, generator: torch.Generator
) -> None:
    images = aberrated(300, generator)
    torch.manual_seed(0)
    head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 8))
    supervisor = ContextPredictionSupervisor(
        images, LensReader(), head, colors=colors, p_low_resolution=0.0
    )
    supervisor.supervise(lr=1e-2, epochs=12, batch_size=50, name=None, progress=False)
    unseen = batch_of(supervisor.eval(), aberrated(300, generator), seed=7)
    supervisor(unseen)
    accuracy = float(supervisor._logged["accuracy"])
    by_chance = math.sqrt(1 / 8 * 7 / 8 / 1200)  # standard deviation, 1200 pairs
    if is_given_away:
        assert accuracy > 0.25
    else:
        assert abs(accuracy - 1 / 8) < 3 * by_chance


@pytest.mark.parametrize(
    ("size", "patch"),
    [
        ((32, 32), 12),
        ((63, 64), 23),
        ((64, 64), 16),
        ((96, 128), 24),
        ((224, 224), 56),
        ((225, 225), 56),
    ],
)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_and_number_of_channels(
    size: tuple[int, int],
    patch: int,
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = ContextPredictionSupervisor(images, tiny_backbone(channels))
    data = batch_of(supervisor, images)
    assert data.patches.shape == (2, 4, 2, channels, patch, patch)
    assert math.isfinite(float(supervisor(data).detach()))


def test_patches_are_enlarged_for_a_backbone_that_refuses_small_ones(images: Tensor) -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.Flatten(), nn.Linear(16, 8))
    supervisor = ContextPredictionSupervisor(images, backbone)
    assert batch_of(supervisor, images).patches.shape[-2:] == (32, 32)


def test_places_are_learnt_where_content_tells_them(tiny_backbone: Backbones) -> None:
    """Rings about the centre: which way they bend tells where a patch lies."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    distance = ((y - 15.5) ** 2 + (x - 15.5) ** 2).sqrt()
    rings = [0.5 + 0.5 * torch.sin(distance / 1.5 + phase) for phase in torch.arange(40) / 6]
    images = (torch.stack(rings)[:, None].expand(-1, 3, -1, -1) * 255).to(torch.uint8)
    torch.manual_seed(0)
    supervisor = ContextPredictionSupervisor(images, tiny_backbone(), hidden_size=64)
    supervisor.supervise(lr=1e-2, epochs=25, batch_size=20, name=None, progress=False)
    assert supervisor.history[-1]["accuracy"] > 0.3  # chance: an eighth


def test_what_gives_the_place_away_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="leaves no gap between patches of 12 pixels that are mov"):
        ContextPredictionSupervisor(images, tiny_backbone(), gap=0.2)
    with pytest.raises(ValueError, match=r"have to fit, .* images of 32x32; got patches of 16"):
        ContextPredictionSupervisor(images, tiny_backbone(), patch_fraction=0.5)
    with pytest.raises(ValueError, match=r"got patches of 3 and a gap of 1 by patch_fraction=0\.1"):
        ContextPredictionSupervisor(images, tiny_backbone(), patch_fraction=0.1)


def test_a_head_of_another_shape_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="predictor= gives 7 numbers, but there are 8 places to"):
        ContextPredictionSupervisor(images, tiny_backbone(), nn.Linear(32, 7))
    with pytest.raises(ValueError, match=r"features of two images side by side, \[B, 32\]"):
        ContextPredictionSupervisor(images, tiny_backbone(), nn.Linear(16, 8))


def test_health_knows_shortcuts_and_chance(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextPredictionSupervisor(images, tiny_backbone())
    assert "right after 1 epoch:" in str(supervisor._health({"epoch": 1, "accuracy": 0.995}))
    assert supervisor._health({"epoch": 30, "accuracy": 0.995}) is None
    assert "by chance (12.5%)" in str(supervisor._health({"epoch": 10, "accuracy": 0.13}))
    assert supervisor._health({"epoch": 9, "accuracy": 0.13}) is None


def test_preprocess_makes_images_look_as_patches_did(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    seen = ContextPredictionSupervisor(images, tiny_backbone()).preprocess(images / 255)
    torch.testing.assert_close(seen.mean(dim=(1, 2, 3)), torch.full((22,), 0.5), atol=1e-4, rtol=0)


def test_both_patches_are_framed_and_the_rest_is_pale() -> None:
    image = torch.zeros(3, 64, 64)
    shown = framed(image, torch.tensor([[0, 20], [30, 0]]), 32)  # frames of 2 pixels
    red, blue = (
        torch.tensor(color)[:, None, None] for color in ((0.82, 0.29, 0.36), (0.16, 0.38, 0.62))
    )
    expected = torch.full((3, 64, 64), 0.7)
    expected[:, :34, 18:54] = red
    expected[:, :32, 20:52] = 0
    expected[:, 28:, :34] = blue
    expected[:, 30:62, :32] = 0
    torch.testing.assert_close(shown, expected)
    assert torch.equal(image, torch.zeros(3, 64, 64))
    assert int((framed(image, torch.tensor([[1, 1], [1, 1]]), 8) == 0).all(dim=0).sum()) == 64
