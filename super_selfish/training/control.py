"""What processes tell one another beside their tensors: a few numbers, or a few words.

It goes over the processors, so that no accelerator is waited for, and to nobody's tensors.
"""

from __future__ import annotations

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


def of_all(own: T) -> list[T]:
    """What each process has to say, in their order.

    Args:
        own: Numbers and words.
    """
    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, own, group=_group())
    return said


def _group() -> Any:
    return _groups.get(dist.group.WORLD)  # None: that of the tensors, which is on processors too


def from_first(value: T) -> T:
    """What the first process has to say; what the others give counts for nothing.

    Args:
        value: Numbers and words.
    """
    said: list[Any] = [value]
    dist.broadcast_object_list(said, 0, group=_group())
    first: T = said[0]
    return first


@torch.no_grad()
def copy_first(tensor: Tensor) -> None:
    """Gives a tensor of the CPU, of one shape everywhere, the numbers of the first process.

    Args:
        tensor: Contiguous, of any type.
    """
    if tensor.numel():
        dist.broadcast(tensor.view(-1).view(torch.uint8), 0, group=_group())
