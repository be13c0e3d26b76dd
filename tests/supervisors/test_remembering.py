from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.data.sources import ImageSource
from super_selfish.losses import InfoNCELoss
from super_selfish.memory import MemoryBank
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.diagnostics import collapse
from super_selfish.supervisors.remembering import (
    draw_negatives,
    guessing_loss,
    memory_size,
    standstill,
)


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


def test_a_collapse_and_a_standstill_are_told_below_their_limits_alone() -> None:
    assert collapse(0.1, "lower lr") is standstill(1e-3) is None
    assert collapse(math.nan, "lower lr") is standstill(math.nan) is None
    assert collapse(0.04, "lower lr", besides=", and so on") == (
        "the embeddings have collapsed: they spread over 4% of what independent ones would, and so "
        "on; lower lr"
    )
    assert standstill(2e-4, "both hardly change: their") == (
        "both hardly change: their entries move by 0.0002 of their length when their image is "
        "seen; lower bank_momentum, or raise lr"
    )


@pytest.mark.parametrize("kind", ["instance", "pirl", "cmc"])
def test_what_remembers_refuses_alike(kind: str) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"bank_momentum": 1.0}, r"bank_momentum must be in \[0, 1\), got 1.0"),
        ({"form": "bce"}, 'form is "softmax" or "nce", got \'bce\''),
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            SUPERVISORS[kind](**options)


def test_guessing_costs_the_logarithm_of_the_candidates() -> None:
    loss = InfoNCELoss()
    assert guessing_loss(loss, 100, 9) == pytest.approx(math.log(10))
    assert guessing_loss(loss, 100, 99) == pytest.approx(math.log(100))
    assert guessing_loss(loss, 100, 4096) == pytest.approx(math.log(100))
    assert guessing_loss(torch.nn.MSELoss(), 100, 9) is None


def test_two_images_are_the_fewest(images: Tensor) -> None:
    assert memory_size(ImageSource(images[:2]), None, Kind) == memory_size(None, 2, Kind) == 2
    with pytest.raises(ValueError, match="give at least 2, got 1"):
        memory_size(None, 1, Kind)
