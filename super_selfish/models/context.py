"""What looks at a grid of latents in one direction and foretells those that lie further that way.

A direction is a way of holding the grid: it is turned until what shall be foretold lies below, and
every network here knows one rule only: a row sees itself and the rows above.

Shapes: `B` images, `D` latents, `E` embedding, `K` offsets, `n` cells a side of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIRECTIONS = ("down", "up", "right", "left")  # where that lies which is foretold


class GridPredictions(NamedTuple):
    """What every direction foretells, and what there was to foretell."""

    predictions: Tensor  # (4, B, K, E, n, n), at the cell that foretells, in the direction's grid
    targets: Tensor  # (B, E, n, n), in the grid of the image


def turn_grid(grid: Tensor, direction: str) -> Tensor:
    """Holds a square grid so that a direction of the image points downwards.

    Args:
        grid: `[..., n, n]`, rows and columns of the image.
        direction: One of `DIRECTIONS`.

    Returns:
        `[..., n, n]`.

    Raises:
        ValueError: If there is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction is one of {', '.join(DIRECTIONS)}, got {direction!r}")
    if direction in ("right", "left"):
        grid = grid.transpose(-1, -2)
    return grid.flip(-2) if direction in ("up", "left") else grid


class CausalConv2d(nn.Conv2d):
    """A 3x3 convolution without its lower row: a cell sees its own row and the one above.

    Shape:
        `[B, D, h, w]` to `[B, D', h, w]`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Args: in_channels: `D`. out_channels: `D'`."""
        super().__init__(in_channels, out_channels, kernel_size=(2, 3))

    def forward(self, grid: Tensor) -> Tensor:
        """Convolves; a row of zeros lies above the grid, a column on either side."""
        return super().forward(F.pad(grid, (1, 1, 1, 0)))


class ContextNetwork(nn.Sequential):
    """Four causal convolutions with ReLU between them: a cell sees four rows back (release 0.0.6).

    There is no norm, which would mix the rows, and nothing after the last layer.

    Shape:
        `[B, D, n, n]` to `[B, out_channels, n, n]`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 128,  # release 0.0.6
        hidden: Sequence[int] = (256, 256, 128),  # release 0.0.6
    ) -> None:
        """Builds the layers.

        Args:
            in_channels: `D`.
            out_channels: Width of the context.
            hidden: Widths of the layers before the last.
        """
        layers: list[nn.Module] = []
        width = in_channels
        for hidden_width in hidden:
            layers += [CausalConv2d(width, hidden_width), nn.ReLU(inplace=True)]
            width = hidden_width
        super().__init__(*layers, CausalConv2d(width, out_channels))


class _ResidualBlock(nn.Sequential):
    """What is added to the latents: a cell sees its own row, three columns, and the row above."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1)),
            nn.ZeroPad2d((0, 0, 1, 0)),
            nn.Conv2d(hidden, hidden, (2, 1)),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )


class ResidualContextNetwork(nn.Module):
    """The paper's context: five residual blocks, each of which sees one row further back.

    Henaff et al., 2019, arXiv 1905.09272, appendix, pseudo-code of the masked network. There is no
    norm, which would mix the rows.

    Shape:
        `[B, D, n, n]` to `[B, D, n, n]`, none of it negative.
    """

    def __init__(self, in_channels: int, hidden: int = 256, num_blocks: int = 5) -> None:
        """Builds the blocks.

        Args:
            in_channels: `D`.
            hidden: Channels within a block.
            num_blocks: How many.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if min(in_channels, hidden, num_blocks) < 1:
            raise ValueError(
                "in_channels, hidden and num_blocks must be >= 1, "
                f"got {in_channels}, {hidden} and {num_blocks}"
            )
        self.blocks = nn.ModuleList(_ResidualBlock(in_channels, hidden) for _ in range(num_blocks))

    def forward(self, latents: Tensor) -> Tensor:
        """Adds what each block makes of the latents so far."""
        for block in self.blocks:
            latents = latents + block(latents)
        return latents.relu()


class GridPredictor(nn.Module):
    """Foretells embeddings of latents some cells ahead, in four directions (CPC v2).

    Every direction has a context network and a linear head for each offset of its own; the linear
    head of the targets is shared. Henaff et al., 2019, arXiv 1905.09272, section 3.

    Shape:
        `[B, D, n, n]` to `GridPredictions`.
    """

    wants_whole_batch = True  # in its output images are the second dimension

    def __init__(
        self,
        in_channels: int,
        embedding_size: int = 64,
        num_offsets: int = 1,
        context_size: int = 128,
        context: Literal["plain", "residual"] = "plain",
    ) -> None:
        """Builds the networks.

        Args:
            in_channels: `D`.
            embedding_size: `E`.
            num_offsets: `K`.
            context_size: Channels of the contexts; of residual ones within their blocks.
            context: `"plain"` for a `ContextNetwork`, `"residual"` for the paper's.

        Raises:
            ValueError: If there is no such context.
        """
        super().__init__()
        if context not in ("plain", "residual"):
            raise ValueError(f'context must be "plain" or "residual", got {context!r}')
        kind = ContextNetwork if context == "plain" else ResidualContextNetwork
        width = context_size if context == "plain" else in_channels
        self.contexts = nn.ModuleList(kind(in_channels, context_size) for _ in DIRECTIONS)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, num_offsets * embedding_size, 1) for _ in DIRECTIONS
        )
        self.target_head = nn.Conv2d(in_channels, embedding_size, 1)
        self.num_offsets = num_offsets

    def forward(self, latents: Tensor) -> GridPredictions:
        """Foretells from latents `[B, D, n, n]`."""
        predictions = [
            head(context(turn_grid(latents, direction))).unflatten(1, (self.num_offsets, -1))
            for direction, context, head in zip(DIRECTIONS, self.contexts, self.heads, strict=True)
        ]
        return GridPredictions(torch.stack(predictions), self.target_head(latents))
