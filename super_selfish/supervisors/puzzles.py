"""Puzzles of tiles: what the algorithms that shuffle images share.

A puzzle travels as augmented tiles in their true order and the number of a permutation; the network
puts it together from a table of permutations that the checkpoint holds. So the table that was
trained with is the table that is used, and a batch can be looked at unshuffled.

Shapes: `B` images, `g` cells a side, `n = g * g` tiles, `P` permutations, `c_h, c_w` cell.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.patches import (
    GAP_FRACTION,
    RandomTileCrop,
    crop_tiles,
    maximal_hamming_permutations,
    merge_grid,
    permute_tiles,
    split_grid,
)
from super_selfish.augmentations.resampling import resize

MOST_PERMUTATIONS = 1000  # Noroozi, Favaro, 2016, section 4


def permutation_table(grid: int, count: int | None = None) -> Tensor:
    """Permutations of a `grid` x `grid` puzzle that lie far from one another.

    Args:
        grid: Cells a side.
        count: Number of permutations. Default: all, at most 1000.

    Returns:
        `[P, n]`, int64: position `i` of puzzle `k` shows tile `table[k, i]`.

    Raises:
        ValueError: If there is nothing to shuffle, or there are not that many permutations.
    """
    if grid < 2:
        raise ValueError(f"a puzzle has at least 2 cells a side, got grid={grid}")
    most = math.factorial(grid * grid)
    count = min(most, MOST_PERMUTATIONS) if count is None else count
    if not 2 <= count <= most:
        raise ValueError(
            f"a {grid}x{grid} puzzle has 2 to {most} permutations to choose from, asked for {count}"
        )
    return maximal_hamming_permutations(count, grid * grid)


def unfit_table(table: Tensor) -> str | None:
    """What is wrong with a stored table of permutations, in words; None if nothing is."""
    numbers = torch.arange(table.shape[1], device=table.device)
    if bool((table.sort(dim=1).values == numbers).all()):
        return None
    return f"its 'permutations' are not rows of the numbers 0 to {table.shape[1] - 1}"


class TileCutter:
    """Cuts images into tiles, with a gap between them, and augments each tile by itself.

    Only a random part of every cell is shown, enlarged to a cell again: no edge runs on from tile
    to tile. What the grid leaves over at the border is cut away.
    """

    def __init__(
        self,
        grid: int,
        size: tuple[int, int],
        augmentation: Augmentation,
        fraction: float = GAP_FRACTION,
        channel_shift: float = 0.0,
    ) -> None:
        """Takes the recipe.

        Args:
            grid: Cells a side.
            size: (height, width) of the tiles that come out, in pixels.
            augmentation: Of every tile; keeps its size.
            fraction: Side of the part that is shown, as a fraction of the cell's, in (0, 1].
            channel_shift: How far each channel of a part is moved at most, up or down and left or
                right, as a fraction of the part's side; a pixel at least unless it is 0. None
                leaves its cell.
        """
        self.size = size
        self.channel_shift = channel_shift
        self.augmentation = augmentation
        self.crop = RandomTileCrop(grid, fraction)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Cuts.

        Args:
            images: `[B, C, H, W]`, float in [0, 1].
            generator: CPU generator.

        Returns:
            `[B, n, C, c_h, c_w]`, row by row, in [0, 1].
        """
        batch, channels, height, width = images.shape
        offsets = self.crop.draw((batch, channels, height, width), generator)
        cells = split_grid(images, self.crop.grid)
        part = self.crop.tile_size(height, width)
        if self.channel_shift == 0.0:
            parts = crop_tiles(cells, part, offsets)
        else:
            parts = self._parts_by_channel(cells, part, offsets, generator)
        tiles = resize(parts.flatten(0, 1), self.size)
        return self.augmentation(tiles, generator).unflatten(0, parts.shape[:2])

    def _parts_by_channel(
        self, cells: Tensor, part: tuple[int, int], offsets: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Parts `[B, n, C, h, w]` whose channels lie at places of their own."""
        channels = cells.shape[2]
        places = []
        for axis, side in enumerate(part):
            most = max(1, round(self.channel_shift * side))
            last = cells.shape[3 + axis] - side
            shifts = torch.randint(
                -most, most + 1, (*offsets.shape[:2], channels), generator=generator
            )
            places.append((offsets[:, :, None, axis] + shifts).clamp(0, last))
        alone = cells.flatten(1, 2)[:, :, None]  # (B, n * C, 1, c_h, c_w)
        parts = crop_tiles(alone, part, torch.stack(places, dim=3).flatten(1, 2))
        return parts.unflatten(1, (-1, channels)).squeeze(3)


def put_together(
    tiles: Tensor, permutations: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """The shuffled images.

    Args:
        tiles: `[B, n, C, c_h, c_w]`, row by row.
        permutations: `[B, n]`, int64, a row of the table for each image.
        size: (height, width) to which a mosaic of another size is resized, in pixels.

    Returns:
        `[B, C, g * c_h, g * c_w]`, or of `size`.
    """
    mosaics = merge_grid(permute_tiles(tiles, permutations), math.isqrt(tiles.shape[1]))
    return mosaics if size is None else resize(mosaics, size)
