"""What processes tell one another beside their tensors: a few numbers, or a few words.

It goes over the processors, so that no accelerator is waited for, and to nobody's tensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_groups: dict[Any, Any] = {}  # the group for this, of the group that all have joined


def open_control() -> None:
    """Makes the group, once, where that of the tensors is another; all processes call it at once.

    Raises:
        RuntimeError: If the processes do not reach one another.
    """
    joined = dist.group.WORLD
    if dist.get_backend() == "gloo" or joined in _groups:
        return
    try:
        made = dist.new_group(backend="gloo")
    except RuntimeError as error:
        raise RuntimeError(
            f"the processes do not reach one another by TCP ({error}): name the network interface "
            "that joins their machines, such as GLOO_SOCKET_IFNAME=eth0 (`ip address` lists them)"
        ) from error
    _groups.clear()
    _groups[joined] = made


def sums(numbers: list[int]) -> list[int]:
    """Adds numbers over the processes, one by one.

    Args:
        numbers: As many in every process.
    """
    told = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(told, group=_group())
    return [int(number) for number in told.tolist()]


def of_all(own: T, group: Any = None) -> list[T]:
    """What each process has to say, in their order.

    Args:
        own: Numbers and words.
        group: By which they say it; None: that for this.
    """
    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, own, group=_group() if group is None else group)
    return said


def _group() -> Any:
    return _groups.get(dist.group.WORLD)  # None: that of the tensors, which is on processors too


def from_first(value: T, group: Any = None) -> T:
    """What the first process has to say; what the others give counts for nothing.

    Args:
        value: Numbers and words.
        group: As for `of_all`.
    """
    said: list[Any] = [value]
    dist.broadcast_object_list(said, 0, group=_group() if group is None else group)
    first: T = said[0]
    return first


def agreed(work: Callable[[], T], group: Any = None) -> T:
    """Does some work in every process, and fails in all of them where it fails in one.

    Args:
        work: Of this process; where it asks others, all of them come so far.
        group: As for `of_all`.

    Returns:
        What it gives here.

    Raises:
        Exception: Of the first process that has failed.
    """
    error: Exception | None = None
    try:
        result = work()
    except Exception as caught:  # noqa: BLE001, raised below, here and everywhere
        error = caught
    failures = of_all(None if error is None else portable(error), group)
    for number, failure in enumerate(failures):
        if failure is not None:
            raise error if error is not None and number == dist.get_rank() else failure
    return result


def portable(error: BaseException) -> Exception:
    """An error as it can be sent to other processes: itself, or its words."""
    if not isinstance(error, Exception):
        return RuntimeError(f"the first process ended by {type(error).__name__}")
    words = f"{type(error).__name__}: {error}"
    try:
        is_same = str(pickle.loads(pickle.dumps(error))) == str(error)  # our own, of this moment
    except Exception as why:  # noqa: BLE001, whatever an error of somebody else's does
        return RuntimeError(f"{words} ({why})")
    return error if is_same else RuntimeError(words)


@torch.no_grad()
def copy_first(tensor: Tensor) -> None:
    """Gives a tensor of the CPU, of one shape everywhere, the numbers of the first process.

    Args:
        tensor: Contiguous, of any type.
    """
    if tensor.numel():
        dist.broadcast(tensor.view(-1).view(torch.uint8), 0, group=_group())
