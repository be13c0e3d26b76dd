from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, Shape
from super_selfish.supervisors.puzzles import TileCutter, permutation_table, put_together

NOTHING = Compose([])


class AddNumber(Augmentation):
    """Adds to every sample a number of its own."""

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        return torch.arange(shape[0], dtype=torch.float32)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        return images + parameters[:, None, None, None]


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), 2), ((225, 225), 2), ((96, 128), 3), ((64, 64), 3)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_inverse_permutation_restores_the_image(
    size: tuple[int, int], grid: int, channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(5, channels, *size, generator=generator)
    height, width = size[0] // grid, size[1] // grid
    tiles = TileCutter(grid, (height, width), NOTHING, fraction=1.0)(images, generator)
    permutations = permutation_table(grid, 20)[torch.arange(3, 8)]
    shuffled = put_together(tiles, permutations)
    assert shuffled.shape == (5, channels, grid * height, grid * width)
    again = TileCutter(grid, (height, width), NOTHING, fraction=1.0)(shuffled, generator)
    restored = put_together(again, permutations.argsort(dim=1))
    top, left = (size[0] - grid * height) // 2, (size[1] - grid * width) // 2
    used = images[:, :, top : top + grid * height, left : left + grid * width]
    assert not torch.equal(shuffled, used)
    assert torch.equal(restored, used)


def test_a_tile_shows_nothing_of_its_neighbours_and_nothing_of_the_border(
    generator: torch.Generator,
) -> None:
    images = torch.ones(4, 1, 225, 225)  # of which 224 are used
    for place in range(4):
        row, column = 112 * (place // 2), 112 * (place % 2)
        images[:, :, row : row + 112, column : column + 112] = place / 8
    tiles = TileCutter(2, (112, 112), NOTHING)(images, generator)
    expected = torch.arange(4) / 8
    assert torch.allclose(tiles, expected.view(1, 4, 1, 1, 1).expand_as(tiles))


def test_every_tile_is_cut_and_augmented_by_itself(generator: torch.Generator) -> None:
    ramp = torch.linspace(0, 1, 32).expand(6, 1, 32, 32)
    tiles = TileCutter(2, (16, 16), NOTHING)(ramp, generator)
    lefts = tiles[:, [0, 2]].amin(dim=(2, 3, 4))  # (B, 2), where the left tiles begin
    assert lefts.unique().numel() == 3  # 16 - 14 pixels of freedom
    numbered = TileCutter(2, (16, 16), AddNumber())(torch.zeros(3, 1, 32, 32), generator)
    assert numbered.amax(dim=(2, 3, 4)).flatten().tolist() == list(range(12))


def test_the_table_of_a_small_puzzle_is_complete() -> None:
    table = permutation_table(2)
    assert table.shape == (24, 4)
    assert len(table.unique(dim=0)) == 24
    assert torch.equal(table.sort(dim=1).values, torch.arange(4).expand(24, 4))


def test_the_table_of_a_large_puzzle_holds_distant_permutations() -> None:
    table = permutation_table(3)
    assert table.shape == (1000, 9)
    sample = table[:100]
    distances = (sample[:, None] != sample[None]).sum(dim=2).float()
    assert 7.95 < float(distances.sum() / (100 * 99)) < 8.3  # 8 for independent ones
    assert torch.equal(table, permutation_table(3))


@pytest.mark.parametrize(("grid", "count"), [(1, None), (2, 25), (2, 1)])
def test_impossible_tables_are_refused(grid: int, count: int | None) -> None:
    with pytest.raises(ValueError, match="puzzle has"):
        permutation_table(grid, count)


def test_a_mosaic_takes_the_size_that_is_asked_for(generator: torch.Generator) -> None:
    tiles = torch.rand(2, 9, 3, 21, 21, generator=generator)
    permutations = permutation_table(3, 2)
    assert put_together(tiles, permutations).shape == (2, 3, 63, 63)
    assert put_together(tiles, permutations, (64, 64)).shape == (2, 3, 64, 64)
