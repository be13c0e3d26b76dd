from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2.functional as tv

from super_selfish.augmentations.erasing import (
    RandomErasing,
    draw_rectangles,
    erase,
    rectangle_mask,
)
from tests.references import largest_uniform_deviation


def test_the_mask_is_the_union_of_the_present_rectangles(generator: torch.Generator) -> None:
    boxes = draw_rectangles((4, 5), 17, 23, (0.05, 0.2), (0.3, 3.3), generator)
    present = torch.rand(4, 5, generator=generator) < 0.5
    expected = torch.zeros(4, 1, 17, 23, dtype=torch.bool)
    for b in range(4):
        for n in range(5):
            top, left, height, width = boxes[b, n].int().tolist()
            if present[b, n]:
                expected[b, 0, top : top + height, left : left + width] = True
    mask = rectangle_mask(boxes, present, (17, 23))
    assert mask.dtype == torch.bool
    assert torch.equal(mask, expected)


def test_no_rectangle_present_is_an_empty_mask() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0]]])
    assert not rectangle_mask(boxes, torch.zeros(1, 1, dtype=torch.bool), (8, 8)).any()


@pytest.mark.parametrize("channels", [1, 5])
def test_erase_agrees_with_torchvision(channels: int, generator: torch.Generator) -> None:
    images = torch.rand(3, channels, 12, 20, generator=generator)
    boxes = torch.tensor([[0, 0, 12, 1], [3, 4, 5, 6], [11, 19, 1, 1]])
    before = images.clone()
    for value in (0.25, torch.rand(channels, 1, 1, generator=generator)):
        views = erase(images, boxes.float(), value)
        for view, image, box in zip(views, images, boxes.tolist(), strict=True):
            assert torch.equal(view, tv.erase(image, *box, v=torch.as_tensor(value)))
    assert torch.equal(images, before)


def test_drawn_rectangles_have_uniform_area_and_log_uniform_aspect(
    generator: torch.Generator,
) -> None:
    boxes = draw_rectangles((400, 10), 1000, 1000, (0.05, 0.1), (0.3, 3.3), generator)
    tops, lefts, heights, widths = boxes.unbind(dim=-1)
    bound = 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov at 1 %
    assert largest_uniform_deviation((heights * widths / 1e6).flatten(), 0.05, 0.1) < bound
    aspects = (widths / heights).log().flatten()
    assert largest_uniform_deviation(aspects, math.log(0.3), math.log(3.3)) < bound
    assert largest_uniform_deviation((tops / (1000 - heights)).flatten(), 0.0, 1.0) < bound
    assert largest_uniform_deviation((lefts / (1000 - widths)).flatten(), 0.0, 1.0) < bound


def test_drawn_rectangles_stay_inside_and_span_no_side(generator: torch.Generator) -> None:
    boxes = RandomErasing().draw((4000, 3, 12, 30), generator)
    assert torch.equal(boxes, boxes.round())
    assert (boxes >= 0).all()
    assert (boxes[:, 2] < 12).all() and (boxes[:, 3] < 30).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 12).all() and (boxes[:, 1] + boxes[:, 3] <= 30).all()


def test_the_aspect_of_erasing_is_height_over_width(generator: torch.Generator) -> None:
    boxes = RandomErasing((0.1, 0.1), (2.0, 3.0)).draw((50, 3, 100, 100), generator)
    assert (boxes[:, 2] > 1.8 * boxes[:, 3]).all()


def test_a_rectangle_that_never_fits_erases_nothing(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 8, 8, generator=generator)
    assert torch.equal(RandomErasing((1.0, 1.0))(images, generator), images)


def test_random_erasing_writes_one_value_for_each_channel(generator: torch.Generator) -> None:
    images = torch.full((4, 3, 16, 16), 0.5)
    views = RandomErasing((0.2, 0.3), value=(0.0, 0.1, 1.0))(images, generator)
    for channel, value in enumerate((0.0, 0.1, 1.0)):
        erased = views[:, channel] != 0.5
        assert erased.flatten(1).any(dim=1).all()
        torch.testing.assert_close(
            views[:, channel][erased], torch.full_like(views[:, channel][erased], value)
        )


def test_equal_generators_give_equal_views() -> None:
    images = torch.ones(4, 3, 16, 16)
    first, second = (RandomErasing()(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="value must lie in"):
        RandomErasing(value=2.0)
    with pytest.raises(ValueError, match="scale must be"):
        draw_rectangles((2,), 8, 8, (0.5, 0.1), (0.3, 3.3), generator)
    with pytest.raises(ValueError, match="2 channels and the images 3"):
        RandomErasing(value=(0.1, 0.2))(torch.rand(1, 3, 8, 8), generator)
    with pytest.raises(ValueError, match="boxes must be"):
        rectangle_mask(torch.zeros(2, 4), torch.ones(2, dtype=torch.bool), (8, 8))
