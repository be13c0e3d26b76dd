"""How far a run has come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.supervisors.following import updates_before


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
