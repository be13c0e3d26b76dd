"""Numbers of things, in words."""

from __future__ import annotations


def plural(count: int, what: str) -> str:
    """A number of things, such as "1 image" or "2,000 images".

    Args:
        count: How many.
        what: One of them; several end in "s", or "es" after an "s".
    """
    ending = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{ending}"
