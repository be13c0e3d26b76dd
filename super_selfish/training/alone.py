"""Work of one process by itself, though it was started as one of several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Of the process, not of a thread: backward runs in threads of torch's own.
_depth = 0


@contextmanager
def alone() -> Iterator[None]:
    """While entered, this process neither waits for others nor sends them anything.

    For what one of several processes does by itself: a run of a comparison, a measurement of the
    first one. It may join none, is the first of one, and trains as if it had been started alone;
    accelerators are still shared out, one a process.
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_alone() -> bool:
    """Whether this process works by itself for a while."""
    return _depth > 0
