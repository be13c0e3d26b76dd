"""sRGB to CIE L*a*b* (D65, 2 degree observer) and back.

The numbers are those of `skimage.color`, against which the tests hold them. Both directions are two
linear maps around two power functions; a power function with a straight piece below `t` is written
as `power(max(x, t)) + slope * (min(x, t) - t)`, which needs no mask. Powers are `exp2(p log2 x)`,
five times cheaper than `pow` on a CPU. Always in float32 (or float64), autocast or not, and
differentiable.

Shapes: `B` samples, `C, H, W` image. L* is in 0 ... 100; for sRGB a* is in -86.183 ... 98.233 and
b* in -107.857 ... 94.478.
"""

from __future__ import annotations

import torch
from torch import Tensor

from super_selfish.augmentations.chunks import map_chunks
from super_selfish.augmentations.compiled import compiled_where_wanted

Matrix = tuple[tuple[float, float, float], ...]

# Linear sRGB to XYZ, each row divided by the white point of D65 (X 0.95047, Y 1, Z 1.08883).
RGB_TO_XYZ: Matrix = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
# Its inverse, computed in float64.
XYZ_TO_RGB: Matrix = tuple(
    tuple(row) for row in torch.tensor(RGB_TO_XYZ, dtype=torch.float64).inverse().tolist()
)

# Center and half range of L*, a* and b* (METHODS.md, section 1.3, after the CMC code).
LAB_CENTER = (50.0, 6.025, -6.6895)
LAB_SCALE = (50.0, 92.208, 101.1675)

_GAMMA_LINEAR = 0.04045  # sRGB is a straight line of slope 1 / 12.92 below
_GAMMA_CURVED = 0.0031308  # the same point on the linear side
_CUBE_ROOT_FROM = 0.008856  # CIE: a straight line of slope 7.787 below
_CUBE_FROM = 0.2068966  # the same point on the other side


def rgb_to_lab(images: Tensor) -> Tensor:
    """Converts sRGB to L*a*b*.

    Args:
        images: `[B, 3, H, W]`, float in [0, 1].

    Returns:
        `[B, 3, H, W]`: L* in 0 ... 100, a* and b* in about -108 ... 99.

    Raises:
        ValueError: If the images are not float with three channels.
    """
    return map_chunks(compiled_where_wanted(_rgb_to_lab), _checked(images, "RGB"))


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Converts L*a*b* to sRGB; colours that sRGB does not have are clamped.

    Args:
        lab: `[B, 3, H, W]`, as `rgb_to_lab` returns it.

    Returns:
        `[B, 3, H, W]` in [0, 1].

    Raises:
        ValueError: If the images are not float with three channels.
    """
    return map_chunks(compiled_where_wanted(_lab_to_rgb), _checked(lab, "L*a*b*"))


def normalize_lab(lab: Tensor) -> Tensor:
    """Scales each channel of L*a*b* so that its sRGB range becomes -1 ... 1.

    Args:
        lab: `[B, 3, H, W]`.

    Returns:
        `[B, 3, H, W]`.
    """
    return (lab - _per_channel(LAB_CENTER, lab)) / _per_channel(LAB_SCALE, lab)


def _rgb_to_lab(images: Tensor) -> Tensor:
    # The curve's factor 1.055 ** -2.4 waits for the matrix, and the straight piece is divided by it
    factor = 1.055**2.4
    curve = (images.clamp(min=_GAMMA_LINEAR) + 0.055).log2_().mul_(2.4).exp2_()
    line = images.clamp(max=_GAMMA_LINEAR).sub_(_GAMMA_LINEAR)
    linear = torch.add(curve, line, alpha=factor / 12.92)
    matrix = tuple(tuple(entry / factor for entry in row) for row in RGB_TO_XYZ)
    xyz = _mix(linear, matrix)
    curve = xyz.clamp(min=_CUBE_ROOT_FROM).log2_().mul_(1 / 3).exp2_()
    line = xyz.clamp(max=_CUBE_ROOT_FROM).sub_(_CUBE_ROOT_FROM)
    x, y, z = torch.add(curve, line, alpha=7.787).unbind(1)  # (b, H, W) each
    return torch.stack(((y * 116.0).sub_(16.0), (x - y).mul_(500.0), (y - z).mul_(200.0)), dim=1)


def _lab_to_rgb(lab: Tensor) -> Tensor:
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16.0).mul_(1 / 116.0)
    x = torch.add(y, a, alpha=1 / 500.0)
    z = torch.sub(y, b, alpha=1 / 200.0).clamp_(min=0.0)  # as skimage does, for impossible blues
    roots = torch.stack((x, y, z), dim=1)
    line = roots.clamp(max=_CUBE_FROM).sub_(_CUBE_FROM)
    xyz = torch.add(roots.clamp(min=_CUBE_FROM).pow(3), line, alpha=1 / 7.787)
    linear = _mix(xyz, XYZ_TO_RGB)
    curve = linear.clamp(min=_GAMMA_CURVED).log2_().mul_(1 / 2.4).exp2_()
    line = linear.clamp(max=_GAMMA_CURVED).sub_(_GAMMA_CURVED).mul_(12.92).sub_(0.055)
    return torch.add(line, curve, alpha=1.055).clamp_(0.0, 1.0)


def _mix(images: Tensor, matrix: Matrix) -> Tensor:
    """Multiplies the channels by a 3x3 matrix; matmul would lose digits under autocast and TF32."""
    first, second, third = images.unbind(1)
    rows = [(first * row[0]).add_(second, alpha=row[1]).add_(third, alpha=row[2]) for row in matrix]
    return torch.stack(rows, dim=1)


def _per_channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)


def _checked(images: Tensor, name: str) -> Tensor:
    """The images in at least float32."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"expected float {name} images [B, 3, H, W], got {images.dtype} "
            f"{tuple(images.shape)}: convert uint8 with images / 255"
        )
    return images if images.dtype == torch.float64 else images.float()
