"""Affine and projective transformations as the numbers by which they are told.

A transformation is drawn as its numbers, which fix it: one that a network tells can be done.
Matrices go from places in the result to places in the image, in sides from the centre,
x to the right and y down.

Shapes: `B` samples, `T` numbers of a transformation, `C, H, W` image.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.warping import affine_matrices

Padding = Literal["constant", "reflect"]

GRAY = 128 / 255  # what lies outside of an image; the authors of AET
SIDE = 32  # in which projective numbers are counted, whatever the size: the authors' pixels
_NEAREST = 1e-2  # a plane that is seen from behind lies far outside


class Transformations(ABC):
    """A family of transformations with numbers for each.

    Attributes:
        names: What the numbers are, `T` of them.
        mean: Of each number, about.
        deviation: Of each number, about.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @abstractmethod
    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draws `number` transformations: their numbers, `[number, T]`, on the CPU."""

    @abstractmethod
    def matrices(self, numbers: Tensor, size: tuple[int, int]) -> Tensor:
        """From the result to the image, `[B, 3, 3]`.

        Args:
            numbers: `[B, T]`.
            size: (height, width) of the images, in pixels.
        """


def transform(
    images: Tensor, matrices: Tensor, padding: Padding = "constant", fill: float = GRAY
) -> Tensor:
    """Samples each image once, bilinearly.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        matrices: `[B, 3, 3]`, from the result to the image, in sides from the centre.
        padding: What lies outside: `fill`, or the image mirrored at its border.
        fill: A value in [0, 1].

    Returns:
        `[B, C, H, W]`, float in [0, 1].
    """
    height, width = images.shape[-2:]
    matrices = matrices.to(images, non_blocking=True)
    x = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) / width - 0.5
    y = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) / height - 0.5
    y, x = torch.meshgrid(y, x, indexing="ij")
    base = torch.stack((x, y, torch.ones_like(x))).flatten(1)  # (3, H * W)
    placed = matrices @ base  # (B, 3, H * W)
    grid = 2 * placed[:, :2] / placed[:, 2:].clamp(min=_NEAREST)  # -1 and 1 at the borders
    grid = grid.unflatten(2, (height, width)).permute(0, 2, 3, 1)
    if padding == "reflect":
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


class AffineTransformations(Transformations):
    """Rotation, translation, scale and shear along x, about the centre.

    The numbers are cosine and sine of the angle, and where in its range each of the others lies,
    from -1 to 1 (Zhang et al., 2019, arXiv 1901.04596, and the authors' code).
    """

    names = ("cosine", "sine", "right", "down", "scale", "shear")
    mean = (0.0,) * 6  # as they are: all lie between -1 and 1
    deviation = (1.0,) * 6

    def __init__(
        self,
        degrees: float = 180.0,
        translate: float = 0.2,
        scale: tuple[float, float] = (0.7, 1.3),
        shear: float = 30.0,
    ) -> None:
        """Takes the ranges.

        Args:
            degrees: Largest angle, either way.
            translate: Largest shift, as a fraction of the side, either way.
            scale: Smallest and largest enlargement.
            shear: Largest angle of shear, in degrees, either way.

        Raises:
            ValueError: If a range is empty, or turns images inside out.
        """
        if not (0 < degrees <= 180 and 0 < translate < 1 and 0 < shear < 90):
            raise ValueError(
                "degrees must be in (0, 180], translate in (0, 1) and shear in (0, 90), got "
                f"{degrees}, {translate} and {shear}"
            )
        _check_scale(scale)
        self.degrees = degrees
        self.translate = translate
        self.scale = scale
        self.shear = shear

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draws each number by itself; every angle and place in a range is as likely."""
        drawn = torch.rand(number, 5, generator=generator) * 2 - 1
        angle = torch.deg2rad(drawn[:, :1] * self.degrees)
        return torch.cat([angle.cos(), angle.sin(), drawn[:, 1:]], dim=1)

    def matrices(self, numbers: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Transformations`; the length of (cosine, sine) does not matter."""
        cosine, sine, right, down, scale, shear = numbers.unbind(dim=1)
        middle, half = (self.scale[0] + self.scale[1]) / 2, (self.scale[1] - self.scale[0]) / 2
        angle = torch.rad2deg(torch.atan2(sine, cosine))
        shift = torch.stack((right, down), dim=1) * self.translate
        sheared = torch.stack((shear * self.shear, torch.zeros_like(shear)), dim=1)
        forward = affine_matrices(angle, shift, middle + half * scale, sheared)  # (B, 2, 3)
        sides = forward.new_tensor([size[1], size[0]])
        forward[:, :, :2] *= sides[None, None, :] / sides[None, :, None]  # pixels to sides
        last = forward.new_tensor([[[0.0, 0.0, 1.0]]]).expand(len(forward), 1, 3)
        return torch.linalg.inv(torch.cat([forward, last], dim=1))


class ProjectiveTransformations(Transformations):
    """A square that is scaled, turned by quarters, and each of whose corners is moved.

    The numbers are the eight of the homography from the result to the image, by
    `x' = (c0 x + c1 y + c2) / (c6 x + c7 y + 1)`, `y' = (c3 x + c4 y + c5) / (c6 x + c7 y + 1)`,
    from the corner above left on, in 32nds of the side (the authors' pixels of CIFAR-10). So the
    mean and deviation of the authors' code are good for every size; of our draws the deviations are
    about 0.75, 17 and 0.005.
    """

    names = tuple(f"c{place}" for place in range(8))
    mean = (0.0, 0.0, 16.0, 0.0, 0.0, 16.0, 0.0, 0.0)
    deviation = (1.0, 1.0, 20.0, 1.0, 1.0, 20.0, 0.015, 0.015)

    def __init__(self, scale: tuple[float, float] = (0.8, 1.2), shift: float = 1 / 8) -> None:
        """Takes the ranges.

        Args:
            scale: Smallest and largest enlargement.
            shift: How far each corner is moved at most along each axis, as a fraction of the side.

        Raises:
            ValueError: If a range is empty, or corners may fold the image.
        """
        _check_scale(scale)
        if not 0 < shift < scale[0] / 4:
            raise ValueError(
                f"shift must be in (0, {scale[0] / 4:g}), a quarter of the smallest scale, got "
                f"{shift}: more would fold images"
            )
        self.scale = scale
        self.shift = shift

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draws scale, quarter turn and corners, and solves for the eight numbers."""
        low, high = self.scale
        scale = torch.rand(number, 1, 1, generator=generator) * (high - low) + low
        turns = torch.randint(4, (number, 1), generator=generator)
        moved = (torch.rand(number, 4, 2, generator=generator) * 2 - 1) * self.shift
        corners = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        turned = corners[(torch.arange(4) + turns) % 4]  # (number, 4, 2)
        # In float64: these are the numbers that the network is asked for.
        there = (turned * scale + moved + 0.5).double() * SIDE  # where the corners come to lie
        return _homographies(there, (corners.double() + 0.5) * SIDE).float()

    def matrices(self, numbers: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Transformations`; sides are sides, whatever their pixels."""
        ones = torch.ones_like(numbers[:, :1])
        matrices = torch.cat([numbers, ones], dim=1).unflatten(1, (3, 3))
        counted = numbers.new_tensor([[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1]])
        return torch.linalg.inv(counted) @ matrices @ counted


def _homographies(there: Tensor, corners: Tensor) -> Tensor:
    """`[B, 8]`, from the four places `[B, 4, 2]` to the corners `[4, 2]`."""
    x, y = there.unbind(dim=2)  # (B, 4)
    to_x, to_y = (values.expand_as(x) for values in corners.unbind(dim=1))
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows_x = torch.stack([x, y, one, zero, zero, zero, -to_x * x, -to_x * y], dim=2)
    rows_y = torch.stack([zero, zero, zero, x, y, one, -to_y * x, -to_y * y], dim=2)
    system = torch.cat([rows_x, rows_y], dim=1)  # (B, 8, 8)
    return torch.linalg.solve(system, torch.cat([to_x, to_y], dim=1))


def _check_scale(scale: tuple[float, float]) -> None:
    if not (len(scale) == 2 and 0 < scale[0] < scale[1] < math.inf):
        raise ValueError(f"scale must be (low, high) with 0 < low < high, got {scale}")
