from __future__ import annotations

import pytest

from super_selfish.training.run import parse_interval


@pytest.mark.parametrize(
    ("every", "steps", "seconds"),
    [
        (None, None, None),
        (50, 50, None),
        ("30s", None, 30),
        ("1.5 min", None, 90),
        ("2h", None, 7200),
    ],
)
def test_intervals(every: int | str | None, steps: int | None, seconds: float | None) -> None:
    assert parse_interval(every) == (steps, seconds)


@pytest.mark.parametrize("every", [0, -1, "10", "ten minutes", "5 days"])
def test_what_is_no_interval_is_refused(every: int | str) -> None:
    with pytest.raises(ValueError, match="an interval is a number of steps, or a time"):
        parse_interval(every)
