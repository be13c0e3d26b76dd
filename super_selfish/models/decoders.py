"""From a feature map back to an image.

Shapes: `B` images, `D` features, `h, w` map, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageDecoder(nn.Module):
    """Transposed convolutions that double the map until it covers the image.

    Every layer is a transposed convolution of kernel 4, stride 2, padding 1 (DCGAN, Radford et
    al., 2015, arXiv 1511.06434); hidden ones are followed by batch norm and ReLU, the last one is
    plain, so that it can give every value. There are no skip connections: with them a
    reconstruction is trivial.

    Attributes:
        doublings: Number of transposed convolutions.
    """

    wants_map = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (256, 256, 128, 64),
        *,
        size: tuple[int, int] | None = None,
        map_size: tuple[int, int] | None = None,
        start: float = 0.0,
    ) -> None:
        """Builds the decoder.

        Args:
            in_channels: Channels of the map.
            out_channels: Channels of the image.
            channels: Widths of the hidden layers, the last one next to the image. With fewer
                layers than widths the last widths are used; with more the first one is repeated.
            size: Height and width of the image, to which the result is resized exactly (bilinear);
                `None` keeps what the doublings give.
            map_size: Height and width of the map. With `size` it fixes the number of doublings,
                `ceil(log2(size / map_size))` of the axis that needs more; without one of them
                there are `len(channels) + 1`.
            start: About what it gives before it has learned anything: 0.5 for pixels in [0, 1],
                0 for logits. As torch draws the last layer, learning to be silent came first.

        Raises:
            ValueError: If a number is below 1 or there is no hidden width.
        """
        super().__init__()
        if min(in_channels, out_channels, *channels) < 1 or len(channels) == 0:
            raise ValueError(
                "in_channels, out_channels and channels must be >= 1, got "
                f"{in_channels}, {out_channels} and {tuple(channels)}"
            )
        if min(*(size or (1, 1)), *(map_size or (1, 1))) < 1:
            raise ValueError(f"sizes must be >= 1, got size {size} and map_size {map_size}")
        self.size = size
        self.doublings = len(channels) + 1
        if size is not None and map_size is not None:
            ratio = max(size[0] / map_size[0], size[1] / map_size[1])
            self.doublings = max(math.ceil(math.log2(ratio)), 0)
        layers = _layers(in_channels, out_channels, channels, self.doublings)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
            layers[-1].bias.fill_(start)
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Decodes `[B, D, h, w]` to `[B, C, H, W]`."""
        images = self.layers(features)
        if self.size is not None and tuple(images.shape[-2:]) != tuple(self.size):
            images = F.interpolate(images, size=self.size, mode="bilinear", align_corners=False)
        return images


def _layers(
    in_channels: int, out_channels: int, channels: Sequence[int], doublings: int
) -> list[Any]:
    if doublings == 0:  # the map is as large as the image already
        return [nn.Conv2d(in_channels, out_channels, 3, padding=1)]
    num_hidden = doublings - 1
    repeated = [channels[0]] * max(num_hidden - len(channels), 0)
    widths = [*repeated, *channels[len(channels) - min(num_hidden, len(channels)) :]]
    layers: list[Any] = []
    for width in widths:
        layers += [
            nn.ConvTranspose2d(in_channels, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        in_channels = width
    return [*layers, nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)]
