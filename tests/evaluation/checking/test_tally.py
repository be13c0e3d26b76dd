"""What numbers images use."""

from __future__ import annotations

import numpy as np
import pytest

from super_selfish.evaluation.checking.tally import Channels


@pytest.mark.parametrize(
    ("at_the_ends", "used"),
    [(4, (100 / 256, 101 / 256)), (6, (0.0, 1.0)), (0, (100 / 256, 101 / 256))],
)
def test_half_a_percent_at_either_end_is_no_use(
    at_the_ends: int, used: tuple[float, float]
) -> None:
    bins = np.zeros((1, 256), dtype=np.int64)
    bins[0, [0, 100, 255]] = at_the_ends, 1000 - 2 * at_the_ends, at_the_ends
    ends = np.zeros(1, np.float32), np.ones(1, np.float32)
    found = Channels(1, *ends, np.zeros(1, np.int64), bins)
    assert found.used() == pytest.approx(used)
