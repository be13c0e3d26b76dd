"""What the first of several processes does for all of them: it reads, and it writes.

The others need no disk that shows them its files. What it reads is sent to them; what keeps it from
reading or writing is raised in all of them, so that none is left waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from super_selfish.training.control import (
    agreed,
    copy_first,
    from_first,
    open_control,
    portable,
)
from super_selfish.training.distributed import is_distributed, rank

T = TypeVar("T")


class _Hole(NamedTuple):
    """Where a tensor was, which travels by itself."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def of_first(work: Callable[[], T]) -> T:
    """What some work gives in the first process, in every process; all of them call this at once.

    Args:
        work: Gives plain values and tensors of the CPU, in dicts, lists and tuples. The other
            processes do not do it.

    Raises:
        Exception: What the first process met, in all of them.
    """
    if not is_distributed():
        return work()
    open_control()
    result: Any = None
    error: Exception | None = None
    tensors: list[Tensor] = []
    try:
        result = work() if rank() == 0 else None
    except Exception as caught:  # noqa: BLE001, raised below, here and everywhere
        error = caught
    outline = _mapped(result, lambda tensor: _hole(tensor, tensors), Tensor)
    failure, outline = from_first((None if error is None else portable(error), outline))
    if failure is not None:
        raise failure if error is None else error
    if rank() != 0:
        result = _mapped(outline, lambda hole: _filled(hole, tensors), _Hole)
    for tensor in tensors:
        copy_first(tensor)
    return cast(T, result)


def in_all(work: Callable[[], T]) -> T:
    """Does some work in every process, and fails in all of them where it fails in one.

    Args:
        work: Of this process; where it asks others, all of them come so far.

    Returns:
        What it gives here.

    Raises:
        Exception: Of the first process that has failed.
    """
    if not is_distributed():
        return work()
    open_control()
    return agreed(work)


@contextmanager
def held_by_first(resource: AbstractContextManager[object]) -> Iterator[None]:
    """Holds something in the first process while the context lasts; in all or in none.

    Args:
        resource: Such as the lock of a file; the other processes do not enter theirs.

    Raises:
        Exception: What kept the first process from entering it, in all of them.
    """
    with ExitStack() as held:

        def enter() -> None:
            held.enter_context(resource)

        of_first(enter)
        yield


def _mapped(value: Any, change: Callable[[Any], Any], kind: type) -> Any:
    """Plain values with others in the place of all of one kind."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, _mapped(each, change, kind)) for key, each in value.items())
    if type(value) in (list, tuple):
        return type(value)(_mapped(each, change, kind) for each in value)
    return value


def _hole(tensor: Tensor, tensors: list[Tensor]) -> _Hole:
    tensors.append(tensor.detach().contiguous())
    return _Hole(tuple(tensor.shape), tensor.dtype)


def _filled(hole: _Hole, tensors: list[Tensor]) -> Tensor:
    tensors.append(torch.empty(hole.shape, dtype=hole.dtype))
    return tensors[-1]
