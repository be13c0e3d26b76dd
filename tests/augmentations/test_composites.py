from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.choice import take_parameters
from super_selfish.augmentations.composites import FixedComposites, exemplar_primitives
from super_selfish.augmentations.random_color import RandomBrightness
from super_selfish.augmentations.tone import Invert


def smooth(number: int, generator: torch.Generator, channels: int = 3) -> Tensor:
    coarse = torch.rand(number, channels, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, size=(24, 32), mode="bilinear")


def made(seed: int = 0, count: int = 20, places: int = 5, p: float = 0.5) -> FixedComposites:
    return FixedComposites((24, 32), count, places, p, torch.Generator().manual_seed(seed))


def test_a_composite_applies_its_primitives_in_order(generator: torch.Generator) -> None:
    composites, images = made(), smooth(20, generator)
    views = composites.apply(images, torch.arange(20))
    for number in range(20):
        view = images[number : number + 1]
        for place, primitive in enumerate(composites.choices[number].tolist()):
            if primitive >= 0:
                drawn = composites.parameters[place][primitive]
                own = take_parameters(drawn, torch.tensor([number]))
                view = composites.primitives[primitive].apply(view, own)
        torch.testing.assert_close(views[number : number + 1], view)


def test_a_composite_is_the_same_at_every_access_and_every_place_in_a_batch(
    generator: torch.Generator,
) -> None:
    composites, images = made(), smooth(1, generator)
    numbers = torch.tensor([3, 7, 3, 0, 7])
    views = composites.apply(images.expand(5, -1, -1, -1), numbers)
    torch.testing.assert_close(views[0], views[2])
    torch.testing.assert_close(views[1], views[4])
    torch.testing.assert_close(views[3:4], composites.apply(images, numbers[3:4]))


def test_the_seed_decides_the_composites(generator: torch.Generator) -> None:
    images, numbers = smooth(20, generator), torch.arange(20)
    first, again, other = (made(seed).apply(images, numbers) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_places_are_kept_at_their_rate_and_primitives_are_uniform() -> None:
    composites = made(count=2000, places=10, p=0.3)
    kept = composites.choices >= 0
    assert abs(kept.float().mean() - 0.3) < 0.013
    counts = composites.choices[kept].bincount(minlength=16)
    assert (counts - 375).abs().max() < 4 * 19.4


def test_not_all_composites_are_empty(generator: torch.Generator) -> None:
    for seed in range(8):
        assert (made(seed, count=1, places=1, p=1e-6).choices >= 0).any()


def test_composites_are_drawn_uniformly(generator: torch.Generator) -> None:
    counts = made().draw((8000, 3, 24, 32), generator).bincount(minlength=20)
    assert (counts - 400).abs().max() < 4 * 20


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_views_are_in_range(channels: int, generator: torch.Generator) -> None:
    views = made(places=10)(smooth(40, generator, channels), generator)
    assert views.shape == (40, channels, 24, 32)
    assert 0.0 <= views.min() and views.max() <= 1.0


def test_the_pool_has_sixteen_primitives() -> None:
    assert len(exemplar_primitives()) == 16


def test_another_pool_may_be_given(generator: torch.Generator) -> None:
    pool = (Invert(), RandomBrightness(0.5, 0.5))
    composites = FixedComposites((24, 32), 1, 1, 1.0, generator, pool)
    images = smooth(2, generator)
    expected = 1 - images if composites.choices.item() == 0 else images / 2
    torch.testing.assert_close(composites(images, generator), expected)


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="count and places"):
        made(places=0)
    with pytest.raises(ValueError, match="p is a probability"):
        made(p=0.0)
    with pytest.raises(ValueError, match=r"for images of \(24, 32\), got \(16, 16\)"):
        made()(torch.rand(2, 3, 16, 16), generator)
