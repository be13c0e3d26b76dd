"""Masks keep their numbers, whatever holds them and whatever size they are brought to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.fitting import fit_size
from super_selfish.data.masks import Masks, fit_mask, read_mask

NUMBERS = torch.tensor([[0, 1, 2], [254, 255, 7]], dtype=torch.uint8)


def palette() -> Image.Image:
    picture = Image.fromarray(NUMBERS.numpy(), mode=None).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    return picture


@pytest.mark.parametrize(
    "given",
    [
        NUMBERS,
        NUMBERS.long()[None],
        NUMBERS.to(torch.int32)[..., None],
        NUMBERS.numpy(),
        NUMBERS.numpy().astype(">u2"),
        Image.fromarray(NUMBERS.numpy()),
        Image.fromarray(NUMBERS.numpy().astype(np.uint16)),
        palette(),
    ],
)
def test_a_mask_is_the_numbers_that_it_holds(given: Any) -> None:
    mask = read_mask(given)
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, NUMBERS)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "pgm"])
def test_a_file_is_read_without_a_change(ending: str, tmp_path: Path) -> None:
    Image.fromarray(NUMBERS.numpy()).save(tmp_path / f"mask.{ending}")
    assert torch.equal(read_mask(tmp_path / f"mask.{ending}"), NUMBERS)


def test_of_a_palette_the_indices_are_the_classes(tmp_path: Path) -> None:
    palette().save(tmp_path / "mask.png")
    assert torch.equal(read_mask(str(tmp_path / "mask.png")), NUMBERS)


def test_truth_values_are_zero_and_one(tmp_path: Path) -> None:
    truth = torch.tensor([[True, False], [False, True]])
    picture = Image.fromarray(truth.numpy())
    picture.save(tmp_path / "mask.png")
    for given in (truth, picture, tmp_path / "mask.png"):
        assert read_mask(given).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.rand(2, 2), TypeError, "must be whole, those of classes, got torch.float32"),
        (torch.tensor([[0, 256]]), ValueError, "got 0 to 256"),
        (torch.tensor([[-1, 3]]), ValueError, "got -1 to 3"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), ValueError, r"got \[3, 4, 4\]"),
        (torch.zeros(0, 4, dtype=torch.int64), ValueError, r"got \[0, 4\]"),
        (Image.new("RGB", (2, 2)), ValueError, "got a picture of mode RGB"),
        (3, TypeError, "got int"),
    ],
)
def test_what_is_no_mask_is_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_mask(given)


@pytest.mark.parametrize("ending", ["jpg", "gif"])
def test_formats_that_change_numbers_are_refused(ending: str, tmp_path: Path) -> None:
    Image.fromarray(NUMBERS.numpy()).save(tmp_path / f"mask.{ending}")
    with pytest.raises(ValueError, match=r"it is a (JPEG|GIF), which changes numbers"):
        read_mask(tmp_path / f"mask.{ending}")


@pytest.mark.parametrize(("ending", "message"), [("png", "got 2 in one file"), ("tif", "2 pages")])
def test_several_pictures_are_refused(ending: str, message: str, tmp_path: Path) -> None:
    pictures = [Image.fromarray(numbers.numpy()) for numbers in (NUMBERS, 255 - NUMBERS)]
    file = tmp_path / f"mask.{ending}"
    pictures[0].save(file, save_all=True, append_images=pictures[1:])
    with pytest.raises(ValueError, match=message):
        read_mask(file)


@pytest.mark.parametrize("size", [(4, 4), (8, 5), (3, 9), (16, 16), (7, 7)])
def test_a_mask_is_cropped_as_its_image_and_its_numbers_stay(size: tuple[int, int]) -> None:
    rows, columns = torch.arange(12)[:, None] * 20, torch.arange(8) * 30
    image = torch.stack([rows.expand(12, 8), columns.expand(12, 8)]).to(torch.uint8)
    shown = fit_size(image, size).float()
    for ramp, step, kept in zip(image, (20, 30), shown, strict=True):
        mask = fit_mask(ramp, size)
        assert mask.shape == size
        assert set(mask.unique().tolist()) <= set(ramp.unique().tolist())
        away = (mask.float() - kept).abs()[1:-1, 1:-1]
        assert away.numel() == 0 or away.max() <= 0.5 * step + 3  # half a pixel, and rounding


def test_a_mask_of_that_size_stays_as_it_is() -> None:
    assert fit_mask(NUMBERS, (2, 3)) is NUMBERS


def test_twice_as_large_each_pixel_is_four() -> None:
    mask: Tensor = fit_mask(NUMBERS[None], (4, 6))
    assert torch.equal(mask[0], NUMBERS.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_pixels_that_do_not_count_are_not_counted() -> None:
    numbers = torch.full((300, 2, 2), 255, dtype=torch.uint8)
    numbers[0, 0, 0], numbers[299] = 3, 254
    masks = Masks(numbers)
    assert masks.classes.tolist() == [3, 254]
    assert masks.counts[[0, 3, 254]].tolist() == [0, 1, 4]
    assert masks.counts.shape == (255,)
