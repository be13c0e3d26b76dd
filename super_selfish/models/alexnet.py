"""AlexNet with batch norm: five convolutions, which pretext tasks were compared on for years.

Shapes: `B` images, `C, H, W` image, `D` features, `h, w` map, `gh, gw` grid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.dry_run import feature_shape
from super_selfish.models.stems import resnet_stem

NAME = "alexnet-bn"
WIDTHS = (64, 192, 384, 256, 256)  # Krizhevsky, 2014, as torchvision has it
GRID = 6  # cells a side that images of 224 pixels leave
# Side, stride and padding of the first convolution, pixels.
_FIRST = {"imagenet": (11, 4, 2), "medium": (5, 2, 2), "small": (3, 1, 1)}
_POOLED = (0, 1, 4)  # convolutions behind which maps are halved


class AlexNet(nn.Module):
    """The five convolutions of AlexNet, each with batch norm, and dropout on what they give.

    Krizhevsky, 2014, arXiv 1404.5997 (one column instead of the two of 2012), with the batch norm
    that those who pretrain it have put in. The maps are averaged over a grid of cells, which are
    laid side by side: a vector keeps where things are. Fully connected layers are the head's, so
    the network ends in the dropout before the first of them.

    `freeze_until(network, "blocks.3")` freezes it up to the third convolution, and the protocol
    "finetune-from-blocks.3" rates it so.

    Attributes:
        name: `"alexnet-bn"`.
        stem: How it begins: `"imagenet"`, `"medium"` or `"small"`.
        first_layers: The same in words, where that is not as published; else None.
        grid: `(gh, gw)`.
        blocks: A convolution, batch norm and ReLU each, some with a pooling.
    """

    def __init__(
        self,
        in_channels: int = 3,
        stem: str = "imagenet",
        grid: tuple[int, int] = (GRID, GRID),
        dropout: float = 0.5,  # Krizhevsky, Sutskever and Hinton, 2012, section 4.2
    ) -> None:
        """Builds the layers.

        Args:
            in_channels: Channels of the images.
            stem: `"imagenet"` for the published first convolution, 11x11 of stride 4; `"medium"`
                for 5x5 of stride 2, `"small"` for 3x3 of stride 1.
            grid: Cells that the map is averaged over, along height and width.
            dropout: Probability that a feature is zero in training; maps have none.

        Raises:
            ValueError: If a number is below 1, `dropout` outside [0, 1), or there is no such stem.
        """
        super().__init__()
        if min(in_channels, *grid) < 1:
            raise ValueError(
                f"in_channels and the sides of grid must be >= 1, got {in_channels}, {grid}"
            )
        if stem not in _FIRST:
            raise ValueError(f"stem is one of {', '.join(map(repr, _FIRST))}, got {stem!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")
        self.name, self.stem = NAME, stem
        self.in_channels, self.grid = in_channels, (grid[0], grid[1])
        side, stride, _ = _FIRST[stem]
        words = f"a {side}x{side} convolution of stride {stride}"
        self.first_layers = None if stem == "imagenet" else words
        shapes = [_FIRST[stem], (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
        blocks, width = [], in_channels
        for place, (channels, (side, stride, padding)) in enumerate(
            zip(WIDTHS, shapes, strict=True)
        ):
            layers: list[nn.Module] = [
                nn.Conv2d(width, channels, side, stride, padding, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            if place in _POOLED:
                layers.append(Halving(keeps_border=stem != "imagenet"))
            blocks.append(nn.Sequential(*layers))
            width = channels
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)

    @property
    def num_features(self) -> int:
        """`D`, 256 for each cell of the grid."""
        return WIDTHS[-1] * self.grid[0] * self.grid[1]

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps `[B, 256, h, w]`, a 32nd of the side as published, a 16th or an 8th otherwise."""
        features: Tensor = self.blocks(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Vectors `[B, D]`: the cells of the grid one after the other, channel by channel."""
        cells = F.adaptive_avg_pool2d(self.forward_features(images), self.grid)
        vectors: Tensor = self.dropout(cells.flatten(1))
        return vectors


class Halving(nn.Module):
    """Max-pooling of 3x3 and stride 2 that leaves something of maps of any size."""

    def __init__(self, *, keeps_border: bool) -> None:
        """Takes whether half a side is rounded up, where AlexNet cuts the border off."""
        super().__init__()
        self.keeps_border = keeps_border

    def forward(self, maps: Tensor) -> Tensor:
        """`[B, C, h, w]` to about `[B, C, h / 2, w / 2]`, at least 1x1."""
        height, width = (int(self.keeps_border or side < 3) for side in maps.shape[-2:])
        return F.max_pool2d(maps, 3, 2, (height, width))


def alexnet_for(in_channels: int, image_size: tuple[int, int], stem: str = "auto") -> AlexNet:
    """An AlexNet whose first layer and grid suit the images.

    Args:
        in_channels: Channels of the images.
        image_size: Height and width of the images, pixels.
        stem: As for `AlexNet`; `"auto"` is `"small"` up to 64 pixels, `"medium"` below 128.

    Returns:
        A network with a grid of as many cells as its map has, at most six a side.

    Raises:
        ValueError: If there is no such stem.
    """
    chosen = resnet_stem(stem, image_size)
    built = AlexNet(in_channels, chosen)
    shape = feature_shape(built, in_channels, image_size, of_map=True)
    height, width = shape.map_size
    built.grid = (min(GRID, height), min(GRID, width))
    return built
