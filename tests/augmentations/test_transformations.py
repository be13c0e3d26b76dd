from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.geometry import rotate_quarter
from super_selfish.augmentations.transformations import (
    AffineTransformations,
    ProjectiveTransformations,
    transform,
)
from super_selfish.augmentations.warping import warp
from tests.references import largest_uniform_deviation


def smooth(number: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    coarse = torch.rand(number, 3, 6, 6, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def test_affine_numbers_are_the_authors(generator: torch.Generator) -> None:
    """Cosine, sine, shifts over their range, and scale and shear from -1 to 1."""
    numbers = AffineTransformations().draw(20_000, generator)
    torch.testing.assert_close(numbers[:, :2].norm(dim=1), torch.ones(20_000))
    angles = torch.atan2(numbers[:, 1], numbers[:, 0])
    assert largest_uniform_deviation(angles, -math.pi, math.pi) < 0.02
    for column in range(2, 6):
        assert largest_uniform_deviation(numbers[:, column], -1.0, 1.0) < 0.02
    # METHODS 3.4: (1/2 + 1/2 + 4/3) / 6 is what saying the mean costs.
    assert float(numbers.var(dim=0).mean()) == pytest.approx(0.389, rel=0.02)


def test_affine_matrices_are_those_of_warping(generator: torch.Generator) -> None:
    images = smooth(4, 24, 40, generator)
    affine = AffineTransformations(degrees=90, translate=0.3, scale=(0.5, 1.5), shear=20)
    numbers = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            [1.0, 0.0, 1.0, -0.5, 0.4, 0.0],
            [math.cos(0.5), math.sin(0.5), 0.2, 0.3, -0.6, 0.7],
        ]
    )
    matrices = torch.stack(
        [
            torch.tensor(warping_matrix(*row))
            for row in (
                (0.0, (0.0, 0.0), 1.0, 0.0),
                (90.0, (0.0, 0.0), 1.0, 0.0),
                (0.0, (0.3, -0.15), 1.2, 0.0),
                (math.degrees(0.5), (0.06, 0.09), 0.7, 14.0),
            )
        ]
    )
    found = transform(images, affine.matrices(numbers, (24, 40)), fill=0.3)
    torch.testing.assert_close(found, warp(images, matrices, fill=0.3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], images[0], atol=1e-5, rtol=0)


def warping_matrix(
    angle: float, shift: tuple[float, float], scale: float, shear: float
) -> list[list[float]]:
    a, tan = math.radians(angle), math.tan(math.radians(shear))
    cos, sin = scale * math.cos(a), scale * math.sin(a)
    return [[cos, -cos * tan - sin, shift[0]], [sin, -sin * tan + cos, shift[1]]]


def test_projective_numbers_lead_moved_corners_to_the_corners(generator: torch.Generator) -> None:
    kind = ProjectiveTransformations()
    numbers = kind.draw(300, generator).double()
    inverse = torch.linalg.inv(torch.cat([numbers, torch.ones(300, 1)], dim=1).view(-1, 3, 3))
    corners = torch.tensor([[0.0, 0, 1], [32, 0, 1], [32, 32, 1], [0, 32, 1]], dtype=torch.float64)
    there = torch.einsum("bij,cj->bci", inverse, corners)
    there = there[..., :2] / there[..., 2:]  # where the corners of the image lie in the result
    # Some quarter turn of a square of 0.8 to 1.2 of the side, each corner moved by up to 4 of 32.
    fits = []
    for turn in range(4):
        square = corners[:, :2].roll(-turn, 0) - 16
        apart = torch.stack(
            [
                (there - 16 - scale * square).abs().amax(dim=(1, 2))
                for scale in torch.linspace(0.8, 1.2, 81)
            ]
        ).amin(dim=0)
        fits.append(apart <= 4 + 0.1)
    assert bool(torch.stack(fits).any(dim=0).all())
    assert [int(fit.sum()) > 40 for fit in fits] == [True] * 4  # every turn as often
    assert list(kind.mean) == [0, 0, 16, 0, 0, 16, 0, 0]
    assert float((numbers.mean(dim=0) - torch.tensor(kind.mean)).abs().max()) < 2.5


def test_quarter_turns_are_exact(generator: torch.Generator) -> None:
    images = smooth(4, 16, 16, generator)
    kind = ProjectiveTransformations(scale=(0.999999, 1.000001), shift=1e-9)
    numbers = kind.draw(200, generator)
    found = transform(images[:1].expand(200, -1, -1, -1), kind.matrices(numbers, (16, 16)))
    turned = rotate_quarter(images[:1].repeat(4, 1, 1, 1), torch.arange(4))
    apart = (found[:, None] - turned[None]).abs().amax(dim=(2, 3, 4))  # (200, 4)
    assert float(apart.amin(dim=1).max()) < 1e-3
    assert bool((apart.argmin(dim=1).bincount(minlength=4) > 25).all())


@pytest.mark.parametrize("kind", [AffineTransformations(), ProjectiveTransformations()])
@pytest.mark.parametrize("size", [(48, 48), (40, 64)])
def test_the_inverse_of_what_is_told_undoes_it(
    kind: Any, size: tuple[int, int], generator: torch.Generator
) -> None:
    images = smooth(60, *size, generator)
    matrices = kind.matrices(kind.draw(60, generator), size)
    there = transform(images, matrices, "reflect")
    back = transform(there, torch.linalg.inv(matrices), "reflect")
    middle = (..., slice(size[0] * 2 // 5, size[0] * 3 // 5), slice(size[1] * 2 // 5, -16))
    assert float((back - images)[middle].abs().mean()) < 0.05
    assert float((there - images)[middle].abs().mean()) > 0.1


def test_what_lies_outside_is_gray_or_mirrored(generator: torch.Generator) -> None:
    images = smooth(1, 20, 20, generator) * 0.2
    smaller = AffineTransformations(scale=(0.1, 0.9)).matrices(
        torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]), (20, 20)
    )
    gray = transform(images, smaller)
    torch.testing.assert_close(gray[0, :, 0, 0], torch.full((3,), 128 / 255))
    assert float(gray[0, :, 8:12, 8:12].max()) < 0.21
    assert float(transform(images, smaller, "reflect").max()) < 0.21


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AffineTransformations(degrees=0), "degrees must be in"),
        (lambda: AffineTransformations(translate=1.0), "translate in"),
        (lambda: AffineTransformations(shear=90), "shear in"),
        (lambda: AffineTransformations(scale=(1.2, 0.8)), "0 < low < high, got"),
        (lambda: ProjectiveTransformations(scale=(0.0, 1.0)), "0 < low < high, got"),
        (lambda: ProjectiveTransformations(shift=0.2), r"in \(0, 0.2\), a quarter of the small"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
