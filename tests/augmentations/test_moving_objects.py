from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.moving_objects import (
    LEAST_DISTANCE,
    Objects,
    draw_objects,
    object_masks,
    put_objects,
    standing_out,
)
from tests.references import largest_uniform_deviation

SHAPE = (6, 3, 40, 56)


def drawn(seed: int = 0) -> Objects:
    return draw_objects(SHAPE, (0.05, 0.2), torch.Generator().manual_seed(seed))


def photographs() -> Tensor:
    coarse = torch.rand(6, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=SHAPE[2:], mode="bicubic").clamp(0, 1)


def test_draws_stay_in_their_ranges() -> None:
    for seed in range(20):
        objects = drawn(seed)
        length = objects.shift.square().sum(dim=1).sqrt()
        assert (length >= 0.05 - 1e-6).all() and (length <= 0.2 + 1e-6).all()
        assert (objects.donor != torch.arange(6)).all()
        share = (object_masks(objects, (40, 56), torch.device("cpu")) > 0.5).float()
        assert (share.mean(dim=(1, 2, 3)) > 0.02).all()
        assert (share.mean(dim=(1, 2, 3)) < 0.4).all()


def test_an_object_is_put_where_its_mask_is_and_nowhere_else() -> None:
    images, objects = photographs(), drawn()
    before = images.clone()
    composed, masks = put_objects(images, objects)
    assert torch.equal(images, before)
    outside = (masks < 1e-4).expand_as(images)
    torch.testing.assert_close(composed[outside], images[outside], atol=1e-3, rtol=0)
    inside = (masks > 0.99).expand_as(images)
    assert (composed - images)[inside].abs().mean() > 0.02
    edge = ((masks > 0.05) & (masks < 0.95)).sum(dim=(1, 2, 3))
    assert (edge > 40).all()  # soft: some pixels on every side


def test_an_object_put_upon_itself_cannot_be_seen() -> None:
    images, objects = photographs(), drawn()
    at_home = objects._replace(donor=torch.arange(6), shift=torch.zeros(6, 2))
    composed, _ = put_objects(images, at_home)
    torch.testing.assert_close(composed, images, atol=1e-6, rtol=0)


def discs(colour: float = 0.9) -> Tensor:
    """Six plain images, each with a disc of radius 8 pixels in the middle."""
    rows, columns = torch.arange(40) - 19.5, torch.arange(56) - 27.5
    inside = (rows[:, None].square() + columns.square()).sqrt() < 8
    tones = torch.linspace(0.1, 0.5, 6)[:, None, None, None].expand(SHAPE)
    return torch.where(inside, torch.tensor(colour), tones)


def test_what_has_other_colours_than_the_border_stands_out() -> None:
    outlines = standing_out(discs())
    assert outlines.shape == (6, 1, 40, 56)
    assert (outlines[:, :, 16:24, 24:32] > 0.95).all()
    assert (outlines[:, :, :8] < 0.05).all() and (outlines[:, :, :, 40:] < 0.05).all()
    area = outlines.sum(dim=(1, 2, 3)) / (torch.pi * 8**2)
    assert (area > 0.8).all() and (area < 1.5).all()


@pytest.mark.parametrize("difference, stands", [(0.03, False), (0.07, True)])
def test_little_more_than_noise_does_not_stand_out(difference: float, stands: bool) -> None:
    images = torch.full((1, 1, 32, 32), 0.5)
    assert (standing_out(images) < 0.01).all()
    images[:, :, 8:24, 8:24] += difference
    assert bool(standing_out(images)[0, 0, 16, 16] > 0.95) is stands


def test_a_thing_comes_as_it_is_and_moves_by_its_shift() -> None:
    shift = torch.tensor([[0.25, -0.1]]).expand(6, 2)  # 10 rows down, 4 columns to the left
    objects = drawn()._replace(shift=shift, donor=torch.arange(6).roll(1))
    images = discs()
    composed, masks = put_objects(images, objects)
    expected = standing_out(images).roll(1, 0).roll((10, -4), (2, 3))
    torch.testing.assert_close(masks, expected)
    assert (composed[:, :, 29, 23] - 0.9).abs().max() < 0.02  # the middle of the disc that came


def test_a_thing_that_leaves_the_image_does_not_come_in_on_the_other_side() -> None:
    shift = torch.tensor([[0.5, 0.0]]).expand(6, 2)  # 20 rows: half of it is out
    composed, masks = put_objects(discs(), drawn()._replace(shift=shift))
    assert (masks[:, :, :12] < 0.01).all()
    torch.testing.assert_close(composed[:, :, :12], discs()[:, :, :12], atol=0.01, rtol=0)
    assert (masks[:, :, 36:, 27] > 0.9).all()


def test_where_nothing_stands_out_a_part_with_a_drawn_outline_comes_in_the_colours_there() -> None:
    images = torch.linspace(0.1, 0.9, 6)[:, None, None, None].expand(SHAPE).clone()
    images += 0.02 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    objects = drawn()._replace(donor=torch.arange(6).roll(3))
    composed, masks = put_objects(images, objects)
    torch.testing.assert_close(masks, object_masks(objects, (40, 56), torch.device("cpu")))
    total = masks.sum(dim=(2, 3))
    means = [(masks * each).sum(dim=(2, 3)) / total for each in (composed, images)]
    torch.testing.assert_close(means[0], means[1], atol=0.01, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_have_objects_too(count: int) -> None:
    shape = (count, 1, 32, 32)
    objects = draw_objects(shape, (0.1, 0.2), torch.Generator().manual_seed(0))
    composed, masks = put_objects(torch.rand(shape), objects)
    assert composed.shape == shape and masks.shape == shape
    assert composed.min() >= 0 and composed.max() <= 1


def test_objects_are_drawn_evenly_from_all_places_sizes_outlines_and_ways() -> None:
    objects = draw_objects((20_000, 3, 40, 56), (0.05, 0.2), torch.Generator().manual_seed(0))
    bound = 2.0 / 20_000**0.5  # Kolmogorov-Smirnov at 0.07 %
    for side in (0, 1):
        assert largest_uniform_deviation(objects.center[:, side], 0.1, 0.9) < bound
        assert largest_uniform_deviation(objects.radii[:, side], 0.12, 0.28) < bound
    assert objects.waves.shape == (20_000, 1, 4, 4)
    assert largest_uniform_deviation(objects.waves[:, 0, 3, 0], -1, 1) < bound
    angle = torch.atan2(objects.shift[:, 0], objects.shift[:, 1])
    assert largest_uniform_deviation(angle, -torch.pi, torch.pi) < bound
    length = objects.shift.square().sum(dim=1).sqrt()
    assert largest_uniform_deviation(length, 0.05, 0.2) < bound


@pytest.mark.parametrize("size", [(120, 180), (180, 120)])
@pytest.mark.parametrize("wave", [0.0, 1.0, -1.0])
def test_an_outline_is_an_ellipse_bent_by_three_tenths_and_soft_by_three_hundredths(
    size: tuple[int, int], wave: float
) -> None:
    height, width = size
    objects = Objects(
        donor=torch.tensor([0]),
        center=torch.tensor([[0.5, 0.4]]),
        radii=torch.tensor([[0.2, 0.2]]),
        waves=torch.full((1, 1, 4, 4), wave),
        shift=torch.zeros(1, 2),
    )
    (mask,) = object_masks(objects, size, torch.device("cpu"))[0]
    down = torch.arange(height) + 0.5 - 0.5 * height
    across = torch.arange(width) + 0.5 - 0.4 * width
    way = (down[:, None].square() + across.square()).sqrt() / 120  # of the shorter side
    # A sigmoid that is as steep at the outline as a ramp over 0.03 of the side.
    expected = 1 / (1 + (-4 * (0.2 * (1 + 0.3 * wave) - way) / 0.03).exp())
    torch.testing.assert_close(mask, expected, atol=1e-4, rtol=0)
    longer = objects._replace(radii=torch.tensor([[0.1, 0.3]]))
    (ellipse,) = object_masks(longer, size, torch.device("cpu"))[0]
    row, column = ellipse[height // 2], ellipse[:, int(0.4 * width)]
    factor = 2 * (1 + 0.3 * wave)  # both ways
    assert float((row > 0.5).sum()) == pytest.approx(0.3 * factor * 120, abs=2)
    assert float((column > 0.5).sum()) == pytest.approx(0.1 * factor * 120, abs=2)


def in_the_middle() -> Tensor:
    """How much the middle counts on a grid of 32 pixels a side, from -1 to 1."""
    way = torch.linspace(-1, 1, 32)
    return (-(way[:, None].square() + way.square()) / 0.7).exp()


def test_what_has_six_tenths_of_the_largest_difference_belongs_to_a_thing_and_three_do_not() -> (
    None
):
    image = torch.zeros(1, 1, 32, 32)
    levels = torch.tensor([1.0, 0.6, 0.45, 0.3])
    for number, level in enumerate(levels):
        rows, columns = slice(8 * (number // 2) + 8, None), slice(8 * (number % 2) + 8, None)
        image[0, 0, rows, columns] = level
    image[:, :, 24:] = image[:, :, :, 24:] = 0
    image *= 0.4 / in_the_middle()  # so that every part counts by its level alone
    outline = standing_out(image)[0, 0]
    found = torch.stack([outline[x, y] for x in (12, 20) for y in (12, 20)])
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 0.5, 0.0]), atol=0.06, rtol=0)


def test_what_lies_towards_the_border_counts_less() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, 3:29, 3:29] = 0.5
    outline = standing_out(image)[0, 0]
    expected = ((in_the_middle() - 0.3) / 0.3).clamp(0, 1)
    torch.testing.assert_close(outline[7:25, 7:25], expected[7:25, 7:25], atol=0.04, rtol=0)
    assert expected[7:25, 7:25].min() < 0.45


def test_one_bright_pixel_is_seen_as_wide_as_noise_is_smoothed() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 16, 16] = 1
    # Means of 3 pixels of means of 5, each way; less than the least distance is needed for all.
    tent = torch.tensor([1.0, 2.0, 3.0, 3.0, 3.0, 2.0, 1.0]) / 15
    share = tent[:, None] * tent / LEAST_DISTANCE
    expected = torch.zeros(32, 32)
    expected[13:20, 13:20] = ((share - 0.3) / 0.3).clamp(0, 1)
    torch.testing.assert_close(standing_out(image)[0, 0], expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_colours_of_any_side_do_not_stand_out(side: str) -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, 12:20, 8:14] = 0.8  # a thing in the colour of one side
    image[0, 1, 12:20, 18:24] = 0.8  # and one in a colour of its own
    strip = {
        "top": (slice(0, 4), slice(None)),
        "bottom": (slice(-4, None), slice(None)),
        "left": (slice(None), slice(0, 4)),
        "right": (slice(None), slice(-4, None)),
    }[side]
    image[0, 0][strip] = 0.8
    outline = standing_out(image)[0, 0]
    assert outline[16, 11] < 0.05
    assert outline[16, 21] > 0.95


def squares(half: int, contrast: float) -> Tensor:
    """Two images of a square whose every pixel stands out alike, however near to the border."""
    image = torch.zeros(2, 1, 32, 32)
    inside = slice(16 - half, 16 + half)
    image[:, :, inside, inside] = (contrast / in_the_middle())[inside, inside]
    return image


@pytest.mark.parametrize(
    "half, contrast, is_thing",
    [(1, 0.24, False), (1, 0.4, True), (12, 0.1, True), (13, 0.1, False)],
)
def test_things_cover_between_two_and_sixty_hundredths(
    half: int, contrast: float, is_thing: bool
) -> None:
    images = squares(half, contrast)
    outlines = standing_out(images)
    share = float(outlines[0].mean())
    assert (0.02 < share < 0.6) is is_thing
    assert 0.016 < share < 0.025 or 0.5 < share < 0.7  # near the limits
    objects = draw_objects((2, 1, 32, 32), (0.1, 0.2), torch.Generator().manual_seed(0))
    _, masks = put_objects(images, objects._replace(shift=torch.zeros(2, 2)))
    drawn_outlines = object_masks(objects, (32, 32), torch.device("cpu"))
    torch.testing.assert_close(masks, outlines if is_thing else drawn_outlines)


@pytest.mark.parametrize(
    "own, there, expected", [(0.1, 0.1, 0.1), (0.2, 0.0, 0.1), (0.1, 0.2, 0.15), (0.04, 0.4, 0.08)]
)
def test_a_part_keeps_half_of_its_contrast_and_takes_at_most_twice_of_it(
    own: float, there: float, expected: float
) -> None:
    board = 2.0 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2) - 1  # smoothed it is plain
    donor, place = 0.3 + own * board, 0.5 + there * board
    images = torch.stack([donor, place])[:, None]
    objects = draw_objects((2, 1, 64, 64), (0.0, 0.0), torch.Generator().manual_seed(0))
    objects = objects._replace(
        donor=torch.tensor([0, 0]), center=torch.full((2, 2), 0.5), radii=torch.full((2, 2), 0.25)
    )
    composed, masks = put_objects(images, objects)
    inside = masks[1, 0] > 0.9999
    assert inside.sum() > 100
    wanted = 0.5 + expected * board
    torch.testing.assert_close(composed[1, 0][inside], wanted[inside], atol=0.005, rtol=0)
