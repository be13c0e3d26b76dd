"""A step may overwrite what an earlier one made, and never what the user gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, put_samples
from super_selfish.augmentations.composites import FixedComposites
from super_selfish.augmentations.crops import RandomHorizontalFlip
from super_selfish.augmentations.random_color import RandomGrayscale
from super_selfish.augmentations.tone import Invert
from tests.augmentations.test_compiled import recipes

SIZES = [(24, 20), (160, 128)]  # with samples that are copied by index, and one by one


def plainly(augmentation: Augmentation, images: Tensor, parameters: Any) -> Tensor:
    """Never in place."""
    if not isinstance(augmentation, Compose):
        return augmentation.apply(images, parameters)
    for step, drawn in zip(augmentation.augmentations, parameters, strict=True):
        images = plainly(step, images, drawn)
    return images


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", recipes((32, 32)))
def test_a_recipe_gives_the_views_of_its_steps_and_spares_the_images(
    name: str, channels: int, size: tuple[int, int], generator: torch.Generator
) -> None:
    recipe = recipes(size)[name]
    images = torch.rand(7, channels, *size, generator=generator)
    given = images.clone()
    parameters = recipe.draw((7, channels, *size), generator)
    views = recipe.apply(images, parameters)
    assert torch.equal(images, given)
    assert torch.equal(views, plainly(recipe, images, parameters))
    assert torch.equal(recipe.apply_(images, parameters), views)


def test_composites_spare_the_images(generator: torch.Generator) -> None:
    images = torch.rand(7, 3, 16, 16, generator=generator)
    given = images.clone()
    composites = FixedComposites((16, 16), 20, 3, 0.7, generator)
    assert not torch.equal(composites(images, generator), given)
    assert torch.equal(images, given)


def test_a_view_of_the_images_is_theirs_too(generator: torch.Generator) -> None:
    class Upper(Invert):
        def apply(self, images: Tensor, parameters: None) -> Tensor:
            return images[:, :, :4]

    images = torch.rand(3, 3, 8, 8, generator=generator)
    given = images.clone()
    Compose([Upper(), RandomGrayscale(1.0)])(images, generator)
    assert torch.equal(images, given)


def test_gradients_pass_through_a_composition(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 8, 8, generator=generator, requires_grad=True)
    views = Compose([RandomHorizontalFlip(), RandomGrayscale(0.5)])(images, generator)
    views.sum().backward()
    assert images.grad is not None
    assert torch.allclose(images.grad.sum(dim=1), torch.full((4, 8, 8), 3.0), atol=1e-2)


@pytest.mark.parametrize("size", SIZES)
def test_samples_are_put_where_they_belong(size: tuple[int, int]) -> None:
    images = torch.zeros(5, 3, *size)
    samples = torch.rand(2, 3, *size)
    assert put_samples(images, torch.tensor([3, 0]), samples) is images
    assert torch.equal(images[[3, 0]], samples)
    assert not images[[1, 2, 4]].any()
