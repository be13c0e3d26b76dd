"""What lies between a feature map and a decoder.

A bottleneck has a grid of a fixed number of cells, to which the map is pooled: its size, and that
of what follows, does not depend on that of the image.

Shapes: `B` images, `D` features, `h, w` map, `L` latent channels, `i, j` grid, `N = i * j` cells.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_GRID = 8  # cells a side: the map of a network of stride 32 for images of 225 pixels


def bottleneck_grid(
    height: int | None, width: int | None, largest: int = LARGEST_GRID
) -> tuple[int, int]:
    """The grid of a bottleneck: that of the map, up to a largest one.

    Args:
        height: Of the map, or None if there is none.
        width: Of the map, or None.
        largest: Most cells a side.

    Returns:
        Rows and columns.
    """
    return min(height or 1, largest), min(width or 1, largest)


class ChannelwiseLinear(nn.Module):
    """A fully connected layer over the cells of a map, another one for each channel.

    Pathak et al., 2016, arXiv 1604.07379, section 3.1: it "is essentially a fully-connected layer
    with groups, intended to propagate information within activations of each feature map". A
    network that only convolves cannot carry what it sees at one border to the other.

    Shape:
        `[B, D, h, w]`, pooled to the grid, to `[B, D, i, j]`.
    """

    wants_map = True

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        """Builds the layer: `channels` matrices of `N x N`.

        Args:
            channels: Channels of the map, `D`.
            grid: Rows and columns.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if min(channels, *grid) < 1:
            raise ValueError(f"channels and grid must be >= 1, got {channels} and {grid}")
        self.grid = grid
        cells = grid[0] * grid[1]
        self.weight = nn.Parameter(torch.empty(channels, cells, cells))  # (D, N from, N to)
        self.bias = nn.Parameter(torch.empty(channels, cells))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights and biases from U(-1, 1) / sqrt(N), as torch does for a linear layer."""
        bound = 1 / math.sqrt(self.bias.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Mixes the cells of each channel."""
        cells = F.adaptive_avg_pool2d(features, self.grid).flatten(2)  # (B, D, N)
        mixed = torch.baddbmm(self.bias[:, None], cells.transpose(0, 1), self.weight)  # (D, B, N)
        return mixed.transpose(0, 1).unflatten(2, self.grid)

    def extra_repr(self) -> str:
        """Shows channels and grid."""
        return f"channels={len(self.bias)}, grid={self.grid}"


class LatentMap(nn.Module):
    """Latents in (-1, 1) on a grid: pooling, a 3x3 convolution, batch norm, tanh.

    The norm is over the batch, of every latent by itself, and has no weights: it gives each a
    standard deviation of about 0.6, near the 0.58 of numbers drawn from U(-1, 1). Without it, the
    latents of a network that has learned nothing hardly differ from image to image.

    Shape:
        `[B, D, h, w]` to `[B, L, i, j]`.
    """

    wants_map = True

    def __init__(self, in_channels: int, channels: int, grid: tuple[int, int]) -> None:
        """Builds the layers.

        Args:
            in_channels: Channels of the map, `D`.
            channels: Channels of the latents, `L`.
            grid: Rows and columns.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if min(in_channels, channels, *grid) < 1:
            raise ValueError(
                f"in_channels, channels and grid must be >= 1, got {in_channels}, {channels} and "
                f"{grid}"
            )
        self.grid = grid
        self.convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels * grid[0] * grid[1], affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """Squeezes a map into latents."""
        latents = self.convolution(F.adaptive_avg_pool2d(features, self.grid))
        return self.norm(latents.flatten(1)).view_as(latents).tanh()
