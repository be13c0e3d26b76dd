"""Per-channel normalisation of images, as a module whose constants are buffers.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

import torch
from torch import Tensor, nn

# ImageNet's statistics of RGB in [0, 1]; METHODS.md 1.3.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Their means over the three colours: for images that have another number of channels.
GRAY_MEAN = 0.449
GRAY_STD = 0.226


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation, per channel.

    The constants are buffers: they follow `.to()` and are kept in checkpoints.

    Shape:
        `[B, C, H, W]` or `[C, H, W]` to the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Takes one number per channel.

        Args:
            mean: Mean of each channel, in the units of the images ([0, 1]).
            std: Standard deviation of each channel, above 0.

        Raises:
            ValueError: If the lengths differ, are 0, or a standard deviation is not above 0.
        """
        super().__init__()
        if len(mean) != len(std) or len(mean) == 0:
            raise ValueError(
                f"mean and std need one number per channel each, got {len(mean)} and {len(std)}"
            )
        if min(std) <= 0:
            raise ValueError(f"every std must be > 0, got {tuple(std)}")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(-1, 1, 1))

    @classmethod
    def imagenet(cls, channels: int = 3) -> Normalize:
        """ImageNet's constants; their mean over the colours where there are not three channels.

        Args:
            channels: Number of channels of the images.
        """
        if channels == 3:
            return cls(IMAGENET_MEAN, IMAGENET_STD)
        return cls((GRAY_MEAN,) * channels, (GRAY_STD,) * channels)

    def forward(self, images: Tensor) -> Tensor:
        """Normalises images.

        Args:
            images: `[B, C, H, W]` or `[C, H, W]`, float in [0, 1].

        Returns:
            Images of the same shape, about mean 0 and standard deviation 1.

        Raises:
            ValueError: If the number of channels is another one than that of the constants.
        """
        if images.ndim < 3 or images.shape[-3] != self.mean.shape[0]:
            raise ValueError(
                f"expected images of {self.mean.shape[0]} channels, [B, C, H, W], "
                f"got {list(images.shape)}"
            )
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Shows the constants."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


def build_normalize(
    normalize: str | tuple[Sequence[float], Sequence[float]] | None, channels: int
) -> nn.Module:
    """The module that a `normalize=` argument means.

    Args:
        normalize: `"imagenet"`, a pair `(mean, std)` with one number per channel, or `None`.
        channels: Number of channels of the images.

    Returns:
        A `Normalize`, or the identity for `None`.

    Raises:
        ValueError: If the word is unknown or the constants do not fit the channels.
        TypeError: If it is neither a word nor a pair.
    """
    if normalize is None:
        return nn.Identity()
    expected = f'normalize is "imagenet", a pair (mean, std) or None, got {normalize!r}'
    if isinstance(normalize, str):
        if normalize != "imagenet":
            raise ValueError(expected)
        return Normalize.imagenet(channels)
    if not isinstance(normalize, (tuple, list)) or len(normalize) != 2:
        raise TypeError(expected)
    mean, std = normalize
    if not (isinstance(mean, Sized) and isinstance(std, Sized)):
        raise TypeError(f"{expected}; mean and std are sequences of one number per channel")
    if len(mean) != channels:
        raise ValueError(
            f"the images have {channels} channels, but normalize has {len(mean)} means: "
            "give one number per channel"
        )
    return Normalize(mean, std)
