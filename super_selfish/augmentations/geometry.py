"""Random rotation, shear, scale and translation, and exact quarter turns.

Everything interpolated goes through one sampling grid (warping.py). Quarter turns move pixels
without mixing them: an interpolated rotation betrays its angle by blur and corners.

Shapes: `B` samples, `C, H, W` image, `p` control points a side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.crops import check_probability
from super_selfish.augmentations.draws import uniform
from super_selfish.augmentations.elastic import coarse_to_dense, draw_displacements
from super_selfish.augmentations.warping import GridMode, affine_matrices, warp

Range = float | tuple[float, float]


def rotate_quarter(images: Tensor, turns: Tensor) -> Tensor:
    """Turns each image counter-clockwise by a multiple of 90 degrees, exactly as `torch.rot90`.

    Args:
        images: `[B, C, H, W]`, any dtype; square unless every turn is even.
        turns: `[B]`, int, quarter turns; negative is clockwise.

    Returns:
        `[B, C, H, W]`, a new tensor.

    Raises:
        ValueError: If images that are not square are turned by an odd number of quarters.
    """
    height, width = images.shape[-2:]
    if turns.shape != (len(images),):
        raise ValueError(f"turns must be [{len(images)}], got {[*turns.shape]}")
    if height != width and bool((turns % 2 != 0).any()):
        raise ValueError(
            f"a quarter turn changes the shape of {height}x{width} images: crop them to a square "
            "first, or use even turns only"
        )
    turns = turns.to(images.device, non_blocking=True).remainder(4)[:, None, None, None]
    # A counter-clockwise quarter is a transposition and then upside down.
    if height == width:
        images = torch.where(turns % 2 == 1, images.transpose(2, 3), images)
    images = torch.where((turns == 1) | (turns == 2), images.flip(2), images)
    return torch.where(turns >= 2, images.flip(3), images)


def _as_range(name: str, value: Range, around: float = 0.0) -> tuple[float, float]:
    """A pair as it is; a number as the symmetric range about `around`."""
    low, high = value if isinstance(value, tuple) else (around - value, around + value)
    if not low <= high:
        raise ValueError(f"{name} must be a number >= 0 or (low, high) with low <= high, {value=}")
    return float(low), float(high)


class AffineParameters(NamedTuple):
    """What `RandomAffine` draws."""

    angle: Tensor  # (B,) degrees, clockwise
    translate: Tensor  # (B, 2) right and down, fraction of the side
    scale: Tensor  # (B,)
    shear: Tensor  # (B, 2) degrees, along x and along y
    displacement: Tensor | None  # (B, 2, p, p) pixels, (dy, dx); None without elastic


class RandomAffine(Augmentation):
    """Rotation, translation, scale, shear and elastic deformation in one sampling.

    The affine map follows torchvision's `affine`; the elastic deformation acts on its result.
    A range is a pair `(low, high)`, or one number for the symmetric range.
    """

    def __init__(
        self,
        degrees: Range = 0.0,
        translate: Range = 0.0,
        scale: Range = 0.0,
        shear: Range = 0.0,
        *,
        translate_y: Range | None = None,
        shear_y: Range = 0.0,
        elastic_sigma: float = 0.0,
        elastic_points: int = 3,
        p_elastic: float = 1.0,
        mode: GridMode = "bilinear",
        fill: float = 0.0,
    ) -> None:
        """Takes the ranges; every value is drawn uniformly and independently.

        Args:
            degrees: Rotation, clockwise, in degrees.
            translate: Shift to the right, fraction of the width.
            scale: Enlargement as a pair, or the distance from 1: 0.3 is (0.7, 1.3).
            shear: Along x, in degrees.
            translate_y: Shift down, fraction of the height; `None` for the range of `translate`.
            shear_y: Along y, in degrees.
            elastic_sigma: In pixels of a 225 pixel image (see `RandomElastic`); 0 for none.
            elastic_points: Control points a side.
            p_elastic: Probability that a sample is deformed elastically.
            mode: Interpolation.
            fill: Value outside of the image, in [0, 1].

        Raises:
            ValueError: If a range is empty or a scale not positive.
        """
        self.degrees = _as_range("degrees", degrees)
        self.translate = _as_range("translate", translate)
        self.translate_y = _as_range(
            "translate_y", self.translate if translate_y is None else translate_y
        )
        self.scale = _as_range("scale", scale, around=1.0)
        self.shear = _as_range("shear", shear)
        self.shear_y = _as_range("shear_y", shear_y)
        if self.scale[0] <= 0:
            raise ValueError(f"scale must stay > 0, got {self.scale}")
        for name, limits in (("shear", self.shear), ("shear_y", self.shear_y)):
            if max(abs(limits[0]), abs(limits[1])) >= 90:
                raise ValueError(f"{name} must lie within -90 and 90 degrees, got {limits}")
        if elastic_sigma < 0 or elastic_points < 2:
            raise ValueError(
                "elastic_sigma must be >= 0 and elastic_points >= 2, "
                f"got {elastic_sigma} and {elastic_points}"
            )
        check_probability("p_elastic", p_elastic)
        self.elastic_sigma = elastic_sigma
        self.elastic_points = elastic_points
        self.p_elastic = p_elastic
        self.mode: GridMode = mode
        self.fill = fill

    def draw(self, shape: Shape, generator: torch.Generator) -> AffineParameters:
        """Draws every parameter that has a choice."""
        batch = shape[0]
        angle = uniform(batch, *self.degrees, generator)
        right = uniform(batch, *self.translate, generator)
        down = uniform(batch, *self.translate_y, generator)
        scale = uniform(batch, *self.scale, generator)
        shear_x = uniform(batch, *self.shear, generator)
        shear_y = uniform(batch, *self.shear_y, generator)
        displacement = None
        if self.elastic_sigma > 0:
            displacement = draw_displacements(
                shape, self.elastic_sigma, self.elastic_points, generator
            )
            if self.p_elastic < 1:
                kept = torch.rand(batch, generator=generator) < self.p_elastic
                displacement = displacement * kept[:, None, None, None]
        return AffineParameters(
            angle,
            torch.stack((right, down), dim=1),
            scale,
            torch.stack((shear_x, shear_y), dim=1),
            displacement,
        )

    def apply(self, images: Tensor, parameters: AffineParameters) -> Tensor:
        """Samples each image once."""
        angle, translate, scale, shear, displacement = parameters
        if displacement is not None:
            height, width = images.shape[-2:]
            displacement = displacement.to(images.device, non_blocking=True)
            displacement = coarse_to_dense(displacement, (height, width))
        matrices = affine_matrices(angle, translate, scale, shear)
        return warp(images, matrices, displacement, self.mode, self.fill)


class RandomRotation(RandomAffine):
    """Rotation about the centre; the image keeps its size."""

    def __init__(self, degrees: Range, *, mode: GridMode = "bilinear", fill: float = 0.0) -> None:
        """Args: degrees: Counter-clockwise, as torchvision's `rotate`, a number or a pair."""
        low, high = _as_range("degrees", degrees)
        super().__init__(degrees=(-high, -low), mode=mode, fill=fill)


class RandomShear(RandomAffine):
    """Shear along x, and along y if asked."""

    def __init__(
        self,
        degrees: Range,
        degrees_y: Range = 0.0,
        *,
        mode: GridMode = "bilinear",
        fill: float = 0.0,
    ) -> None:
        """Args: degrees: Along x, a number or a pair. degrees_y: Along y."""
        super().__init__(shear=degrees, shear_y=degrees_y, mode=mode, fill=fill)


class RandomTranslation(RandomAffine):
    """Shift, by fractions of a pixel too."""

    def __init__(
        self,
        fraction: Range,
        fraction_y: Range | None = None,
        *,
        mode: GridMode = "bilinear",
        fill: float = 0.0,
    ) -> None:
        """Args: fraction: Of the width. fraction_y: Of the height; `None` for the same range."""
        super().__init__(translate=fraction, translate_y=fraction_y, mode=mode, fill=fill)


class RandomScale(RandomAffine):
    """Enlarges or shrinks about the centre."""

    def __init__(self, scale: Range, *, mode: GridMode = "bilinear", fill: float = 0.0) -> None:
        """Args: scale: A pair, or the distance from 1: 0.3 is (0.7, 1.3)."""
        super().__init__(scale=scale, mode=mode, fill=fill)


class RandomQuarterTurn(Augmentation):
    """Turns each sample by 0, 90, 180 or 270 degrees, counter-clockwise."""

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws `[B]` int64 quarter turns, uniform; 0 or 2 where images are not square."""
        if shape[2] == shape[3]:
            return torch.randint(4, (shape[0],), generator=generator)
        return torch.randint(2, (shape[0],), generator=generator) * 2

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Turns."""
        return rotate_quarter(images, parameters)
