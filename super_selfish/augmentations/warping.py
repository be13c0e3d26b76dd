"""One sampling grid: rotation, shear, scale, translation and elastic displacement in one pass.

Affine and elastic maps compose into one grid, a single matrix product on a base grid that is
computed once a size, and the image is sampled once: no blur from repeated interpolation.

Coordinates are pixels from the centre of the image, x to the right and y down.
Shapes: `B` samples, `C, H, W` image, `p, q` control points.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GridMode = Literal["nearest", "bilinear", "bicubic"]


def affine_matrices(
    angle_degrees: Tensor,
    translate_xy_fraction: Tensor,
    scale: Tensor,
    shear_xy_degrees: Tensor,
) -> Tensor:
    """Affine maps of image content, composed as torchvision's `affine` does.

    Shear along x, then along y, then scale, rotate, translate; all about the centre.

    Args:
        angle_degrees: `[B]`, clockwise.
        translate_xy_fraction: `[B, 2]`, to the right and down, fraction of width and height.
        scale: `[B]`, above 1 enlarges.
        shear_xy_degrees: `[B, 2]`, along x and along y.

    Returns:
        `[B, 2, 3]`, from input to output: a linear part for pixels and the translation as
        fractions of (width, height), so that the same matrix holds at every resolution.
    """
    angle = torch.deg2rad(angle_degrees)
    tan_x, tan_y = torch.tan(torch.deg2rad(shear_xy_degrees)).unbind(dim=1)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # rotation @ [[1, 0], [-tan_y, 1]] @ [[1, -tan_x], [0, 1]]
    a, c = cos + sin * tan_y, sin - cos * tan_y
    b, d = -a * tan_x - sin, -c * tan_x + cos
    linear = torch.stack((a, b, c, d), dim=1).view(-1, 2, 2)
    return torch.cat((linear, translate_xy_fraction[:, :, None]), dim=2)


def sampling_grid(
    matrices: Tensor | None, displacement: Tensor | None, height: int, width: int
) -> Tensor:
    """Where each output pixel is read, in the coordinates of `grid_sample`.

    Args:
        matrices: `[B, 2, 3]` from `affine_matrices`, float32 or float64.
        displacement: `[B, 2, H, W]`, (dy, dx) in pixels, of the transformed image: the affine map
            acts first.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `[B, H, W, 2]`, (x, y), -1 and 1 at the outer edges of the border pixels.
    """
    if matrices is None:
        if displacement is None:
            raise ValueError("warp needs matrices, a displacement, or both; got neither")
        matrices = torch.eye(2, 3, device=displacement.device, dtype=displacement.dtype)
        matrices = matrices.expand(len(displacement), 2, 3)
    batch = len(matrices)
    sides = matrices.new_tensor([width, height])
    a, b, c, d = matrices[:, :, :2].flatten(1).unbind(dim=1)
    inverse = torch.stack((d, -b, -c, a), dim=1).view(batch, 2, 2)
    inverse = inverse / (a * d - b * c)[:, None, None]
    shift = -inverse @ (matrices[:, :, 2:] * sides[:, None])  # (B, 2, 1), pixels
    # grid_sample counts in half sides.
    backward = torch.cat((inverse, shift), dim=2) * (2.0 / sides)[:, None]
    base = _base_grid(height, width, matrices.device, matrices.dtype)  # (3, H * W)
    grid = backward.reshape(2 * batch, 3) @ base
    grid = grid.view(batch, 2, height * width)
    if displacement is not None:
        xy = displacement.flip(1).flatten(2)  # (B, 2, H * W)
        grid = torch.baddbmm(grid, backward[:, :, :2], xy)
    return grid.view(batch, 2, height, width).permute(0, 2, 3, 1)


@lru_cache(maxsize=16)
def _base_grid(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Rows x, y and one for every pixel, `[3, H * W]`. Shared: never write into it."""
    x = torch.arange(width, device=device, dtype=dtype) - (width - 1) / 2
    y = torch.arange(height, device=device, dtype=dtype) - (height - 1) / 2
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x))).flatten(1)


def warp(
    images: Tensor,
    matrices: Tensor | None = None,
    displacement: Tensor | None = None,
    mode: GridMode = "bilinear",
    fill: float = 0.0,
) -> Tensor:
    """Samples each image once, through an affine map, an elastic displacement or both.

    Output pixel `p` shows `affine(image)[p + displacement[p]]`.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        matrices: `[B, 2, 3]` from `affine_matrices`; `None` for the identity.
        displacement: `[B, 2, H, W]`, (dy, dx) in pixels; `None` for no elastic deformation.
        mode: Interpolation; bicubic results are clamped to [0, 1].
        fill: Value outside of the image, in [0, 1].

    Returns:
        `[B, C, H, W]`, float in [0, 1].

    Raises:
        TypeError: If the images are no floats.
        ValueError: If a shape does not fit the images, or there is nothing to warp with.
    """
    batch, _, height, width = images.shape
    if not images.is_floating_point():
        raise TypeError(f"images must be float in [0, 1], got {images.dtype}: divide by 255 first")
    if matrices is not None and matrices.shape != (batch, 2, 3):
        raise ValueError(f"matrices must be [{batch}, 2, 3], got {[*matrices.shape]}")
    if displacement is not None and displacement.shape != (batch, 2, height, width):
        raise ValueError(
            f"displacement must be [{batch}, 2, {height}, {width}], got {[*displacement.shape]}: "
            "coarse_to_dense upsamples control points"
        )
    # Half precision is too coarse for coordinates: 1/8 pixel at 225.
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    if matrices is not None:
        matrices = matrices.to(images.device, dtype, non_blocking=True)
    if displacement is not None:
        displacement = displacement.to(images.device, dtype, non_blocking=True)
    grid = sampling_grid(matrices, displacement, height, width)
    # Sampling is linear: outside, where it returns zero, subtracting `fill` first leaves `fill`.
    shown = images.to(dtype) - fill if fill else images.to(dtype)
    result = F.grid_sample(shown, grid, mode=mode, padding_mode="zeros", align_corners=False)
    if fill:
        result = result + fill
    if mode == "bicubic":
        result = result.clamp(0.0, 1.0)
    return result.to(images.dtype)
