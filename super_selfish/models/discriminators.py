"""Networks that tell real from fake, in the manner of DCGAN.

Radford, Metz, Chintala, 2015, arXiv 1511.06434, section 3: strided convolutions instead of pooling,
LeakyReLU of slope 0.2 and batch norm, but no norm "to the discriminator input layer". Last layers
are plain. Batch norm asks for real and fake images in one batch: were each normalised by its own
statistics, these would be hidden from the discriminator at training and seen at evaluation.

Shapes: `B` images, `C, H, W` image, `F` features, `L, i, j` latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 4  # cells a side of the last map, as in DCGAN
SLOPE = 0.2  # of LeakyReLU below zero; DCGAN, section 3


class DiscriminatorFeatures(nn.Module):
    """Convolutions of stride 2 until the map is about 4 x 4, and the cells of that map.

    Shape:
        `[B, C, H, W]` in [0, 1] to `[B, F]`.

    Attributes:
        num_features: `F`.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        channels: Sequence[int] = (64, 128, 256, 512),  # DCGAN for 64 x 64 pixels
        *,
        norm: bool = True,
    ) -> None:
        """Builds the layers.

        Args:
            in_channels: Channels of the images.
            image_size: Height and width, pixels; fixes the number of layers.
            channels: Widths of the layers, the first one next to the image. Small images need
                fewer layers; in larger ones the last width is repeated.
            norm: Whether batch norm follows all layers but the first.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if len(channels) == 0 or min(in_channels, *image_size, *channels) < 1:
            raise ValueError(
                "in_channels, image_size and channels must be >= 1, got "
                f"{in_channels}, {image_size} and {tuple(channels)}"
            )
        halvings = max(int(math.log2(max(min(image_size) / GRID, 1))), 1)
        layers: list[nn.Module] = []
        for depth in range(halvings):
            width = channels[min(depth, len(channels) - 1)]
            has_norm = norm and depth > 0
            layers.append(nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=not has_norm))
            if has_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
            in_channels = width
        self.layers = nn.Sequential(*layers)
        self.num_features = in_channels * GRID * GRID

    def forward(self, images: Tensor) -> Tensor:
        """Describes images, real and fake ones in one batch."""
        maps = self.layers(2 * images - 1)  # [-1, 1], as in DCGAN
        return F.adaptive_avg_pool2d(maps, GRID).flatten(1)


class ImageDiscriminator(nn.Module):
    """Is an image real?

    Shape:
        `[B, C, H, W]` in [0, 1] to logits `[B]`, high for real.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        channels: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        """Builds the network.

        Args:
            in_channels: Channels of the images.
            image_size: Height and width, pixels.
            channels: Widths of the layers, as for `DiscriminatorFeatures`.
        """
        super().__init__()
        self.features = DiscriminatorFeatures(in_channels, image_size, channels)
        self.logits = undecided(self.features.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Judges images, real and fake ones in one batch."""
        return self.logits(self.features(images)).squeeze(1)


class PairDiscriminator(nn.Module):
    """Does a pair of image and latents come from the real image, or from the drawn latents?

    Shape:
        `[B, C, H, W]` in [0, 1] and `[B, L, i, j]` to logits `[B]`, high for real images.
    """

    def __init__(
        self,
        image_features: nn.Module,
        num_features: int,
        num_latents: int,
        hidden: Sequence[int] = (512, 256),  # release 0.0.6: 1024, 256, on fewer features
    ) -> None:
        """Builds the network.

        Args:
            image_features: From images `[B, C, H, W]` to `[B, F]`, for instance
                `DiscriminatorFeatures` or a backbone.
            num_features: `F`.
            num_latents: Numbers in the latents of one image, `L * i * j`.
            hidden: Widths of the layers that see both.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if min(num_features, num_latents, *hidden) < 1:
            raise ValueError(
                "num_features, num_latents and hidden must be >= 1, got "
                f"{num_features}, {num_latents} and {tuple(hidden)}"
            )
        self.image_features = image_features
        layers: list[nn.Module] = []
        width = num_features + num_latents
        for hidden_width in hidden:
            layers += [nn.Linear(width, hidden_width), nn.LeakyReLU(SLOPE, inplace=True)]
            width = hidden_width
        self.layers = nn.Sequential(*layers, undecided(width))

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """Judges pairs, real and fake ones in one batch."""
        features = self.image_features(images)  # (B, F)
        return self.layers(torch.cat([features, latents.flatten(1)], dim=1)).squeeze(1)


def undecided(num_features: int) -> nn.Linear:
    """A last layer whose logits start near 0, so that every cross-entropy starts at log 2.

    As torch draws it, one offset common to all images would favour a player by chance.

    Args:
        num_features: Width of its input, of values of about 1.

    Returns:
        A layer to one logit.
    """
    layer = nn.Linear(num_features, 1)
    nn.init.normal_(layer.weight, std=0.1 / math.sqrt(num_features))
    nn.init.zeros_(layer.bias)
    return layer
