from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.data.sources import ImageSource
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
