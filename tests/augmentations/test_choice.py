from __future__ import annotations

import pytest
import torch

from super_selfish.augmentations.base import RandomApply
from super_selfish.augmentations.choice import (
    Group,
    RandomChoice,
    apply_in_groups,
    take_parameters,
)
from super_selfish.augmentations.erasing import RandomErasing
from super_selfish.augmentations.geometry import RandomRotation
from super_selfish.augmentations.random_color import RandomBrightness
from super_selfish.augmentations.tone import Invert, RandomPosterize


def test_every_augmentation_is_drawn_equally_often(generator: torch.Generator) -> None:
    choice = RandomChoice([Invert(), RandomBrightness(0.5, 0.5), RandomErasing()])
    groups = choice.draw((9000, 3, 8, 8), generator)
    for group in groups:
        assert abs(len(group.index) - 3000) < 4 * 44.7  # sqrt(9000 * 1/3 * 2/3)
    everyone = torch.cat([group.index for group in groups]).sort().values
    assert torch.equal(everyone, torch.arange(9000))


def test_each_sample_gets_its_own_augmentation_only(generator: torch.Generator) -> None:
    images = torch.rand(12, 3, 8, 8, generator=generator) / 4
    before = images.clone()
    choice = RandomChoice([Invert(), RandomBrightness(0.5, 0.5)])
    groups = choice.draw((12, 3, 8, 8), generator)
    views = choice.apply(images, groups)
    inverted, halved = groups[0].index, groups[1].index
    assert torch.equal(views[inverted], 1.0 - images[inverted])
    torch.testing.assert_close(views[halved], images[halved] / 2)
    assert torch.equal(images, before)


def test_a_batch_is_the_same_as_its_samples_one_by_one(generator: torch.Generator) -> None:
    images = torch.rand(6, 3, 16, 16, generator=generator)
    choice = RandomChoice([RandomRotation(30.0), RandomErasing(), RandomPosterize(2, 6)])
    groups = choice.draw((6, 3, 16, 16), generator)
    views = choice.apply(images, groups)
    for augmentation, (index, parameters) in zip(choice.augmentations, groups, strict=True):
        for row, sample in enumerate(index.tolist()):
            alone = take_parameters(parameters, torch.tensor([row]))
            view = augmentation.apply(images[sample : sample + 1], alone)
            torch.testing.assert_close(views[sample : sample + 1], view)


def test_samples_of_no_group_stay() -> None:
    images = torch.rand(4, 1, 8, 8)
    views = apply_in_groups(images.clone(), [Group(Invert(), torch.tensor([2]), None)])
    assert torch.equal(views[[0, 1, 3]], images[[0, 1, 3]])
    assert torch.equal(views[2], 1.0 - images[2])


def test_parameters_can_be_taken_again_and_again(generator: torch.Generator) -> None:
    parameters = RandomRotation(30.0).draw((5, 3, 8, 8), generator)
    taken = take_parameters(parameters, torch.tensor([4, 4, 0]))
    assert torch.equal(taken.angle, parameters.angle[[4, 4, 0]])
    assert taken.displacement is None


def test_parameters_of_a_whole_batch_are_not_taken_apart(generator: torch.Generator) -> None:
    for augmentation in (RandomApply(Invert(), 0.5), RandomChoice([Invert()])):
        drawn = augmentation.draw((5, 3, 8, 8), generator)
        with pytest.raises(TypeError, match="cannot take samples out of parameters"):
            take_parameters(drawn, torch.tensor([0]))


def test_an_empty_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one augmentation"):
        RandomChoice([])
