"""Brightness and contrast of tiles, which betray where a tile lies, made the same for all.

Shapes: `B` images, `n` tiles, `C, H, W` image, `c_h, c_w` tile.
"""

from __future__ import annotations

from torch import Tensor, nn

from super_selfish.augmentations.patches import normalize_tiles


def standardize(tiles: Tensor) -> Tensor:
    """Tiles `[B, n, C, c_h, c_w]` with mean 0.5 and standard deviation 0.25 each."""
    return normalize_tiles(tiles) * 0.25 + 0.5


class Standardize(nn.Module):
    """Gives whole images the brightness and contrast that tiles have in training.

    Shape:
        `[B, C, H, W]` to `[B, C, H, W]`.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Standardises each image by itself."""
        return standardize(images[:, None])[:, 0]
