"""Elastic deformation: random displacements of a few control points, smooth in between.

Ronneberger, Fischer, Brox, 2015, arXiv 1505.04597, section 3.1: "We generate smooth deformations
using random displacement vectors on a coarse 3 by 3 grid. The displacements are sampled from a
Gaussian distribution with 10 pixels standard deviation." The field between the points is the
interpolating cubic B-spline of `elasticdeform` 0.5.1, written as one small matrix per axis.

Shapes: `B` samples, `C, H, W` image, `p, q` control points down and across.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.warping import warp

Engine = Literal["torch", "elasticdeform"]

REFERENCE_SIDE = 225  # pixels; sigma is given for images of this size


@lru_cache(maxsize=32)
def spline_matrix(points: int, pixels: int) -> Tensor:
    """Weights from control points to pixels along one axis.

    The first and the last point lie on the centres of the first and the last pixel. The spline
    passes through the points; beyond its ends it is mirrored.

    Args:
        points: Number of control points, at least 2.
        pixels: Number of pixels.

    Returns:
        `[pixels, points]`, float64, on the CPU. Shared: never write into it.

    Raises:
        ValueError: If there are less than 2 points.
    """
    if points < 2:
        raise ValueError(f"an elastic grid needs at least 2 control points a side, got {points}")
    last = points - 1
    positions = torch.arange(pixels, dtype=torch.float64) * (last / max(pixels - 1, 1))
    nodes = torch.arange(points, dtype=torch.float64)
    return _mirrored_basis(positions, points) @ torch.linalg.inv(_mirrored_basis(nodes, points))


def _mirrored_basis(positions: Tensor, points: int) -> Tensor:
    """Cubic B-spline basis at `positions`, folded back into `points` coefficients."""
    reach = torch.arange(-1, points + 1)  # one coefficient beyond each end touches the interval
    distances = (positions[:, None] - reach).abs()
    near = 2 / 3 - distances**2 + distances**3 / 2
    far = (2 - distances).clamp(min=0.0) ** 3 / 6
    weights = torch.where(distances < 1, near, far)
    mirrored = (points - 1) - ((points - 1) - reach.abs()).abs()  # -1 -> 1, points -> points - 2
    basis = torch.zeros(len(positions), points, dtype=positions.dtype)
    return basis.index_add_(1, mirrored, weights)


def coarse_to_dense(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsamples displacements of control points to every pixel.

    Args:
        displacement: `[B, 2, p, q]`, (dy, dx) in pixels; the outer points lie on the corner pixels.
        size: `(H, W)` of the image.

    Returns:
        `[B, 2, H, W]`, (dy, dx) in pixels, dtype and device of `displacement`.

    Raises:
        ValueError: If there are less than 2 points along an axis, or not two components.
    """
    if displacement.dim() != 4 or displacement.shape[1] != 2:
        raise ValueError(f"displacement must be [B, 2, p, q], got {[*displacement.shape]}")
    rows = spline_matrix(displacement.shape[2], size[0]).to(displacement)
    columns = spline_matrix(displacement.shape[3], size[1]).to(displacement)
    return torch.matmul(rows, torch.matmul(displacement, columns.T))


def elastic_deform(
    images: Tensor, displacement: Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear"
) -> Tensor:
    """Deforms each image by its own control points.

    Bilinear equals `elasticdeform.deform_grid(image, displacement, order=1, axis=(1, 2))` where
    the point read lies inside the image. Outside both are black; between the centre of the border
    pixel and half a pixel further out, this fades to black and elasticdeform cuts.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        displacement: `[B, 2, p, q]`, (dy, dx) in pixels.
        mode: Interpolation.

    Returns:
        `[B, C, H, W]`, float in [0, 1].
    """
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    displacement = displacement.to(images.device, dtype, non_blocking=True)
    height, width = images.shape[-2:]
    return warp(images, displacement=coarse_to_dense(displacement, (height, width)), mode=mode)


def import_elasticdeform() -> ModuleType:
    """The package `elasticdeform`, imported when it is first wanted.

    Raises:
        ImportError: If it is missing or broken; says how to mend it.
    """
    try:
        import elasticdeform
    except (ImportError, AttributeError, RuntimeError, ValueError) as error:
        # A wheel built for NumPy 1 fails under NumPy 2 with any of these.
        raise ImportError(
            "elasticdeform cannot be imported (its wheels need NumPy 1): build it from source with "
            "`pip install --force-reinstall --no-binary elasticdeform elasticdeform`, "
            'or use engine="torch"'
        ) from error
    module: ModuleType = elasticdeform
    return module


def elastic_deform_reference(images: Tensor, displacement: Tensor, order: int = 1) -> Tensor:
    """Deforms with `elasticdeform`, one image at a time on the CPU.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        displacement: `[B, 2, p, q]`, (dy, dx) in pixels.
        order: Of the spline that interpolates the image: 1 is bilinear, 3 cubic.

    Returns:
        `[B, C, H, W]`, float in [0, 1], on the device of `images`.

    Raises:
        ImportError: If `elasticdeform` is missing or broken.
    """
    elasticdeform = import_elasticdeform()
    results = [
        torch.from_numpy(elasticdeform.deform_grid(image, points, order=order, axis=(1, 2)))
        for image, points in zip(
            images.detach().cpu().float().numpy(),
            displacement.cpu().double().numpy(),
            strict=True,
        )
    ]
    if not results:
        return images
    return torch.stack(results).clamp_(0.0, 1.0).to(images.device, images.dtype)


def draw_displacements(
    shape: Shape, sigma: float, points: int, generator: torch.Generator
) -> Tensor:
    """Gaussian displacements of `points` x `points` control points.

    Args:
        shape: `(B, C, H, W)` of the images.
        sigma: Standard deviation in pixels of a 225 pixel image; scaled by min(H, W) / 225.
        points: Control points a side.
        generator: CPU generator.

    Returns:
        `[B, 2, points, points]`, (dy, dx) in pixels of these images.
    """
    pixels = sigma * min(shape[2:]) / REFERENCE_SIDE
    return torch.randn((shape[0], 2, points, points), generator=generator) * pixels


class RandomElastic(Augmentation):
    """Elastic deformation by a coarse grid of Gaussian displacements."""

    def __init__(
        self,
        sigma: float = 10.0,  # arXiv 1505.04597, section 3.1
        points: int = 3,  # the same
        engine: Engine = "torch",
        *,
        mode: Literal["bilinear", "bicubic"] = "bilinear",
    ) -> None:
        """Takes the strength.

        Args:
            sigma: Standard deviation in pixels of a 225 pixel image; scaled by min(H, W) / 225.
            points: Control points a side, at least 2.
            engine: "torch" is batched and runs anywhere; "elasticdeform" is the original, one
                image at a time on the CPU. Equal parameters give the same view from both, up to
                the border.
            mode: Interpolation of the image; elasticdeform's orders 1 and 3.

        Raises:
            ValueError: If an argument is out of range.
            ImportError: If `elasticdeform` is asked for and cannot be imported.
        """
        if sigma < 0:
            raise ValueError(f"sigma must be >= 0 pixels, got {sigma}")
        if points < 2:
            raise ValueError(f"points must be >= 2 a side, got {points}")
        if engine not in ("torch", "elasticdeform"):
            raise ValueError(f'engine must be "torch" or "elasticdeform", got {engine!r}')
        if mode not in ("bilinear", "bicubic"):
            raise ValueError(f'mode must be "bilinear" or "bicubic", got {mode!r}')
        if engine == "elasticdeform":
            import_elasticdeform()  # fail here, not in the first batch
        self.sigma = sigma
        self.points = points
        self.engine = engine
        self.mode = mode

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws control point displacements, `[B, 2, points, points]`, in pixels."""
        return draw_displacements(shape, self.sigma, self.points, generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Deforms."""
        if self.engine == "elasticdeform":
            order = 1 if self.mode == "bilinear" else 3
            return elastic_deform_reference(images, parameters, order)
        return elastic_deform(images, parameters, self.mode)
