from __future__ import annotations

import itertools
import math

import pytest
import torch

from super_selfish.augmentations.patches import (
    RandomTileCrop,
    cell_size,
    crop_tiles,
    cut_windows,
    maximal_hamming_permutations,
    merge_grid,
    normalize_tiles,
    overlapping_patches,
    permute_tiles,
    split_grid,
)


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(32, 32, 2), (225, 225, 2), (32, 32, 3), (17, 29, 3)]
)
@pytest.mark.parametrize("channels", [1, 5])
def test_tiles_are_numbered_by_rows_and_centred(
    height: int, width: int, grid: int, channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, channels, height, width, generator=generator)
    tiles = split_grid(images, grid)
    h, w = height // grid, width // grid
    top, left = (height - grid * h) // 2, (width - grid * w) // 2
    assert tiles.shape == (2, grid * grid, channels, h, w)
    for row in range(grid):
        for column in range(grid):
            y, x = top + row * h, left + column * w
            assert torch.equal(tiles[:, row * grid + column], images[:, :, y : y + h, x : x + w])


def test_merging_restores_the_used_part(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 33, 35, generator=generator)
    merged = merge_grid(split_grid(images, 3), 3)
    assert torch.equal(merged, images[:, :, :, 1:34])


def test_a_permutation_says_which_tile_each_position_shows() -> None:
    tiles = torch.arange(4.0).view(1, 4, 1, 1, 1)
    shuffled = permute_tiles(tiles, torch.tensor([[2, 0, 3, 1]]))
    assert shuffled.flatten().tolist() == [2.0, 0.0, 3.0, 1.0]


def test_the_inverse_permutation_restores_the_mosaic(generator: torch.Generator) -> None:
    images = torch.rand(5, 3, 30, 36, generator=generator)
    permutations = torch.rand(5, 9, generator=generator).argsort(dim=1)
    shuffled = merge_grid(permute_tiles(split_grid(images, 3), permutations), 3)
    assert not torch.equal(shuffled, images)
    restored = permute_tiles(split_grid(shuffled, 3), permutations.argsort(dim=1))
    assert torch.equal(merge_grid(restored, 3), images)


def test_tiles_are_cropped_each_at_its_own_place(generator: torch.Generator) -> None:
    tiles = torch.rand(2, 4, 3, 8, 10, generator=generator)
    offsets = torch.randint(0, 4, (2, 4, 2), generator=generator)
    views = crop_tiles(tiles, (5, 7), offsets)
    for b in range(2):
        for n in range(4):
            top, left = offsets[b, n].tolist()
            assert torch.equal(views[b, n], tiles[b, n, :, top : top + 5, left : left + 7])


@pytest.mark.parametrize(
    ("side", "grid", "tile"), [(32, 2, 14), (64, 3, 18), (96, 2, 41), (224, 3, 63), (225, 2, 96)]
)
def test_the_shown_part_of_a_cell_follows_rule_r4(side: int, grid: int, tile: int) -> None:
    assert RandomTileCrop(grid).tile_size(side, side) == (tile, tile)


def test_tile_offsets_are_independent_and_reach_both_ends(generator: torch.Generator) -> None:
    offsets = RandomTileCrop(2).draw((2000, 3, 32, 48), generator)  # cells 16x24, tiles 14x20
    assert offsets.shape == (2000, 4, 2)
    assert offsets.amin(dim=(0, 1)).tolist() == [0, 0]
    assert offsets.amax(dim=(0, 1)).tolist() == [2, 4]
    columns = offsets.float().flatten(1).T
    correlations = torch.corrcoef(columns) - torch.eye(8)
    assert correlations.abs().max() < 4 / math.sqrt(2000)


def test_tile_crops_come_back_as_one_image_without_the_border(
    generator: torch.Generator,
) -> None:
    images = torch.rand(2, 5, 33, 50, generator=generator)
    augmentation = RandomTileCrop(2)
    views = augmentation(images, torch.Generator().manual_seed(0))
    assert views.shape == augmentation.output_shape((2, 5, 33, 50)) == (2, 5, 32, 50)
    again = augmentation(images, torch.Generator().manual_seed(0))
    assert torch.equal(views, again)


def test_whole_tiles_return_the_image(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 32, 32, generator=generator)
    assert torch.equal(RandomTileCrop(2, fraction=1.0)(images, generator), images)


@pytest.mark.parametrize(
    ("height", "width", "count", "patch"),
    [(225, 225, 7, (56, 56)), (32, 32, 3, (16, 16)), (64, 64, 5, (20, 20)), (35, 50, 4, (14, 20))],
)
def test_patches_overlap_by_half_and_are_centred(
    height: int, width: int, count: int, patch: tuple[int, int], generator: torch.Generator
) -> None:
    images = torch.rand(2, 3, height, width, generator=generator)
    patches = overlapping_patches(images, count)
    assert patches.shape == (2, count * count, 3, *patch)
    dy, dx = patch[0] // 2, patch[1] // 2
    top, left = (height - (count + 1) * dy) // 2, (width - (count + 1) * dx) // 2
    for row in range(count):
        for column in range(count):
            y, x = top + row * dy, left + column * dx
            expected = images[:, :, y : y + 2 * dy, x : x + 2 * dx]
            assert torch.equal(patches[:, row * count + column], expected)


def test_normalised_tiles_have_mean_zero_and_deviation_one(generator: torch.Generator) -> None:
    tiles = torch.rand(2, 4, 3, 9, 9, generator=generator) * 0.1 + 0.8
    whole = normalize_tiles(tiles).flatten(2)
    torch.testing.assert_close(whole.mean(dim=2), torch.zeros(2, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.std(dim=2, correction=0), torch.ones(2, 4))
    each = normalize_tiles(tiles, per_channel=True).flatten(3)
    torch.testing.assert_close(each.mean(dim=3), torch.zeros(2, 4, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(each.std(dim=3, correction=0), torch.ones(2, 4, 3))


def test_a_flat_tile_becomes_zero() -> None:
    assert normalize_tiles(torch.full((1, 1, 3, 7, 7), 0.3)).abs().max() < 1e-3


def test_two_by_two_gives_all_permutations() -> None:
    permutations = maximal_hamming_permutations(24, 4, seed=0)
    assert len(permutations.unique(dim=0)) == 24
    assert torch.equal(permutations.sort(dim=1).values, torch.arange(4).expand(24, 4))


def test_every_choice_has_almost_the_largest_summed_distance() -> None:
    everything = torch.tensor(list(itertools.permutations(range(5))))
    chosen = maximal_hamming_permutations(40, 5, seed=1)
    for k in range(1, 40):
        sums = (everything[:, None] != chosen[None, :k]).sum(dim=(1, 2))
        taken = (everything[:, None] == chosen[None, :k]).all(dim=2).any(dim=1)
        own = (chosen[k] != chosen[:k]).sum()
        # Exact while the best is new; one less at most where it had been chosen before.
        assert own >= sums[~taken].max() - 1


def test_a_thousand_of_nine_tiles_have_the_published_distances() -> None:
    permutations = maximal_hamming_permutations(1000, 9, seed=0)
    assert len(permutations.unique(dim=0)) == 1000
    distances = (permutations[:, None] != permutations[None]).sum(dim=2)
    others = distances[~torch.eye(1000, dtype=torch.bool)]
    assert abs(others.float().mean().item() - 8.01) < 0.01  # METHODS.md 2.3
    assert others.min() >= 2


def test_permutations_depend_on_the_seed_alone() -> None:
    first, second = (maximal_hamming_permutations(50, 9, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, maximal_hamming_permutations(50, 9, seed=4))


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="3x3 grid needs"):
        split_grid(torch.rand(1, 3, 2, 8), 3)
    with pytest.raises(ValueError, match="has 4 tiles, got 3"):
        merge_grid(torch.rand(1, 3, 3, 4, 4), 2)
    with pytest.raises(ValueError, match="one index per tile"):
        permute_tiles(torch.rand(1, 4, 3, 4, 4), torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="half-overlapping"):
        overlapping_patches(torch.rand(1, 3, 7, 32), 7)
    with pytest.raises(ValueError, match="4 tiles have 24 permutations, asked for 25"):
        maximal_hamming_permutations(25, 4)
    with pytest.raises(ValueError, match="fraction must be"):
        RandomTileCrop(2, fraction=0.0)
    with pytest.raises(ValueError, match="fraction must be"):
        RandomTileCrop(2, fraction=1.01)


def test_windows_are_where_their_corners_say(generator: torch.Generator) -> None:
    images = torch.randint(256, (3, 2, 20, 31), generator=generator, dtype=torch.uint8)
    corners = torch.stack(
        [torch.randint(end, (3, 5), generator=generator) for end in (20 - 7 + 1, 31 - 7 + 1)], dim=2
    )
    corners[0, 0] = torch.tensor([13, 24])  # the last one
    windows = cut_windows(images, corners, 7)
    assert windows.shape == (3, 5, 2, 7, 7) and windows.dtype == torch.uint8
    for b in range(3):
        for n in range(5):
            top, left = corners[b, n].tolist()
            assert torch.equal(windows[b, n], images[b, :, top : top + 7, left : left + 7])


def test_a_grid_needs_a_pixel_a_cell() -> None:
    assert cell_size(7, 3, 3) == (2, 1)
    assert cell_size(1, 1, 1) == (1, 1)
    for height, width, grid in ((7, 2, 3), (2, 7, 3), (4, 4, 0)):
        with pytest.raises(ValueError, match=rf"a {grid}x{grid} grid needs that many pixels, got"):
            cell_size(height, width, grid)
