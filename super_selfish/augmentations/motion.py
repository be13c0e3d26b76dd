"""What moves between two frames: displacement by matching blocks, without what the camera did.

Pathak, Girshick, Dollár, Darrell, Hariharan, 2017, "Learning Features by Watching Objects Move",
arXiv 1612.06370, take masks of an unsupervised method on optical flow; here is a simpler one.

Shapes: `B` pairs, `C, H, W` frame, `h, w` grid of displacements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Flow = Callable[[Tensor, Tensor], Tensor]  # [B, C, H, W] twice to [B, 2, h, w], rows and columns

LONGEST = 64  # cells of the longer side of the grid
STILL = 0.02  # of the shorter side: whoever moves less does not move
NEAR = 0.002  # of grey, for each cell of distance: of equal matches the nearest counts


class Motion(NamedTuple):
    """How much of each place moves by itself."""

    share: Tensor  # (B, 1, H, W) in [0, 1]: of what most moves
    is_usable: Tensor  # (B,) bool: some of it moves, and not nearly all


def block_flow(first: Tensor, second: Tensor, reach: float = 0.125, window: int = 5) -> Tensor:
    """Displacements of blocks from one frame to the next, in whole cells.

    Every cell goes where its surroundings are most alike: least mean absolute difference of grey.

    Args:
        first: `[B, C, H, W]`, float in [0, 1].
        second: The later frames.
        reach: Largest displacement, as a fraction of the shorter side.
        window: Side of the blocks, in cells.

    Returns:
        `[B, 2, h, w]`, rows and columns, as fractions of the shorter side.
    """
    height, width = first.shape[-2:]
    scale = min(1.0, LONGEST / max(height, width))
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    gray_first, gray_second = (
        F.adaptive_avg_pool2d(frames.mean(dim=1, keepdim=True), size) for frames in (first, second)
    )
    radius = max(1, round(reach * min(size)))
    padded = F.pad(gray_second, (radius,) * 4, mode="replicate")
    least = torch.full_like(gray_first, torch.inf)
    flow = torch.zeros(len(first), 2, *size, device=first.device, dtype=first.dtype)
    for rows in range(-radius, radius + 1):
        for columns in range(-radius, radius + 1):
            top, left = radius + rows, radius + columns
            moved = padded[..., top : top + size[0], left : left + size[1]]
            cost = F.avg_pool2d(
                (gray_first - moved).abs(), window, 1, window // 2, count_include_pad=False
            )
            cost = cost + NEAR * (rows**2 + columns**2) ** 0.5
            is_less = cost < least
            least = torch.where(is_less, cost, least)
            here = flow.new_tensor([rows, columns]).view(1, 2, 1, 1)
            flow = torch.where(is_less, here, flow)
    return flow / min(size)


def without_camera(flow: Tensor, rounds: int = 8) -> Tensor:
    """What is left of displacements without the affine motion that most of the image has.

    A least-squares fit, whose residuals decide the weights of the next one, so that what moves by
    itself ceases to count (Cauchy weights, scale from the median).

    Args:
        flow: `[B, 2, h, w]`.
        rounds: Fits.

    Returns:
        `[B, 2, h, w]`.
    """
    _, _, height, width = flow.shape
    rows = torch.linspace(-1, 1, height, device=flow.device, dtype=torch.float64)
    columns = torch.linspace(-1, 1, width, device=flow.device, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    design = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1)  # (N, 3)
    target = flow.flatten(2).transpose(1, 2).double()  # (B, N, 2)
    weight = torch.ones_like(target[..., :1])
    eye = 1e-9 * torch.eye(3, device=flow.device, dtype=torch.float64)
    residual = target
    for _ in range(rounds):
        weighed = weight * design  # (B, N, 3)
        motion = torch.linalg.solve(weighed.mT @ design + eye, weighed.mT @ target)  # (B, 3, 2)
        residual = target - design @ motion
        length = residual.square().sum(dim=2, keepdim=True).sqrt()
        spread = length.median(dim=1, keepdim=True).values.clamp_min(1e-3)
        weight = 1 / (1 + (length / spread).square())
    return residual.transpose(1, 2).unflatten(2, (height, width)).to(flow.dtype)


def _stays(camera: Tensor, margin: int = 2) -> Tensor:
    """Which cells the camera leaves in the image, `[B, 1, h, w]`: the others have no match."""
    height, width = camera.shape[-2:]
    short = min(height, width)
    rows = torch.arange(height, device=camera.device)[None, :, None] + camera[:, 0] * short
    columns = torch.arange(width, device=camera.device)[None, None, :] + camera[:, 1] * short
    is_still = (camera * short).abs().amax(dim=(1, 2, 3)) < 0.5  # nothing leaves
    inside = (rows >= margin) & (rows < height - margin)
    inside &= (columns >= margin) & (columns < width - margin)
    return (inside | is_still[:, None, None])[:, None]


def moving_parts(
    first: Tensor,
    second: Tensor,
    flow: Flow = block_flow,
    bounds: tuple[float, float] = (0.02, 0.6),
    above: float = 0.7,
) -> Motion:
    """What moves by itself in the first of two frames.

    The length of what is left of the displacements, as a share of its 95th percentile (or half of
    the 99.5th, where less than a twentieth of the image moves), smoothed.

    Args:
        first: `[B, C, H, W]`, float in [0, 1].
        second: The later frames.
        flow: Gives displacements as fractions of the shorter side.
        bounds: Least and largest part of the image that may move.
        above: Share from which a place counts as moving.
    """
    whole = flow(first, second).to(first.dtype)
    own = without_camera(whole)
    length = own.square().sum(dim=1, keepdim=True).sqrt() * _stays(whole - own)  # (B, 1, h, w)
    levels = length.new_tensor([0.95, 0.995])
    usual, rare = torch.quantile(length.flatten(1).float(), levels.float(), dim=1).to(length.dtype)
    most = torch.maximum(usual, rare / 2)[:, None, None, None]
    share = (length / most.clamp_min(1e-6)).clamp(max=1.0)
    share = F.avg_pool2d(share, 3, 1, 1, count_include_pad=False)
    share = F.interpolate(share, size=first.shape[-2:], mode="bilinear", align_corners=False)
    part = (share > above).float().mean(dim=(1, 2, 3))
    is_usable = (part >= bounds[0]) & (part <= bounds[1]) & (rare > STILL)
    return Motion(share, is_usable)
