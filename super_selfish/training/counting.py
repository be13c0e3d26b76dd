"""Numbers of things, in words."""

from __future__ import annotations


def plural(count: int, what: str) -> str:
    """A number of things, such as "1 image" or "2,000 images".

    Args:
        count: How many.
        what: One of them; several end in "s".
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
