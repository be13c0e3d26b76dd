from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.moving_objects import (
    Objects,
    draw_objects,
    object_masks,
    put_objects,
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


def test_colours_do_not_give_an_object_away() -> None:
    images = photographs()
    images[3:] *= 0.3  # donors of another brightness
    objects = drawn()._replace(donor=torch.arange(6).roll(3))
    composed, masks = put_objects(images, objects)
    total = masks.sum(dim=(2, 3))
    means = [(masks * each).sum(dim=(2, 3)) / total for each in (composed, images)]
    torch.testing.assert_close(means[0], means[1], atol=0.05, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_have_objects_too(count: int) -> None:
    shape = (count, 1, 32, 32)
    objects = draw_objects(shape, (0.1, 0.2), torch.Generator().manual_seed(0))
    composed, masks = put_objects(torch.rand(shape), objects)
    assert composed.shape == shape and masks.shape == shape
    assert composed.min() >= 0 and composed.max() <= 1
