"""Grids of tiles and overlapping patches, for puzzles and for contrastive predictive coding.

Tiles are numbered row by row. What a grid leaves over at the border is cut away, never shown: a
strip of the unshuffled image would give the permutation away.

Shapes: `B` samples, `C, H, W` image, `g` cells a side, `c_h, c_w` cell, `n` tiles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.crops import crop
from super_selfish.augmentations.permutations import maximal_hamming_permutations
from super_selfish.augmentations.resampling import resize

__all__ = [
    "GAP_FRACTION",
    "RandomTileCrop",
    "cell_size",
    "crop_tiles",
    "cut_windows",
    "maximal_hamming_permutations",
    "merge_grid",
    "normalize_tiles",
    "overlapping_patches",
    "permute_tiles",
    "split_grid",
]

GAP_FRACTION = 64 / 75  # of the cell that is shown; Noroozi, Favaro, 2016: 64 of 75 pixels


def cell_size(height: int, width: int, grid: int) -> tuple[int, int]:
    """Height and width of a cell of a `grid` x `grid` puzzle, in pixels.

    Raises:
        ValueError: If the image is smaller than the grid.
    """
    if grid < 1 or min(height, width) < grid:
        raise ValueError(f"a {grid}x{grid} grid needs that many pixels, got {height}x{width}")
    return height // grid, width // grid


def split_grid(images: Tensor, grid: int) -> Tensor:
    """Cuts the centre of each image into `grid` x `grid` tiles.

    Args:
        images: `[B, C, H, W]`.
        grid: Cells a side.

    Returns:
        `[B, g * g, C, c_h, c_w]`, row by row.

    Raises:
        ValueError: If the image is smaller than the grid.
    """
    batch, channels, height, width = images.shape
    cell_height, cell_width = cell_size(height, width, grid)
    top, left = (height - grid * cell_height) // 2, (width - grid * cell_width) // 2
    used = images[:, :, top : top + grid * cell_height, left : left + grid * cell_width]
    cells = used.reshape(batch, channels, grid, cell_height, grid, cell_width)
    cells = cells.permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, grid * grid, channels, cell_height, cell_width)


def merge_grid(tiles: Tensor, grid: int) -> Tensor:
    """Puts tiles side by side; inverse of `split_grid` on the part of the image that it uses.

    Args:
        tiles: `[B, g * g, C, c_h, c_w]`, row by row.
        grid: Cells a side.

    Returns:
        `[B, C, g * c_h, g * c_w]`.

    Raises:
        ValueError: If the number of tiles is not `grid` squared.
    """
    batch, count, channels, height, width = tiles.shape
    if count != grid * grid:
        raise ValueError(f"a {grid}x{grid} grid has {grid * grid} tiles, got {count}")
    cells = tiles.view(batch, grid, grid, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(batch, channels, grid * height, grid * width)


def permute_tiles(tiles: Tensor, permutations: Tensor) -> Tensor:
    """Shuffles tiles: position `i` of the result shows tile `permutations[:, i]`.

    `permute_tiles(shuffled, permutations.argsort(dim=1))` restores the order.

    Args:
        tiles: `[B, n, ...]`.
        permutations: `[B, n]`, int64.

    Returns:
        `[B, n, ...]`.

    Raises:
        ValueError: If there is not one index per tile.
    """
    if permutations.shape != tiles.shape[:2]:
        raise ValueError(
            f"permutations must be {[*tiles.shape[:2]]}, one index per tile, "
            f"got {[*permutations.shape]}"
        )
    permutations = permutations.to(tiles.device, non_blocking=True)
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], permutations]


def crop_tiles(tiles: Tensor, size: int | tuple[int, int], offsets: Tensor) -> Tensor:
    """Cuts a window out of every tile.

    Args:
        tiles: `[B, n, C, c_h, c_w]`.
        size: Of the windows, in pixels.
        offsets: `[B, n, 2]`, int64, top and left inside the tile, in pixels.

    Returns:
        `[B, n, C, h, w]`.
    """
    if offsets.shape != (*tiles.shape[:2], 2):
        raise ValueError(f"offsets must be {[*tiles.shape[:2], 2]}, got {[*offsets.shape]}")
    return crop(tiles.flatten(0, 1), offsets.flatten(0, 1), size).unflatten(0, tiles.shape[:2])


def cut_windows(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Cuts square windows out of images, several out of each, pixel by pixel.

    Args:
        images: `[B, C, H, W]`, any dtype.
        corners: `[B, n, 2]`, int64, top and left of the windows, in pixels. Windows must lie
            inside.
        side: Of the windows, in pixels.

    Returns:
        `[B, n, C, side, side]`, dtype of `images`.
    """
    windows = images.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, tops, lefts, side, side)
    tops, lefts = corners.to(images.device, non_blocking=True).unbind(dim=-1)
    rows = torch.arange(len(images), device=images.device)[:, None]
    return windows[rows, :, tops, lefts]


class RandomTileCrop(Augmentation):
    """Shows a random part of every cell, enlarged to the cell, so that no edge runs on.

    Takes and gives whole images: the tiles come back merged, without the border that the grid
    leaves over. `split_grid` then gets the tiles exactly.
    """

    def __init__(self, grid: int, fraction: float = GAP_FRACTION) -> None:
        """Takes the grid.

        Args:
            grid: Cells a side.
            fraction: Side of the part that is shown, as a fraction of the cell's, in (0, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        if grid < 1:
            raise ValueError(f"grid must be >= 1 cells a side, got {grid}")
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction must be in (0, 1], got {fraction}")
        self.grid = grid
        self.fraction = fraction

    def tile_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the part of a cell that is shown, in pixels."""
        cell_height, cell_width = cell_size(height, width, self.grid)
        return (
            max(1, round(self.fraction * cell_height)),
            max(1, round(self.fraction * cell_width)),
        )

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws `[B, g * g, 2]` int64 offsets, independent for every tile."""
        cell = cell_size(shape[2], shape[3], self.grid)
        tile = self.tile_size(shape[2], shape[3])
        count = (shape[0], self.grid * self.grid)
        offsets = [
            torch.randint(outer - inner + 1, count, generator=generator)
            for outer, inner in zip(cell, tile, strict=True)
        ]
        return torch.stack(offsets, dim=2)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Cuts, enlarges and merges the tiles."""
        height, width = images.shape[-2:]
        tiles = split_grid(images, self.grid)
        parts = crop_tiles(tiles, self.tile_size(height, width), parameters).flatten(0, 1)
        cells = resize(parts, cell_size(height, width, self.grid))
        return merge_grid(cells.unflatten(0, tiles.shape[:2]), self.grid)

    def output_shape(self, shape: Shape) -> Shape:
        """Without the border that the grid leaves over."""
        height, width = cell_size(shape[2], shape[3], self.grid)
        return (*shape[:2], self.grid * height, self.grid * width)


def overlapping_patches(images: Tensor, count: int) -> Tensor:
    """Cuts `count` x `count` patches, each overlapping its neighbours by half.

    Stride S // (count + 1), patch twice that, centred; each axis by itself.

    Args:
        images: `[B, C, H, W]`.
        count: Patches a side.

    Returns:
        `[B, count * count, C, p_h, p_w]`, row by row, image-major.

    Raises:
        ValueError: If the image is too small.
    """
    height, width = images.shape[-2:]
    if count < 1 or min(height, width) <= count:
        raise ValueError(
            f"{count}x{count} half-overlapping patches need at least {count + 1} pixels a side, "
            f"got {height}x{width}"
        )
    for axis, side in ((2, height), (3, width)):
        stride = side // (count + 1)
        used = stride * (count + 1)
        images = images.narrow(axis, (side - used) // 2, used).unfold(axis, 2 * stride, stride)
    return images.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # (B, count, count, ...) before


def normalize_tiles(tiles: Tensor, per_channel: bool = False) -> Tensor:
    """Gives every tile mean 0 and standard deviation 1, in float.

    Brightness and contrast of a tile betray its place (Noroozi, Favaro, 2016, arXiv 1603.09246,
    section 4.2). The result leaves [0, 1].

    Args:
        tiles: `[B, n, C, c_h, c_w]`, float.
        per_channel: Statistics of each channel by itself instead of the whole tile.

    Returns:
        `[B, n, C, c_h, c_w]`. A flat tile becomes zero.
    """
    axes = (3, 4) if per_channel else (2, 3, 4)
    centred = tiles - tiles.mean(dim=axes, keepdim=True)
    deviations = centred.square().mean(dim=axes, keepdim=True).sqrt()
    # A quarter of one grey level in 255: below it there is rounding and no picture.
    return centred / deviations.clamp(min=1e-3)
