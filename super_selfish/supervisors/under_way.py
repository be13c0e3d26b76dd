"""A supervisor does one run at a time: a second one would move the networks of the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

_training: set[nn.Module] = set()  # supervisors that train at the moment, and their parts


@contextmanager
def one_at_a_time(supervisors: Iterable[nn.Module]) -> Iterator[None]:
    """While entered, supervisors train, and are not to be trained by another call.

    Args:
        supervisors: A supervisor and its parts.

    Raises:
        RuntimeError: If one of them trains already.
    """
    entered = set(supervisors)
    for each in entered:
        require_idle(each, "supervise()")
    _training.update(entered)
    try:
        yield
    finally:
        _training.difference_update(entered)


def require_idle(supervisor: nn.Module, what: str) -> None:
    """Refuses what cannot be done while a supervisor trains, such as in a callback.

    Args:
        supervisor: Whose networks it would change.
        what: Is to be done, in words.

    Raises:
        RuntimeError: If it trains.
    """
    if supervisor in _training:
        raise RuntimeError(
            f"this {type(supervisor).__name__} is training, and {what} would change the networks "
            "under its optimizer: wait for the end, or take another object (copy.deepcopy)"
        )
