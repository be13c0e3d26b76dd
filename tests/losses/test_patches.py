from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.losses.patches import (
    into_patches,
    patch_statistics,
    standardised_patches,
    with_patches,
)


def in_loops(images: Tensor, patch: int) -> list[list[list[float]]]:
    """Numbers of patches, pixel by pixel: rows, columns, then channels."""
    number, channels, height, width = images.shape
    return [
        [
            [
                float(images[i, c, top + y, left + x])
                for y in range(patch)
                for x in range(patch)
                for c in range(channels)
            ]
            for top in range(0, height - patch + 1, patch)
            for left in range(0, width - patch + 1, patch)
        ]
        for i in range(number)
    ]


@pytest.mark.parametrize(
    ("channels", "size", "patch"), [(3, (8, 8), 4), (1, (4, 6), 2), (5, (7, 9), 3), (2, (4, 4), 4)]
)
def test_patches_are_cut_row_by_row(
    channels: int, size: tuple[int, int], patch: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, channels, *size, generator=generator)
    patches = into_patches(images, patch)
    assert patches.tolist() == in_loops(images, patch)
    assert torch.equal(with_patches(images, patches, patch), images)


def test_patches_take_the_place_of_others_and_a_border_stays(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 5, 8, generator=generator)
    before = images.clone()
    changed = with_patches(images, torch.zeros(2, 2 * 4, 12), 2)
    assert torch.equal(images, before)
    assert float(changed[:, :, :4].abs().max()) == 0
    assert torch.equal(changed[:, :, 4:], images[:, :, 4:])


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="a patch of 8 pixels is larger than"):
        into_patches(torch.rand(1, 3, 8, 7), 8)


def test_each_patch_is_standardised_by_itself(generator: torch.Generator) -> None:
    patches = torch.rand(2, 3, 12, generator=generator, dtype=torch.float64)
    expected = []
    for of_image in patches.tolist():
        for row in of_image:
            mean = sum(row) / len(row)
            variance = sum((x - mean) ** 2 for x in row) / (len(row) - 1)  # unbiased
            expected += [(x - mean) / math.sqrt(variance + 1e-6) for x in row]
    found = standardised_patches(patches)
    assert found.flatten().tolist() == pytest.approx(expected)
    mean, deviation = patch_statistics(patches)
    torch.testing.assert_close(found * deviation + mean, patches)


def test_a_patch_of_one_colour_becomes_zeros() -> None:
    assert torch.equal(standardised_patches(torch.full((1, 2, 12), 0.5)), torch.zeros(1, 2, 12))
