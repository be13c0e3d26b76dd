"""How slowly momentum encoders follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.supervisors.following import base_momentum
from super_selfish.training.run import UNLIMITED


@pytest.mark.parametrize(
    ("epochs", "given", "momentum"),
    [
        (1, None, 0.99),
        (300, None, 0.99),
        (301, None, 0.9995),
        (UNLIMITED - 1, None, 0.9995),
        (UNLIMITED, None, 0.99),  # ends when its time is up
        (1, 0.7, 0.7),
        (1000, 0.0, 0.0),
    ],
)
def test_short_runs_are_followed_faster(epochs: int, given: float | None, momentum: float) -> None:
    run: Any = SimpleNamespace(epochs=epochs)
    assert base_momentum(run, given, of_long_runs=0.9995) == momentum
