from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.warping import affine_matrices, sampling_grid, warp


def by_hand(angle: float, scale: float, shear_x: float, shear_y: float) -> list[list[float]]:
    """Shear along x, then along y, then scale and rotate, as products of 2x2 matrices."""
    a, x, y = (math.radians(value) for value in (angle, shear_x, shear_y))
    product = [[1.0, -math.tan(x)], [0.0, 1.0]]
    for left in (
        [[1.0, 0.0], [-math.tan(y), 1.0]],
        [[scale * math.cos(a), -scale * math.sin(a)], [scale * math.sin(a), scale * math.cos(a)]],
    ):
        product = [
            [sum(left[i][k] * product[k][j] for k in range(2)) for j in range(2)] for i in range(2)
        ]
    return product


CASES = [
    (0.0, 1.0, 0.0, 0.0),
    (90.0, 1.0, 0.0, 0.0),
    (30.0, 1.3, 20.0, -10.0),
    (-50.0, 0.6, 5.0, 40.0),
]


@pytest.mark.parametrize("case", CASES)
def test_matrices_are_the_product_of_their_parts(case: tuple[float, float, float, float]) -> None:
    angle, scale, shear_x, shear_y = case
    matrices = affine_matrices(
        torch.tensor([angle], dtype=torch.float64),
        torch.tensor([[0.25, -0.5]], dtype=torch.float64),
        torch.tensor([scale], dtype=torch.float64),
        torch.tensor([[shear_x, shear_y]], dtype=torch.float64),
    )
    assert matrices[0, :, :2].tolist() == [pytest.approx(row) for row in by_hand(*case)]
    assert matrices[0, :, 2].tolist() == [0.25, -0.5]


@pytest.mark.parametrize("case", CASES)
def test_a_grid_leads_every_pixel_back_to_where_it_came_from(
    case: tuple[float, float, float, float],
) -> None:
    height, width = 6, 9
    shift = (0.25, -0.5)  # fractions of width and height
    linear = torch.tensor(by_hand(*case), dtype=torch.float64)
    matrix = torch.cat([linear, torch.tensor([shift], dtype=torch.float64).T], dim=1)[None]
    grid = sampling_grid(matrix, None, height, width)
    assert grid.shape == (1, height, width, 2)
    for row in range(height):
        for column in range(width):
            # From half sides back to pixels from the centre.
            x, y = grid[0, row, column] * torch.tensor([width, height], dtype=torch.float64) / 2
            there = linear @ torch.stack((x, y))
            there = there + torch.tensor([shift[0] * width, shift[1] * height])
            assert float(there[0]) == pytest.approx(column - (width - 1) / 2, abs=1e-9)
            assert float(there[1]) == pytest.approx(row - (height - 1) / 2, abs=1e-9)


def test_a_displacement_reads_so_many_pixels_further(generator: torch.Generator) -> None:
    images = torch.rand(2, 1, 5, 8, generator=generator)
    displacement = torch.zeros(2, 2, 5, 8)
    displacement[:, 0], displacement[:, 1] = 1.0, 2.0  # dy, dx
    shown = warp(images, displacement=displacement)
    torch.testing.assert_close(shown[:, :, :-1, :-2], images[:, :, 1:, 2:], atol=1e-5, rtol=0)
    assert float(shown[:, :, -1].abs().max()) == 0.0
    filled = warp(images, displacement=displacement, fill=0.25)
    torch.testing.assert_close(filled[:, :, -1], torch.full((2, 1, 8), 0.25))
    torch.testing.assert_close(filled[:, :, :-1, :-2], images[:, :, 1:, 2:], atol=1e-5, rtol=0)


def test_the_affine_map_acts_before_the_displacement(generator: torch.Generator) -> None:
    images = torch.rand(1, 1, 8, 8, generator=generator)
    turn = affine_matrices(*(torch.tensor([v]) for v in (90.0, [0.0, 0.0], 1.0, [0.0, 0.0])))
    displacement = torch.zeros(1, 2, 8, 8)
    displacement[:, 1] = 1.0
    both = warp(images, turn, displacement)
    turned = warp(images, turn)
    torch.testing.assert_close(turned, images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)  # clockwise
    torch.testing.assert_close(both[..., :-1], turned[..., 1:], atol=1e-5, rtol=0)


def test_bicubic_stays_in_range_and_half_precision_keeps_its_type() -> None:
    edge = torch.zeros(1, 1, 6, 6)
    edge[..., 3:] = 1.0
    displacement = torch.full((1, 2, 6, 6), 0.4)
    shown = warp(edge, displacement=displacement, mode="bicubic")
    assert 0.0 <= float(shown.min()) and float(shown.max()) <= 1.0
    assert warp(edge.half(), displacement=displacement).dtype == torch.float16
    assert warp(edge.double(), displacement=displacement).dtype == torch.float64


@pytest.mark.parametrize(
    ("images", "matrices", "displacement", "said"),
    [
        (
            torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
            None,
            torch.zeros(1, 2, 4, 4),
            "must be float",
        ),
        (torch.zeros(2, 1, 4, 4), torch.zeros(1, 2, 3), None, r"matrices must be \[2, 2, 3\]"),
        (
            torch.zeros(1, 1, 4, 5),
            None,
            torch.zeros(1, 2, 5, 4),
            r"displacement must be \[1, 2, 4, 5\]",
        ),
        (torch.zeros(1, 1, 4, 5), None, None, "got neither"),
    ],
)
def test_what_does_not_fit_is_refused(
    images: Tensor, matrices: Tensor | None, displacement: Tensor | None, said: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        warp(images, matrices, displacement)
