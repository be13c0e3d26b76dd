"""Which of the images of a file is the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from super_selfish.data.frames import Frames, chosen_shape, parse_pages, read_chosen


class Given(Frames):
    """Images in memory; notes how they are asked for."""

    def __init__(self, *images: Tensor) -> None:
        self.images, self.count = images, len(images)
        self.asked: list[Any] = []

    def shape(self, frame: int) -> Any:
        return tuple(self.images[frame].shape)

    def read(self, frame: int, cover: Any = None) -> Tensor:
        self.asked.append((frame, cover))
        return self.images[frame]


def image(value: int, *shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.full(shape or (1, 4, 5), value).to(dtype)


@pytest.mark.parametrize("pages", [None, "channels", "frames", 0, 7])
def test_pages_are_a_word_or_a_number(pages: Any) -> None:
    assert parse_pages(pages) == pages
    if isinstance(pages, int):
        found = parse_pages(np.int64(pages))
        assert found == pages
        assert type(found) is int


@pytest.mark.parametrize("wrong", ["page", -1, True, False, 1.5, (0,)])
def test_other_pages_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"pages must be 'channels' .*from 0; got"):
        parse_pages(wrong)


def test_the_only_image_is_the_image() -> None:
    frames = Given(image(7))
    for pages in (None, 0, "frames"):
        assert int(read_chosen(frames, pages, (2, 3))[0, 0, 0]) == 7
        assert chosen_shape(frames, pages) == (1, 4, 5)
    assert frames.asked == [(0, (2, 3))] * 3
    assert frames.noun == "pages"


def test_one_of_several_is_chosen_by_its_number() -> None:
    frames = Given(image(7), image(8, 3, 2, 2))
    assert int(read_chosen(frames, 1)[0, 0, 0]) == 8
    assert chosen_shape(frames, 1) == (3, 2, 2)
    for use in (read_chosen, chosen_shape):
        with pytest.raises(ValueError, match="there is no page 2: it has 2, counted from 0"):
            use(frames, 2)
        with pytest.raises(ValueError, match="it holds 2 pages, and which of them is the image"):
            use(frames, None)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_all_are_channels_of_one_in_their_order(dtype: torch.dtype) -> None:
    frames = Given(image(7, dtype=dtype), image(60000 % 256, 2, 4, 5, dtype=dtype))
    found = read_chosen(frames, "channels", (2, 2))
    assert found.dtype == dtype
    assert [int(channel[0, 0]) for channel in found] == [7, 96, 96]
    assert frames.asked == [(0, (2, 2)), (1, (2, 2))]
    assert chosen_shape(frames, "channels") == (3, 4, 5)


def test_channels_are_of_one_size_and_type() -> None:
    frames = Given(image(7), image(8, 1, 4, 6))
    for use in (read_chosen, chosen_shape):
        with pytest.raises(ValueError, match=r"pages differ in size \(\(4, 5\), \(4, 6\)\) and"):
            use(frames, "channels")
    mixed = Given(image(7), image(8, dtype=torch.float32))
    assert chosen_shape(mixed, "channels") == (2, 4, 5)
    with pytest.raises(ValueError, match="pages differ in type and cannot be channels"):
        read_chosen(mixed, "channels")
