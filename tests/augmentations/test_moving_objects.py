from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.moving_objects import (
    Objects,
    draw_objects,
    object_masks,
    put_objects,
    standing_out,
)

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
