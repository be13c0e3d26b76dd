from __future__ import annotations

import math

import pytest
import torch

from super_selfish.augmentations.rectangles import check_area_and_aspect, draw_rectangles


def boxes_of(
    sides: tuple[int, int], area: float, aspect: float, may_span: bool = False
) -> torch.Tensor:
    """Two hundred boxes of one area in pixels and one width / height."""
    share = area / (sides[0] * sides[1])
    generator = torch.Generator().manual_seed(0)
    return draw_rectangles(
        (200,), *sides, (share, share), (aspect, aspect), generator, may_span=may_span
    )


@pytest.mark.parametrize(
    ("area", "aspect", "height", "width"),
    [(1, 1.0, 1, 1), (18, 2.0, 3, 6), (18, 0.5, 6, 3), (17, 2.2, 3, 6), (49, 1.0, 7, 7)],
)
def test_a_box_has_its_area_and_aspect(area: int, aspect: float, height: int, width: int) -> None:
    found = boxes_of((8, 8), area, aspect)
    assert found[:, 2].eq(height).all() and found[:, 3].eq(width).all()
    assert found[:, :2].amin(dim=0).tolist() == [0, 0]
    assert found[:, :2].amax(dim=0).tolist() == [8 - height, 8 - width]


@pytest.mark.parametrize(("area", "aspect"), [(1, 9.0), (1, 1 / 9), (0.1, 1.0), (0.0, 1.0)])
def test_what_has_less_than_a_pixel_on_a_side_is_no_box(area: float, aspect: float) -> None:
    assert not boxes_of((8, 8), area, aspect).any()


@pytest.mark.parametrize("sides", [(4, 9), (9, 4), (4, 4)])
def test_only_what_may_span_the_image_does(sides: tuple[int, int]) -> None:
    assert not boxes_of(sides, 16, 1.0).any()
    found = boxes_of(sides, 16, 1.0, may_span=True)
    assert found[:, 2:].eq(4).all()
    assert boxes_of(sides, 9, 1.0)[:, 2:].eq(3).all()
    assert not boxes_of((4, 9), 25, 1.0, may_span=True).any()  # five rows are too many
    assert not boxes_of((9, 4), 25, 1.0, may_span=True).any()


def test_every_place_is_as_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = draw_rectangles((200, 30), 3, 4, (1 / 12, 1 / 12), (1.0, 1.0), generator)
    assert boxes.shape == (200, 30, 4)
    places = (4 * boxes[..., 0] + boxes[..., 1]).flatten().long().bincount(minlength=12)
    assert float((places - 500).abs().max()) < 4 * (500 * 11 / 12) ** 0.5


def test_the_first_of_ten_attempts_that_fits_is_taken() -> None:
    count, height, width, scale, ratio = 500, 10, 14, (0.3, 1.0), (0.25, 4.0)
    found = draw_rectangles((count,), height, width, scale, ratio, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    areas, aspects = (torch.rand(count, 10, generator=generator).double() for _ in range(2))
    missed = 0
    for box, own_areas, own_aspects in zip(found.tolist(), areas, aspects, strict=True):
        sides = [0, 0]
        for a, b in zip(own_areas.tolist(), own_aspects.tolist(), strict=True):
            area = (scale[0] + (scale[1] - scale[0]) * a) * height * width
            aspect = math.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * b)
            tried = [round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))]
            if tried[0] < height and tried[1] < width:
                sides = tried
                break
        missed += sides == [0, 0]
        assert box[2:] == sides
        assert box[:2] == [0, 0] or sides != [0, 0]
    assert 0 < missed < count / 4


def test_ranges_end_where_no_rectangle_has_them() -> None:
    for scale, ratio in (((0.0, 1.0), (0.1, 9.0)), ((0.5, 0.5), (1.0, 1.0))):
        check_area_and_aspect(scale, ratio)
    for scale in ((-0.01, 0.5), (0.5, 1.01), (0.5, 0.4)):
        with pytest.raises(ValueError, match="scale must be area fractions"):
            check_area_and_aspect(scale, (1.0, 1.0))
        with pytest.raises(ValueError, match="scale must be area fractions"):
            draw_rectangles((2,), 8, 8, scale, (1.0, 1.0), torch.Generator())
    for ratio in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="ratio must be aspects"):
            check_area_and_aspect((0.1, 0.2), ratio)
