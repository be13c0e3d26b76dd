"""Crops and flips that move pixels and never mix them.

Shapes: `B` samples, `C, H, W` image, `h, w` size of the window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape

Size = int | tuple[int, int]


def as_size(size: Size) -> tuple[int, int]:
    """Height and width from one number or a pair.

    Raises:
        ValueError: If a side is not positive.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be a positive number of pixels or (height, width), got {size}")
    return height, width


def check_probability(name: str, p: float) -> None:
    """Raises a `ValueError` unless `p` is in [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name} is a probability in [0, 1], got {p}")


def crop(images: Tensor, offsets: Tensor, size: Size) -> Tensor:
    """Cuts a window out of each image, pixel by pixel.

    Args:
        images: `[B, C, H, W]`, any dtype.
        offsets: `[B, 2]`, int, top and left of the windows, in pixels. Windows must lie inside.
        size: Of the windows, in pixels.

    Returns:
        `[B, C, h, w]`, dtype of `images`.

    Raises:
        ValueError: If the window is larger than the image or there is not one offset per image.
    """
    height, width = as_size(size)
    if height > images.shape[-2] or width > images.shape[-1]:
        raise ValueError(
            f"a {height}x{width} window does not fit into a {images.shape[-2]}x{images.shape[-1]} "
            "image: pad the image or ask for less"
        )
    if offsets.shape != (len(images), 2):
        raise ValueError(f"offsets must be [{len(images)}, 2], got {[*offsets.shape]}")
    offsets = offsets.to(images.device, non_blocking=True)
    samples = torch.arange(len(images), device=images.device)
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, tops, lefts, h, w), a view
    return windows[samples, :, offsets[:, 0], offsets[:, 1]]


def horizontal_flip(images: Tensor, flip: Tensor) -> Tensor:
    """Mirrors left and right where asked.

    Args:
        images: `[B, C, H, W]`, any dtype.
        flip: `[B]`, bool.

    Returns:
        `[B, C, H, W]`.
    """
    flip = flip.to(images.device, non_blocking=True)
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


class RandomCrop(Augmentation):
    """Cuts out a window at a random place, after padding with black."""

    def __init__(self, size: Size, padding: int = 0) -> None:
        """Args: size: Of the window, in pixels. padding: Black border to add first, in pixels."""
        if padding < 0:
            raise ValueError(f"padding must be >= 0 pixels, got {padding}")
        self.size = as_size(size)
        self.padding = padding

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws `[B, 2]` int64 corners, uniform over the windows that fit."""
        spaces = [
            side + 2 * self.padding - window + 1
            for side, window in zip(shape[2:], self.size, strict=True)
        ]
        if min(spaces) < 1:
            raise ValueError(
                f"a {self.size[0]}x{self.size[1]} window does not fit into a {shape[2]}x{shape[3]} "
                f"image with {self.padding} pixels of padding: use a smaller size"
            )
        places = [torch.randint(space, (shape[0],), generator=generator) for space in spaces]
        return torch.stack(places, dim=1)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Pads and cuts."""
        if self.padding > 0:
            images = F.pad(images, (self.padding,) * 4)
        return crop(images, parameters, self.size)

    def output_shape(self, shape: Shape) -> Shape:
        """The size asked for."""
        return (*shape[:2], *self.size)


class RandomHorizontalFlip(Augmentation):
    """Mirrors each sample left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        """Args: p: Probability, in [0, 1]."""
        check_probability("p", p)
        self.p = p

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws who is mirrored, `[B]` bool."""
        return torch.rand(shape[0], generator=generator) < self.p

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Mirrors the drawn samples."""
        return horizontal_flip(images, parameters)
