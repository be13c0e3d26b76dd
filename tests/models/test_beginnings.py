"""What the weights of a network tell of its past."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from super_selfish.models.beginnings import looks_trained
from super_selfish.models.untrained import draw_twin


class Plain(nn.Module):
    """Has no norms, which would tell more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 50, bias=False)
        self.scale = nn.Parameter(torch.full((4,), 0.1))
        self.nothing = nn.Parameter(torch.empty(0))


@pytest.fixture
def new() -> Plain:
    """As the twin begins with which it is compared."""
    twin = draw_twin(Plain()).network
    assert isinstance(twin, Plain)
    return twin


@pytest.mark.parametrize(("errors", "is_trained"), [(-9, True), (-7, False), (7, False), (9, True)])
def test_a_mean_of_eight_errors_tells_of_training(
    errors: float, is_trained: bool, new: Plain
) -> None:
    weight = new.layer.weight.data
    error = float(weight.std()) * math.sqrt(2 / 1000)  # of a difference of two means
    weight += errors * error
    assert looks_trained(new) == is_trained


@pytest.mark.parametrize(
    ("change", "is_trained"), [(-0.25, True), (-0.2, False), (0.2, False), (0.25, True)]
)
def test_a_deviation_tells_of_training_beyond_its_error_and_a_twentieth(
    change: float, is_trained: bool, new: Plain
) -> None:
    assert 0.2 < 8 / math.sqrt(2 * 1000) + 0.05 < 0.25
    new.layer.weight.data *= 1 + change
    assert looks_trained(new) == is_trained


def test_a_constant_that_has_moved_tells_of_training(new: Plain) -> None:
    assert not looks_trained(new)
    new.scale.data[2] += 1e-3
    assert looks_trained(new)


def test_without_a_network_to_compare_with_it_passes_for_new() -> None:
    layer = nn.Linear(20, 50, bias=False)
    layer.weight.data.fill_(3.0)
    assert not looks_trained(nn.Sequential(layer))
