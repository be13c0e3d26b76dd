"""Patches: how many, which negatives, and how people see them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from super_selfish.data.collate import Batch
from super_selfish.supervisors.patch_grid import PatchCollator, fitting_grid, patch_sheet


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((16, 16), 3),
        ((32, 32), 3),
        ((39, 99), 3),
        ((40, 40), 4),
        ((63, 64), 6),
        ((64, 64), 7),
        ((225, 225), 7),
    ],
)
def test_patches_have_sixteen_pixels_where_that_fits(size: tuple[int, int], grid: int) -> None:
    assert fitting_grid(size) == grid


@pytest.mark.parametrize("negatives", [None, 5])
def test_patches_are_changed_and_negatives_are_never_the_positive(negatives: int | None) -> None:
    images = torch.full((2, 3, 32, 32), 51, dtype=torch.uint8)
    double: Any = lambda patches, generator: 2 * patches  # noqa: E731
    collator = PatchCollator(3, double, negatives)
    data = collator.augment(Batch(images, torch.arange(2)), torch.Generator().manual_seed(0))
    assert data.patches.shape == (2, 9, 3, 16, 16)
    torch.testing.assert_close(data.patches, torch.full_like(data.patches, 0.4))
    if negatives is None:
        assert data.negatives is None
        return
    drawn = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        found = collator.augment(Batch(images, torch.arange(2)), generator).negatives
        assert found is not None and found.shape == (2, 9, 5)
        drawn.append(found)
    assert sorted(torch.cat(drawn).unique().tolist()) == list(range(1, 18))


def test_rows_that_are_not_seen_are_pale_and_what_is_foretold_is_framed() -> None:
    patches = torch.full((9, 1, 8, 8), 0.5)
    sheet = patch_sheet(patches, 1, 7)
    assert sheet.shape == (3, 32, 32)  # three patches of 8, four gaps of 2
    for number in range(9):
        row, column = divmod(number, 3)
        cell = sheet[:, 10 * row + 2 : 10 * row + 10, 10 * column + 2 : 10 * column + 10]
        torch.testing.assert_close(cell, torch.full_like(cell, 0.5 if row <= 1 else 0.85))
    frame = sheet[:, 20:, 10:22].clone()
    frame[:, 2:10, 2:10] = torch.tensor([0.82, 0.29, 0.36])[:, None, None]
    assert torch.equal(frame, torch.tensor([0.82, 0.29, 0.36])[:, None, None].expand(3, 12, 12))
    outside = sheet.clone()
    outside[:, 20:, 10:22] = 1
    white = (outside == 1).all(dim=0)
    assert int(white.sum()) == 32 * 32 - 8 * 64  # all but eight patches
