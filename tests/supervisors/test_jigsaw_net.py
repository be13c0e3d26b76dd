from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.patches import merge_grid
from super_selfish.augmentations.resampling import Resize
from super_selfish.data.collate import Batch, Collator
from super_selfish.models import BottleneckMap
from super_selfish.supervisors import JigsawNetSupervisor
from super_selfish.supervisors.jigsaw_net import JigsawTiles
from super_selfish.supervisors.puzzles import TileCutter, put_together
from tests.conftest import TinyBackbone
from tests.references import cross_entropy_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> JigsawTiles:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def record_inputs(network: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


@pytest.mark.parametrize(("grid", "expected"), [(2, 3.178), (3, 6.908)])
def test_the_loss_begins_at_chance(
    grid: int, expected: float, images: Tensor, tiny_backbone: Backbones
) -> None:
    torch.manual_seed(0)
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), grid=grid)
    assert float(supervisor(batch_of(supervisor, images)).detach()) == pytest.approx(
        expected, rel=0.2
    )


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), grid=3, num_permutations=40).eval()
    data = batch_of(supervisor, images[:6])
    with torch.no_grad():
        logits = supervisor.model(put_together(data.tiles, supervisor.permutations[data.targets]))
        assert logits.shape == (6, 40)
        expected = cross_entropy_in_loops(logits, data.targets)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


def test_the_target_is_the_permutation_that_the_network_sees(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone())
    supervisor.permutations.copy_(supervisor.permutations.flip(0))  # another order, as if loaded
    data = batch_of(supervisor, images)
    seen = record_inputs(supervisor.model)
    supervisor(data)
    cells = seen[0].unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    for tiles, shown, target in zip(data.tiles, cells, data.targets, strict=True):
        for place, tile in enumerate(supervisor.permutations[target]):
            assert torch.equal(shown[place], tiles[tile])


def test_tiles_have_equal_brightness_and_contrast(images: Tensor, tiny_backbone: Backbones) -> None:
    tiles = batch_of(JigsawNetSupervisor(images, tiny_backbone()), images).tiles
    assert tiles.shape == (22, 4, 3, 16, 16)
    assert torch.allclose(tiles.mean(dim=(2, 3, 4)), torch.tensor(0.5), atol=1e-4)
    deviations = tiles.flatten(2).std(dim=2, correction=0)
    assert torch.allclose(deviations, torch.tensor(0.25), atol=1e-3)


@pytest.mark.parametrize(("p", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_tiles_are_gray_as_often_as_asked(
    images: Tensor, tiny_backbone: Backbones, p: float, share: float, generator: torch.Generator
) -> None:
    collator: Any = JigsawNetSupervisor(images, tiny_backbone(), p_grayscale=p).collate_fn
    batch = Batch(images, torch.arange(len(images)))
    tiles = collator.augment(batch, generator).tiles  # (B, n, C, c_h, c_w)
    is_gray = (tiles - tiles.mean(dim=2, keepdim=True)).abs().amax(dim=(2, 3, 4)) < 1e-5
    assert is_gray.float().mean() == share


def test_channels_are_moved_by_themselves_within_their_cell(generator: torch.Generator) -> None:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    places = (32 * rows + columns).expand(200, 3, -1, -1).float() / 1024  # every pixel says where
    cutter = TileCutter(2, (12, 12), Resize(12), 0.75, 0.17)  # by at most 2 of 12 pixels
    tiles = cutter(places, generator)
    assert tiles.shape == (200, 4, 3, 12, 12)
    first = (tiles[..., 0, 0] * 1024).round().long()  # (B, n, C): the corner of each channel
    tops, lefts = first // 32, first % 32
    for corners, cell in ((tops, [0, 0, 1, 1]), (lefts, [0, 1, 0, 1])):
        own = corners - 16 * torch.tensor(cell).view(1, 4, 1)
        assert own.min() == 0 and own.max() == 4
        apart = own[:, :, 0] - own[:, :, 1]
        assert apart.abs().max() == 4 and -0.2 < apart.float().mean() < 0.2
    whole = tiles[..., -1, -1] * 1024 - first  # the part is in one piece
    assert torch.equal(whole.round(), torch.full_like(whole, 11 * 33))
    same = TileCutter(2, (12, 12), Resize(12), 0.75)(places, generator)
    assert torch.equal(same[:, :, 0], same[:, :, 2])


def test_one_channel_cannot_be_moved_against_others(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"channel_shift=0.1 moves channels .* have one"):
        JigsawNetSupervisor(images[:, :1], TinyBackbone(1), channel_shift=0.1)


def test_any_image_comes_in_any_permutation(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone())
    targets = torch.stack([batch_of(supervisor, images, seed).targets for seed in range(80)])
    assert len(targets[:, 0].unique()) > 20
    counts = targets.flatten().bincount(minlength=24)
    assert counts.min() > 0.6 * targets.numel() / 24


def test_a_list_of_permutations_belongs_to_each_image(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), num_permutations_per_image=3)
    targets = torch.stack([batch_of(supervisor, images, seed).targets for seed in range(50)])
    lists = [frozenset(column.unique().tolist()) for column in targets.T]
    assert all(len(numbers) == 3 for numbers in lists)
    assert len(set(lists)) > 20
    assert targets.flatten().bincount(minlength=24).min() > 0
    assert isinstance(supervisor.collate_fn, Collator)
    swapped = supervisor.collate_fn.augment(
        Batch(images.flip(0), torch.arange(22).flip(0)), torch.Generator().manual_seed(0)
    )
    assert all(
        int(target) in numbers
        for target, numbers in zip(swapped.targets.flip(0), lists, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "mosaic"),
    [
        ((32, 32), (32, 32)),
        ((64, 64), (64, 64)),
        ((96, 96), (96, 96)),
        ((224, 224), (224, 224)),
        ((225, 225), (224, 224)),
        ((96, 128), (96, 128)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_gray_images(
    size: tuple[int, int],
    mosaic: tuple[int, int],
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = JigsawNetSupervisor(images, tiny_backbone(channels))
    seen = record_inputs(supervisor.model)
    assert math.isfinite(float(supervisor(batch_of(supervisor, images)).detach()))
    assert seen[0].shape == (2, channels, *mosaic)


def test_a_backbone_without_a_map_will_do(images: Tensor) -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    supervisor = JigsawNetSupervisor(images, backbone)
    assert math.isfinite(float(supervisor(batch_of(supervisor, images)).detach()))


def test_puzzles_are_learnt(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(BottleneckMap(16, channels=8, size=4), nn.Linear(128, 3))
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), head, num_permutations=3)
    supervisor.supervise(lr=1e-2, epochs=12, batch_size=11, name=None)
    accuracies = [row["accuracy"] for row in supervisor.history]
    assert sum(accuracies[-3:]) / 3 > 0.6  # chance: a third


def test_what_makes_no_puzzle_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="leaves no gap between cells of 16x16 pixels"):
        JigsawNetSupervisor(images, tiny_backbone(), tile_fraction=1.0)
    with pytest.raises(ValueError, match="num_permutations_per_image must be in 1"):
        JigsawNetSupervisor(images, tiny_backbone(), num_permutations_per_image=25)
    with pytest.raises(ValueError, match="a 2x2 puzzle has 2 to 24 permutations"):
        JigsawNetSupervisor(images, tiny_backbone(), num_permutations=25)


def test_health_knows_shortcuts_and_chance(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone())
    assert "solved after 1 epoch:" in str(supervisor._health({"epoch": 1, "accuracy": 0.995}))
    assert "solved after 4 epochs" in str(supervisor._health({"epoch": 4, "accuracy": 0.995}))
    assert supervisor._health({"epoch": 30, "accuracy": 0.995}) is None
    assert "by chance (4.2%)" in str(supervisor._health({"epoch": 10, "accuracy": 0.045}))
    assert supervisor._health({"epoch": 1, "accuracy": 0.04}) is None
    assert supervisor._health({"epoch": 10, "accuracy": 0.4}) is None


def test_tiles_in_order_make_the_image(images: Tensor, tiny_backbone: Backbones) -> None:
    data = batch_of(JigsawNetSupervisor(images, tiny_backbone()), images)
    gray = images.float().mean(dim=1)
    mosaic = merge_grid(data.tiles, 2).mean(dim=1)
    # Within a tile, jitter keeps what is bright bright.
    pairs = zip(gray[:, :16, :16].flatten(1), mosaic[:, :16, :16].flatten(1), strict=True)
    correlations = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])
    assert correlations.median() > 0.8


def test_preprocess_makes_images_look_as_tiles_did(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = JigsawNetSupervisor(images, tiny_backbone(), normalize=([0.5] * 3, [0.25] * 3))
    seen = supervisor.preprocess(images / 255)
    torch.testing.assert_close(seen.mean(dim=(1, 2, 3)), torch.zeros(22), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.square().mean(dim=(1, 2, 3)), torch.ones(22), atol=1e-3, rtol=0)
