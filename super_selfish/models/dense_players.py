"""Players of full connection, for small images.

Donahue, Krähenbühl and Darrell, 2016, arXiv 1605.09782, have such for MNIST, of 784 pixels: with
bare pixels for the discriminator and two hidden layers in each.

Shapes: `B` images, `C, H, W` image, `L, i, j` latents.
"""

from __future__ import annotations

import math

from torch import nn

from super_selfish.models.discriminators import PairDiscriminator
from super_selfish.models.normalize import Normalize

HIDDEN = (256, 512)  # of a generator, the last one next to the image


class DenseGenerator(nn.Sequential):
    """Images of latents: FC, batch norm, ReLU twice, then FC and a sigmoid.

    Shape:
        `[B, L, i, j]` to `[B, C, H, W]` in (0, 1).
    """

    def __init__(self, num_latents: int, shape: tuple[int, int, int]) -> None:
        """Builds the layers.

        Args:
            num_latents: Numbers in the latents of one image, `L * i * j`.
            shape: `(C, H, W)`.

        Raises:
            ValueError: If a number is below 1.
        """
        if min(num_latents, *shape) < 1:
            raise ValueError(f"num_latents and shape must be >= 1, got {num_latents} and {shape}")
        layers: list[nn.Module] = [nn.Flatten()]
        width = num_latents
        for hidden in HIDDEN:
            layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        super().__init__(
            *layers, nn.Linear(width, math.prod(shape)), nn.Sigmoid(), nn.Unflatten(1, shape)
        )


def dense_discriminator(num_latents: int, shape: tuple[int, int, int]) -> PairDiscriminator:
    """A discriminator of pairs of bare pixels, brought to [-1, 1], and latents.

    Args:
        num_latents: Numbers in the latents of one image, `L * i * j`.
        shape: `(C, H, W)` of images in [0, 1].
    """
    half = [0.5] * shape[0]
    pixels = nn.Sequential(Normalize(half, half), nn.Flatten())
    return PairDiscriminator(pixels, math.prod(shape), num_latents)
