from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.primitives import autoaugment_primitives, cpc_primitives
from super_selfish.augmentations.recipes import cpc_v2

POOLS = {"library": cpc_primitives(), "paper": autoaugment_primitives()}


def smooth(number: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    coarse = torch.rand(number, channels, 4, 4, generator=generator) * 0.8 + 0.1
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")


def test_the_pools_have_thirteen_and_fifteen_primitives() -> None:
    assert {name: len(pool) for name, pool in POOLS.items()} == {"library": 13, "paper": 15}


@pytest.mark.parametrize(
    ("pool", "number"), [(pool, n) for pool in POOLS for n in range(len(POOLS[pool]))]
)
def test_every_primitive_changes_a_colour_image(
    pool: str, number: int, generator: torch.Generator
) -> None:
    images = smooth(8, 3, (33, 40), generator)
    views = POOLS[pool][number](images, generator)
    changed = (views - images).abs().flatten(1).amax(dim=1) > 1e-4
    assert changed.float().mean() > 0.5


@pytest.mark.parametrize("paper", [False, True])
def test_primitives_are_drawn_uniformly_and_independently(
    paper: bool, generator: torch.Generator
) -> None:
    recipe = cpc_v2((8, 8), paper=paper)
    count, total = (2, 15) if paper else (3, 13)
    number = 6000
    drawn = recipe.draw((number, 3, 8, 8), generator)[1 : 1 + count]
    choices = torch.empty(count, number, dtype=torch.int64)
    for slot, groups in enumerate(drawn):
        for primitive, group in enumerate(groups):
            choices[slot, group.index] = primitive
    expected, deviation = number / total, (number / total) ** 0.5
    for slot in choices:
        assert (slot.bincount(minlength=total) - expected).abs().max() < 4 * deviation
    repeated = (choices[0] == choices[1]).float().mean() * number  # with replacement
    assert abs(repeated - expected) < 4 * deviation


def test_elastic_deformation_and_grayscale_come_at_their_rates(generator: torch.Generator) -> None:
    elastic, gray = cpc_v2((8, 8)).draw((10000, 3, 8, 8), generator)[-2:]
    assert abs(len(elastic.index) / 10000 - 0.2) < 0.016
    assert abs(gray.selected.float().mean() - 0.25) < 0.018
    # 10 pixels at 225: 10 * 8 / 225 here.
    assert elastic.parameters.std() == pytest.approx(10 * 8 / 225, rel=0.03)


def test_the_rates_and_the_pool_are_arguments(generator: torch.Generator) -> None:
    recipe = cpc_v2((32, 32), count=0, p_elastic=0.0, p_grayscale=1.0)
    views = recipe(smooth(4, 3, (32, 32), generator), generator)
    torch.testing.assert_close(views[:, 0], views[:, 1])
    recipe = cpc_v2((32, 32), primitives=cpc_primitives()[4:5], p_elastic=0.0, p_grayscale=0.0)
    images = smooth(4, 3, (32, 32), generator)
    torch.testing.assert_close(recipe(images, generator), 1.0 - images)  # inverted three times


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_views_are_finite_and_in_range(
    paper: bool, channels: int, generator: torch.Generator
) -> None:
    views = cpc_v2((24, 32), paper=paper)(smooth(96, channels, (24, 32), generator), generator)
    assert views.shape == (96, channels, 24, 32)
    assert views.dtype == torch.float32
    assert 0.0 <= views.min() and views.max() <= 1.0


@pytest.mark.parametrize("paper", [False, True])
def test_equal_generators_give_equal_views(paper: bool, images: Tensor) -> None:
    recipe = cpc_v2((32, 32), paper=paper)
    first, second = (recipe(images, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, recipe(images, torch.Generator().manual_seed(5)))


def test_bytes_words_and_floats_give_the_same_view(images: Tensor) -> None:
    recipe = cpc_v2((32, 32))
    words = (images.int() * 257).to(torch.uint16)  # 255 * 257 = 65535
    views = [
        recipe(given, torch.Generator().manual_seed(4)) for given in (images, words, images / 255)
    ]
    # Equalize and posterize round to bytes: a hair's difference may become one level.
    for view in views[1:]:
        assert (view - views[0]).abs().mean() < 1e-3


def test_images_of_another_size_are_resized_first(generator: torch.Generator) -> None:
    images = smooth(5, 3, (50, 40), generator)
    recipe = cpc_v2((32, 24))
    assert recipe(images, generator).shape == (5, 3, 32, 24)
    assert recipe.output_shape((5, 3, 50, 40)) == (5, 3, 32, 24)


def test_nothing_is_changed_in_place(images: Tensor, generator: torch.Generator) -> None:
    given = images / 255
    before = given.clone()
    for paper in (False, True):
        cpc_v2((32, 32), paper=paper)(given, generator)
    assert torch.equal(given, before)


def test_the_paper_flips_half_of_the_views(generator: torch.Generator) -> None:
    flips = cpc_v2((8, 8), paper=True).draw((4000, 3, 8, 8), generator)[-1]
    assert abs(flips.float().mean() - 0.5) < 0.032


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="count must be"):
        cpc_v2((32, 32), count=-1)
    with pytest.raises(ValueError, match="p is a probability"):
        cpc_v2((32, 32), p_elastic=1.5)
    with pytest.raises(ValueError, match="at least one augmentation"):
        cpc_v2((32, 32), primitives=())
