from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.data.sources import ImageSource
from super_selfish.memory import MemoryBank
from super_selfish.supervisors.instances import draw_negatives, memory_size


class Kind:
    pass


def test_a_memory_is_as_large_as_the_dataset(images: Tensor) -> None:
    assert memory_size(ImageSource(images), None, Kind) == 22
    assert memory_size(ImageSource(images), 22, Kind) == 22
    assert memory_size(None, 7, Kind) == 7
    assert memory_size(None, None, Kind) == 2


def test_a_memory_of_another_dataset_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"num_images is 23 .* has 22: .*Kind\(\)\.load"):
        memory_size(ImageSource(images), 23, Kind)
    with pytest.raises(ValueError, match="give at least 2, got 1"):
        memory_size(ImageSource(images[:1]), None, Kind)


def test_negatives_are_uniform_and_of_the_dataset(generator: torch.Generator) -> None:
    counts = draw_negatives(20000, 19999, generator).div(2000, rounding_mode="floor").bincount()
    assert len(counts) == 10
    assert (counts - 2000).abs().max() < 4 * 42.5


def test_a_small_memory_is_taken_whole(generator: torch.Generator) -> None:
    assert torch.equal(draw_negatives(5, 8, generator), torch.arange(5))
    assert torch.equal(draw_negatives(5, 5, generator), torch.arange(5))


@pytest.mark.parametrize("seed", [0, 1])
def test_collators_draw_by_the_rule_that_the_memory_states(seed: int) -> None:
    ours = draw_negatives(1000, 700, torch.Generator().manual_seed(seed))
    theirs = MemoryBank(1000, 2).draw_negatives(700, torch.Generator().manual_seed(seed))
    assert torch.equal(ours, theirs)  # whose statistics tests/memory/test_bank.py looks at
    assert len(ours.unique()) < 700  # with replacement


def test_drawing_costs_what_is_drawn_and_not_the_dataset() -> None:
    states = []
    for images in (65, 1_281_167):
        generator = torch.Generator().manual_seed(0)
        assert draw_negatives(images, 64, generator).shape == (64,)
        states.append(generator.get_state())
    assert torch.equal(*states)
