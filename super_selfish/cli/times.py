"""Times that a user says: whether they are any, before anything is imported that counts them."""

from __future__ import annotations

from super_selfish.cli.reading import find, value_of
from super_selfish.cli.wrong import WrongLineError
from super_selfish.times import parse_time


def require_time(flag: str, time: str | None, least: float = 0.0) -> None:
    """Refuses what is no time, and one that is too short.

    Args:
        flag: By which it was said.
        time: As it was said; None is none.
        least: Seconds.

    Raises:
        WrongLineError: Says what times look like.
    """
    try:
        seconds = parse_time(time, flag)
    except ValueError as error:
        raise WrongLineError(str(error)) from error
    if seconds is not None and seconds < least:
        raise WrongLineError(f"{flag} must be at least {least:g}s, got {time!r}")


def least_time() -> float:
    """Seconds below which `pretrain` and `choose` refuse a time."""
    found = find("super_selfish.pretraining.running", "LEAST_TIME")
    assert found is not None  # noqa: S101
    return float(value_of(*found))
