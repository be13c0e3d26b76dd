"""How a leaderboard writes its numbers, in tables and in its figure."""

from __future__ import annotations

from super_selfish.evaluation.comparison.standings import Spread, Standing
from super_selfish.evaluation.intervals import Interval

HEALTHY = "healthy"  # how a verdict begins that nothing need be said of
MB = 1_000_000  # bytes
NOTHING = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


def costs(entry: Standing) -> dict[str, str]:
    """What pretraining took, by the heads of the columns."""
    return {
        "images/s": number(entry.images_per_second),
        "memory MB": number(entry.peak_memory, scale=1 / MB),
        "minutes": number(entry.minutes, digits=2),
    }


def percent(value: Spread | None, *, signed: bool = False) -> str:
    """Such as `"+9.1 ± 1.9"`; without a deviation where there is a single seed."""
    if value is None:
        return NOTHING
    text = f"{100 * value.mean:{'+' if signed else ''}.1f}"
    if value.deviation is None:
        return text
    return f"{text} {PLUS_MINUS} {100 * value.deviation:.1f}"


def change(interval: Interval | None, value: Spread | None) -> str:
    """Such as `"+9.1 [+7.2, +11.0]"`; as `percent` where there is no interval."""
    return percent(value, signed=True) if interval is None else str(interval)


def number(value: Spread | None, *, digits: int = 0, scale: float = 1.0) -> str:
    """The mean alone."""
    return NOTHING if value is None else f"{value.mean * scale:,.{digits}f}"


def health_of(entry: Standing) -> str:
    """Such as `"healthy (34.1)"`, with the effective rank of the features."""
    if entry.rank is None:
        return NOTHING
    return f"{'/'.join(entry.findings)} ({entry.rank.mean:.1f})"
