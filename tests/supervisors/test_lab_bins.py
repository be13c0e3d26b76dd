from __future__ import annotations

import math

import pytest
import torch

from super_selfish.augmentations.lab import rgb_to_lab
from super_selfish.supervisors.lab_bins import LabBins

BINS = LabBins(2.0, 0.0, 26.0, 128.0, 128.0)


def test_there_are_fifty_bins_of_lightness_and_nine_by_nine_of_color() -> None:
    assert BINS.sizes == (50, 9, 9)


def test_classes_follow_the_formula_place_by_place(generator: torch.Generator) -> None:
    lab = rgb_to_lab(torch.rand(2, 3, 5, 6, generator=generator))
    lightness, color = BINS.classes(lab)
    for b in range(2):
        for y in range(5):
            for x in range(6):
                level, a_star, b_star = (float(lab[b, channel, y, x]) for channel in range(3))
                assert lightness[b, y, x] == min(49, math.floor(level / 2))
                row, column = math.floor((a_star + 128) / 26), math.floor((b_star + 128) / 26)
                assert color[b, y, x] == 9 * row + column


@pytest.mark.parametrize(("level", "expected"), [(0.0, 0), (1.99, 0), (2.0, 1), (100.0, 49)])
def test_a_bin_of_lightness_is_two_units_wide(level: float, expected: int) -> None:
    lab = torch.tensor([level, 0.0, 0.0]).view(1, 3, 1, 1)
    lightness, color = BINS.classes(lab)
    assert lightness.item() == expected
    assert color.item() == 9 * 4 + 4  # gray is in the middle


def test_all_of_srgb_lies_within_the_grid() -> None:
    steps = torch.linspace(0, 1, 16)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 16, 256)
    lab = rgb_to_lab(cube)
    unclamped = ((lab[:, 1:] + 128) / 26).floor()
    assert unclamped.min() >= 0
    assert unclamped.max() == 8


def test_colors_beyond_the_grid_belong_to_its_border() -> None:
    lab = torch.tensor([[150.0, 500.0, -500.0], [-5.0, -500.0, 500.0]]).view(2, 3, 1, 1)
    lightness, color = BINS.classes(lab)
    assert lightness.flatten().tolist() == [49, 0]
    assert color.flatten().tolist() == [9 * 8 + 0, 8]


def test_offsets_move_the_grid() -> None:
    moved = LabBins(2.0, 1.0, 26.0, 128.0 + 26.0, 128.0)
    assert moved.sizes == (51, 10, 9)
    lightness, color = moved.classes(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
    assert (lightness.item(), color.item()) == (1, 9 * 5 + 4)


def test_what_bins_are_expected_to_show_is_their_middle_if_they_are_certain() -> None:
    lab = torch.tensor([61.0, 15.0, -37.0]).view(1, 3, 1, 1)
    lightness, color = BINS.classes(lab)
    certain = [
        30.0 * torch.nn.functional.one_hot(bins, size).movedim(-1, 1).float()
        for bins, size in ((lightness, 50), (color, 81))
    ]
    said_lightness, said_color = BINS.expected(*certain)
    assert said_lightness.flatten().tolist() == pytest.approx([61.0], abs=1e-3)
    assert said_color.flatten().tolist() == pytest.approx([15.0, -37.0], abs=1e-3)
