"""What processes tell one another besides training: words, values and tensors of the host.

All of it goes from host to host (gloo), whatever the processes train with, and waits for a day:
what one of them does by itself, such as fine-tuning, may take long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from super_selfish.training import control
from super_selfish.training.distributed import is_distributed, join_processes

WAIT = timedelta(days=1)  # for what others do
T = TypeVar("T")


class Exchange:
    """A group of all processes, each of which must call the same methods in the same order.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self, group: Any) -> None:
        """Takes the group, which carries tensors of the host."""
        self._group = group
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def from_first(self, value: T) -> T:
        """The first process's value, in every process; those of the others count for nothing."""
        return control.from_first(value, self._group)

    def of_all(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        return control.of_all(value, self._group)

    def agreed(self, work: Callable[[], T]) -> T:
        """Does some work, and raises in every process where it has failed in one.

        Args:
            work: Of this process; it must not exchange anything.

        Returns:
            What it gives.

        Raises:
            Exception: Of the first process that has failed.
        """
        return control.agreed(work, self._group)

    @torch.no_grad()
    def copy_first(self, tensor: Tensor) -> None:
        """Gives a tensor of the host, of one shape everywhere, the first process's values."""
        dist.broadcast(tensor, 0, group=self._group)

    def joined(self, rows: Tensor, lengths: list[int], *, wanted: bool = True) -> Tensor | None:
        """Concatenates rows over processes, in their order.

        Args:
            rows: `[n, ...]` of this process, on the host; all but `n` is alike everywhere.
            lengths: `n` of every process.
            wanted: Whether this process wants them; the others do not mind.

        Returns:
            `[N, ...]`, or None where it is not wanted.
        """
        parts = []
        for number, length in enumerate(lengths):
            if length == 0:
                continue
            part = (
                rows.contiguous()
                if number == self.rank
                else rows.new_empty(length, *rows.shape[1:])
            )
            dist.broadcast(part, number, group=self._group)
            if wanted:
                parts.append(part)
        return torch.cat(parts) if parts else None


def has_others(device: torch.device) -> bool:
    """Whether there are other processes; joins them if this one has not yet.

    Args:
        device: Where this process computes; a group that stands is taken whatever it is for.
    """
    if not is_distributed():
        join_processes(device)
    return is_distributed()


@contextmanager
def exchange() -> Iterator[Exchange]:
    """Opens a way between all processes that have joined; every one of them must.

    Raises:
        RuntimeError: If this torch has no way from host to host.
    """
    if not dist.is_gloo_available():
        raise RuntimeError(
            "several processes tell one another what they find by gloo, which this torch was built "
            "without: install another build of it, or start one process"
        )
    group = dist.new_group(backend="gloo", timeout=WAIT)
    opened = Exchange(group)
    try:
        yield opened
        opened.of_all(None)  # nobody hangs up while others still listen
    finally:
        dist.destroy_process_group(group)
