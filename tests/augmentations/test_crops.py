from __future__ import annotations

from typing import Any

import pytest
import torch

from super_selfish.augmentations.crops import (
    RandomCrop,
    RandomHorizontalFlip,
    as_size,
    check_probability,
    crop,
    horizontal_flip,
)


def numbered(batch: int, height: int, width: int) -> torch.Tensor:
    """Every pixel of every image has a value of its own."""
    return torch.arange(batch * height * width).view(batch, 1, height, width)


def test_a_window_is_cut_where_it_was_said() -> None:
    images = numbered(2, 5, 7)
    shown = crop(images, torch.tensor([[0, 0], [2, 3]]), (3, 4))
    assert shown.shape == (2, 1, 3, 4)
    assert torch.equal(shown[0], images[0, :, 0:3, 0:4])
    assert torch.equal(shown[1], images[1, :, 2:5, 3:7])
    assert torch.equal(crop(images, torch.zeros(2, 2, dtype=torch.int64), (5, 7)), images)


def test_padding_is_black_and_every_window_that_fits_is_drawn(generator: torch.Generator) -> None:
    recipe = RandomCrop((4, 6), padding=1)
    corners = recipe.draw((4000, 1, 4, 7), generator)
    assert [sorted(set(axis.tolist())) for axis in corners.T] == [[0, 1, 2], [0, 1, 2, 3]]
    counts = corners[:, 1].bincount()
    assert float((counts - 1000).abs().max()) < 4 * (1000 * 0.75) ** 0.5
    images = numbered(1, 4, 7) + 1
    shown = recipe.apply(images, torch.tensor([[0, 0]]))
    assert torch.equal(shown[:, :, 1:, 1:], images[:, :, :3, :5])
    assert int(shown[:, :, 0].abs().sum()) == int(shown[:, :, :, 0].abs().sum()) == 0
    assert recipe.output_shape((1, 3, 9, 9)) == (1, 3, 4, 6)
    assert torch.equal(RandomCrop(4).draw((3, 1, 4, 4), generator), torch.zeros(3, 2).long())


def test_a_flip_mirrors_left_and_right_of_those_that_drew_it(generator: torch.Generator) -> None:
    images = numbered(2, 2, 3)
    shown = horizontal_flip(images, torch.tensor([True, False]))
    assert torch.equal(shown[0], images[0].flip(-1))
    assert torch.equal(shown[1], images[1])
    for p, expected in ((0.0, 0), (1.0, 50)):
        assert int(RandomHorizontalFlip(p).draw((50, 1, 2, 3), generator).sum()) == expected


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_a_probability_may_be_nought_or_one(p: float) -> None:
    check_probability("p", p)
    RandomHorizontalFlip(p)


@pytest.mark.parametrize("p", [-1e-9, 1 + 1e-9, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"^share is a probability in \[0, 1\], got"):
        check_probability("share", p)
    with pytest.raises(ValueError, match="p is a probability"):
        RandomHorizontalFlip(p)


def test_a_size_is_one_number_or_two() -> None:
    assert as_size(1) == (1, 1)
    assert as_size((1, 2)) == (1, 2)


@pytest.mark.parametrize("size", [0, (0, 1), (1, 0), -1])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="size must be a positive number of pixels"):
        as_size(size)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: crop(torch.zeros(1, 1, 4, 6), torch.zeros(1, 2).long(), (5, 6)),
            "a 5x6 window does not fit into a 4x6 image",
        ),
        (
            lambda: crop(torch.zeros(1, 1, 4, 6), torch.zeros(1, 2).long(), (4, 7)),
            "a 4x7 window does not fit into a 4x6 image",
        ),
        (
            lambda: crop(torch.zeros(2, 1, 4, 6), torch.zeros(1, 2).long(), 4),
            r"offsets must be \[2, 2\], got \[1, 2\]",
        ),
        (lambda: RandomCrop(4, padding=-1), "padding must be >= 0 pixels, got -1"),
        (
            lambda: RandomCrop((5, 7), padding=1).draw((1, 1, 2, 6), torch.Generator()),
            "a 5x7 window does not fit into a 2x6 image with 1 pixels of padding",
        ),
    ],
)
def test_windows_that_do_not_fit_are_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
