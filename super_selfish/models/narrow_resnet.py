"""A residual network small enough to learn something in minutes on a processor core.

Shapes: `B` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# With fewer, the gradient of a channels-last 1x1 convolution of stride 2 ends the process where the
# map is large: torch 2.14, on CPUs with AVX-512 below 16, with AVX2 below 8.
FEWEST_CHANNELS_LAST = 16


class NarrowResNet(nn.Module):
    """Four residual blocks of `width` to `8 * width` channels, for images of 32 to 96 pixels.

    The basic blocks of He et al., 2015, arXiv 1512.03385, behind one convolution of stride 2. It
    eats images in [0, 1] and centres them.

    Attributes:
        width: Channels of the first block.
        name: `"narrow-resnet"` of the width that `build_backbone` gives it by this name; else None.
        num_features: `D`, `8 * width`.
    """

    def __init__(self, in_channels: int = 3, width: int = 32) -> None:
        """Builds the layers.

        Args:
            in_channels: Channels of the images.
            width: Channels of the first block.

        Raises:
            ValueError: If a number is below 1.
        """
        if in_channels < 1 or width < 1:
            raise ValueError(f"in_channels and width must be >= 1, got {in_channels}, {width}")
        super().__init__()
        self.width = width
        self.name = "narrow-resnet" if width == 32 else None
        self.num_features = 8 * width
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = [Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
        self.blocks = nn.Sequential(*blocks)
        if width >= FEWEST_CHANNELS_LAST:
            self.to(memory_format=torch.channels_last)  # 1.4 times as fast on a CPU

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps `[B, D, H / 16, W / 16]`."""
        features: Tensor = self.blocks(self.stem(images - 0.5))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Vectors `[B, D]`."""
        return self.forward_features(images).mean(dim=(2, 3))


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        """Takes the channels before and after, and the stride of the first convolution."""
        super().__init__()
        self.first = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width_out)
        self.second = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, width_in, H, W]` to `[B, width_out, H / stride, W / stride]`."""
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))
