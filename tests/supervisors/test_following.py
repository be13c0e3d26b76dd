"""How far a run has come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from super_selfish.supervisors.following import generator_of_all, images_before, updates_before
from super_selfish.training.randomness import step_generator


@pytest.mark.parametrize(
    ("epoch", "step", "accumulate", "updates"),
    [(0, 0, 1, 0), (0, 6, 1, 6), (2, 1, 1, 15), (0, 3, 4, 0), (0, 4, 4, 1), (2, 4, 4, 5)],
)
def test_updates_are_counted_over_epochs_and_batches(
    epoch: int, step: int, accumulate: int, updates: int
) -> None:
    total = 10 * -(-7 // accumulate)  # epochs of 7 steps
    run: Any = SimpleNamespace(
        epochs=10, total_updates=total, epoch=epoch, step=step, accumulate=accumulate
    )
    assert updates_before(run) == updates


def test_images_are_counted_over_former_runs_and_whole_updates() -> None:
    run: Any = SimpleNamespace(epochs_before=2, epoch=1, num_images=22, step=5, accumulate=2)
    run.images_per_update = 8
    assert images_before(run) == 3 * 22 + 2 * 8


def test_draws_of_all_processes_follow_from_the_place_of_a_run() -> None:
    run: Any = SimpleNamespace(seed=5, epochs_before=2, epoch=1, step=6)
    for given, place in ((run, (5, 3, 6)), (None, (0, 0, 0))):
        found, expected = generator_of_all(given, 7), step_generator(*place, 7)
        assert torch.equal(torch.rand(4, generator=found), torch.rand(4, generator=expected))
