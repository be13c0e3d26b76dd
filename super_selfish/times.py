"""Times as people write them."""

from __future__ import annotations

import re

TIMES = '"30s", "10min" or "2h"'  # such as
_UNITS = {"s": 1, "min": 60, "h": 3600}


def parse_time(time: str | None, name: str) -> float | None:
    """Reads a time.

    Args:
        time: Such as `"30s"`, `"10min"` or `"2h"`, or None.
        name: Of the argument, for the message.

    Returns:
        Seconds, or None.

    Raises:
        ValueError: If it is neither.
    """
    seconds = seconds_in(time)
    if time is not None and seconds is None:
        raise ValueError(f"{name} is a time such as {TIMES}, got {time!r}")
    return seconds


def seconds_in(time: object) -> float | None:
    """Seconds of a time in words; None if it is none."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)\s*", str(time))
    if match is None or not isinstance(time, str):
        return None
    return float(match[1]) * _UNITS[match[2]]
