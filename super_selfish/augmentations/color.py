"""Brightness, contrast, saturation, grayscale and hue, with parameters of their own per sample.

All but hue are linear, and of one shape: `x -> f x + (1 - f) target`, with black, the mean gray
level or the pixel's own gray as the target. Whatever their order, such steps compose into

    x -> own * x + gray * gray(x) + mean * mean_gray + offset

whose four numbers a sample (`ColorMatrix`, a 3x4 matrix in short) are composed on the CPU before a
pixel is touched. Contrast's mean gray level transforms along with the pixels, so it needs the mean
of the input only. Hue is a separate step through HSV, exact and without branches.

Definitions and constants are torchvision's (`transforms.v2.functional`, float images). The one
difference: what is composed clamps once at the end, torchvision after every step; `ColorJitter`
composes only what clamping in between would not change.

Channels: three are RGB. With any other number there is no gray and no hue, so saturation, hue and
grayscale leave the images as they are, and contrast pulls towards the mean over all channels.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1]. The hue step writes into buffers
of its own and is not differentiable; the linear ones are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from super_selfish.augmentations.chunks import map_chunks
from super_selfish.augmentations.draws import factors_per_sample

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)  # torchvision's; they add up to 0.9999


@dataclass(frozen=True)
class ColorMatrix:
    """Linear colour operations, composed: one affine map per sample.

    Start from `identity` and chain the operations in the order in which they happen:
    `ColorMatrix.identity(B, 3).brightness(f).saturation(g)`. Composition is arithmetic on a few
    numbers a sample; `apply_color_matrix` is the one pass over the pixels.
    """

    coefficients: Tensor  # (4, B): own, gray, mean, offset of the module docstring
    channels: int

    @classmethod
    def identity(cls, batch: int, channels: int, device: torch.device | None = None) -> ColorMatrix:
        """The map that changes nothing, for `batch` samples of `channels` channels."""
        return cls(torch.eye(4, 1, device=device).repeat(1, batch), channels)

    def brightness(self, factors: Tensor) -> ColorMatrix:
        """Then blends with black. `factors`: `[B]`, 0 is black and 1 the identity."""
        return self.blend(factors, 0.0, 0.0)

    def contrast(self, factors: Tensor) -> ColorMatrix:
        """Then blends with the mean gray level. `factors`: `[B]`, 0 is flat, 1 the identity."""
        return self.blend(factors, 0.0, 1.0)

    def saturation(self, factors: Tensor) -> ColorMatrix:
        """Then blends with the gray image. `factors`: `[B]`, 0 is gray and 1 the identity."""
        return self.blend(factors, 1.0, 0.0) if self.channels == 3 else self

    def grayscale(self, selected: Tensor) -> ColorMatrix:
        """Then turns the `selected` (`[B]`, bool) samples gray."""
        return self.saturation(1.0 - selected.to(self.coefficients))

    def invert(self, selected: Tensor) -> ColorMatrix:
        """Then inverts (`x -> 1 - x`) the `selected` (`[B]`, bool) samples."""
        chosen = selected.to(self.coefficients)
        coefficients = self.coefficients * (1.0 - 2.0 * chosen)
        coefficients[3] += chosen
        return ColorMatrix(coefficients, self.channels)

    def blend(
        self, factors: Tensor, gray_target: Tensor | float, mean_target: Tensor | float
    ) -> ColorMatrix:
        """Then applies `x -> f x + (1 - f) (gray_target * gray(x) + mean_target * mean_gray)`.

        Args:
            factors: `[B]`.
            gray_target: 1 where the blend is with the gray image, else 0; a number or `[B]`.
            mean_target: 1 where it is with the mean gray level, else 0; a number or `[B]`.

        Returns:
            The composed map.
        """
        rows = blended(self.coefficients.unbind(), factors, gray_target, mean_target, self.channels)
        return ColorMatrix(torch.stack(rows), self.channels)


def blended(
    coefficients: Iterable[Any],
    factors: Any,
    gray_target: Any,
    mean_target: Any,
    channels: int,
) -> tuple[Any, Any, Any, Any]:
    """The four coefficients of `ColorMatrix.blend`, of tensors or arrays."""
    weight = sum(GRAY_WEIGHTS) if channels == 3 else 1.0  # gray(x + c) = gray(x) + w c
    own, gray, mean, offset = coefficients
    # Gray level of what we have so far: level * gray(x) + weight * (mean * mean_gray + offset).
    level = own + weight * gray
    to_gray, to_mean = (1.0 - factors) * gray_target, (1.0 - factors) * mean_target
    kept = factors + weight * (to_gray + to_mean)  # of what is the same in all pixels
    return (
        factors * own,
        factors * gray + to_gray * level,
        kept * mean + to_mean * level,
        kept * offset,
    )


def apply_color_matrix(images: Tensor, matrix: ColorMatrix) -> Tensor:
    """Applies composed linear operations and clamps once.

    Args:
        images: `[B, C, H, W]`.
        matrix: For B samples of C channels, on any device.

    Returns:
        `[B, C, H, W]` in [0, 1], a new tensor.

    Raises:
        ValueError: If the matrix is for other images.
    """
    batch, channels = images.shape[:2]
    if matrix.channels != channels or matrix.coefficients.shape[1] != batch:
        raise ValueError(
            f"the color matrix is for {matrix.coefficients.shape[1]} images of {matrix.channels} "
            f"channels, got images of shape {tuple(images.shape)}"
        )
    coefficients = matrix.coefficients.to(images, non_blocking=True)
    return map_chunks(transform_linearly, images, coefficients.T)


def transform_linearly(
    images: Tensor, coefficients: Tensor, output: Tensor | None = None
) -> Tensor:
    """Applies to images `(b, C, H, W)` the maps of `(b, 4)` coefficients.

    The result lies in `output`, which may be `images`; without one it is new, and differentiable.
    """
    own, gray, mean, offset = coefficients.T.reshape(4, -1, 1, 1, 1)
    if images.shape[1] == 3:
        plane = _gray_plane(images)
        shift = plane.mean(dim=(2, 3), keepdim=True) * mean + offset
        plane = plane.mul_(gray).add_(shift)  # (b, 1, H, W)
    else:
        plane = images.mean(dim=(1, 2, 3), keepdim=True) * mean + offset
    return torch.addcmul(plane, images, own, out=output).clamp_(0.0, 1.0)


def _gray_plane(images: Tensor) -> Tensor:
    """Gray level of RGB images, `(B, 1, H, W)`."""
    # Not a matmul: that would fall to half precision under autocast and to TF32 on some GPUs.
    red, green, blue = images.split(1, dim=1)
    weights = GRAY_WEIGHTS
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def to_grayscale(images: Tensor) -> Tensor:
    """Gray images with as many channels as before.

    Args:
        images: `[B, C, H, W]`; without three channels they are returned as they are.

    Returns:
        `[B, C, H, W]`.
    """
    return _gray_plane(images).repeat(1, 3, 1, 1) if images.shape[1] == 3 else images


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiplies every sample by its factor.

    Args:
        images: `[B, C, H, W]`.
        factors: `[B]`, at least 0; 0 is black, 1 the identity.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one factor a sample, or one is negative.
    """
    return (images * factors_per_sample(images, factors)).clamp_(0.0, 1.0)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blends every sample with its mean gray level.

    Args:
        images: `[B, C, H, W]`.
        factors: `[B]`, at least 0; 0 is flat, 1 the identity.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one factor a sample, or one is negative.
    """
    own = factors_per_sample(images, factors)
    gray = _gray_plane(images) if images.shape[1] == 3 else images
    return _blend(images, gray.mean(dim=(1, 2, 3), keepdim=True), own)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blends every sample with its gray version; without three channels, returns the images.

    Args:
        images: `[B, C, H, W]`.
        factors: `[B]`, at least 0; 0 is gray, 1 the identity.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one factor a sample, or one is negative.
    """
    own = factors_per_sample(images, factors)
    return _blend(images, _gray_plane(images), own) if images.shape[1] == 3 else images


def shift_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turns the hue of RGB images by `(b,)` turns.

    With m the smallest and d the largest minus the smallest channel, the angle between a pixel's
    hue and red is `(g + b - r + max - 2 m) / 6d` turns, positive on green's side. A channel of the
    turned pixel is `m + d * clamp(2 - 6 * distance, 0, 1)`, distance in turns to its own hue.
    """
    red, green, blue = images.unbind(1)  # (b, H, W) each
    low = torch.minimum(red, green)
    torch.minimum(low, blue, out=low)
    chroma = torch.maximum(red, green)
    torch.maximum(chroma, blue, out=chroma)
    hue = (green + blue).sub_(red).add_(chroma).sub_(low, alpha=2.0)
    # Gray pixels have no hue: any finite one will do, as it is multiplied by the chroma again.
    chroma.sub_(low).clamp_(min=torch.finfo(images.dtype).eps ** 2)
    hue.div_(chroma).copysign_(green - blue)
    torch.add((shifts + 1.0).view(-1, 1, 1), hue, alpha=1 / 6, out=hue)
    hue.frac_()  # in [0, 1): red at 0 and 1

    output = torch.empty_like(images)
    channels = output.unbind(1)
    # Red is at both ends of [0, 1), so it measures the distance to its opposite, 1/2.
    for channel, center in zip(channels, (1 / 2, 1 / 3, 2 / 3), strict=True):
        torch.sub(hue, center, out=channel)
    output.abs_().clamp_(1 / 6, 1 / 3)  # 6 d times this is in [d, 2d]
    lowest = torch.sub(low, chroma, out=hue)
    torch.addcmul(lowest, channels[0], chroma, value=6.0, out=channels[0])  # m - d + ...
    highest = low.add_(chroma, alpha=2.0)
    for channel in channels[1:]:
        torch.addcmul(highest, channel, chroma, value=-6.0, out=channel)  # m + 2d - ...
    return output


def _blend(images: Tensor, target: Tensor, own: Tensor) -> Tensor:
    """`own * images + (1 - own) * target`, clamped; overwrites the target."""
    return (images * own).add_(target.mul_(1.0 - own)).clamp_(0.0, 1.0)
