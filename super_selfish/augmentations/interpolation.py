"""Resampling as matrices: per-sample crop, flip and antialiasing in one weight matrix per axis.

Resampling a row of `N` pixels to `M` is linear, so it is a matrix `[M, N]`; a crop shifts the
sample positions, a flip mirrors them, antialiasing widens the kernel.

Shapes: `B` samples, `M` outputs, `N` inputs (pixels along one axis).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Mode = Literal["bilinear", "bicubic"]
MODES = ("bilinear", "bicubic")


def check_mode(mode: str) -> None:
    """Raises a `ValueError` unless `mode` is an interpolation that we know."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")


def interpolation_matrices(
    starts: Tensor,
    lengths: Tensor,
    inputs: int,
    outputs: int,
    flip: Tensor | None = None,
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> Tensor:
    """Weights that resample the interval `[start, start + length)` of an axis to `outputs` pixels.

    Only pixels whose centres lie in the interval are used, and each row sums to one, so the
    result equals cropping first and resizing afterwards. Rows without any pixel are zero.

    Args:
        starts: `[B]`, float, where the interval begins, in pixels.
        lengths: `[B]`, float, its length, in pixels, at least 1.
        inputs: Number of pixels along the axis.
        outputs: Number of pixels wanted.
        flip: `[B]` bool, mirror the interval; `None` for never.
        mode: Triangle kernel or cubic convolution with a = -0.5 (Keys, 1981).
        antialias: Widen the kernel by the scale where the image shrinks.

    Returns:
        `[B, M, N]`, of the dtype and on the device of `starts`.
    """
    dtype, device = starts.dtype, starts.device
    scales = (lengths / outputs)[:, None]  # (B, 1) input pixels per output pixel
    positions = (torch.arange(outputs, dtype=dtype, device=device) + 0.5) * scales  # (B, M)
    if flip is not None:
        positions = torch.where(flip[:, None], lengths[:, None] - positions, positions)
    positions = positions + starts[:, None]
    pixels = torch.arange(inputs, dtype=dtype, device=device) + 0.5  # (N,) centres
    inside = (pixels >= starts[:, None]) & (pixels < (starts + lengths)[:, None])  # (B, N)
    stretch = scales.clamp(min=1.0) if antialias else torch.ones_like(scales)
    # Scaled before the difference: one pass less over the only large tensor.
    distances = ((pixels / stretch)[:, None, :] - (positions / stretch)[:, :, None]).abs_()
    weights = _triangle(distances) if mode == "bilinear" else _cubic(distances)
    weights.mul_(inside[:, None, :])
    totals = weights.sum(dim=2, keepdim=True)
    return weights.div_(torch.where(totals == 0, 1.0, totals))


def _triangle(distances: Tensor) -> Tensor:
    return distances.neg_().add_(1.0).clamp_(min=0.0)


def _cubic(distances: Tensor) -> Tensor:
    near = (1.5 * distances - 2.5) * distances * distances + 1.0  # up to one pixel away
    far = ((-0.5 * distances + 2.5) * distances - 4.0) * distances + 2.0  # one to two pixels
    return torch.where(distances < 1.0, near, torch.where(distances < 2.0, far, 0.0))
