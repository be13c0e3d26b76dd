"""Batches that make one update of the weights, as the one batch would that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from super_selfish.training.distributed import is_distributed, world_size


class Accumulation:
    """Weighs each batch of an update by its images, and keeps back what is written once an update.

    Queues and memory banks are written when all batches are through: else those that come later
    would be told from what those before them left, which in one batch they are not.

    Entered while a run trains; outside, everything happens at once.
    """

    def __init__(self, batch_size: int) -> None:
        """Args: batch_size: Images of a full batch."""
        self.batch_size = batch_size
        self._reset()

    def _reset(self) -> None:
        self._is_one_of_several = False
        self._of_batch = 0  # images
        self._of_update = 0  # images, so far
        self._writes: list[Callable[[], object]] = []

    def __enter__(self) -> Accumulation:
        """Begins with an update."""
        self._reset()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drops an update that was broken off."""
        self._reset()

    def begin(self, images: int, batches_in_update: int) -> None:
        """Notes a batch.

        Args:
            images: In it, of this process.
            batches_in_update: Of which it is one.
        """
        self._is_one_of_several = batches_in_update > 1
        self._of_batch = images
        self._of_update += images

    def weigh(self, loss: Tensor) -> Tensor:
        """A batch's mean over its images, by as much as it counts before `end_update`."""
        if not self._is_one_of_several:
            return loss
        return loss * (self._of_batch / self.batch_size)

    def write(self, write: Callable[..., object], *values: Tensor) -> None:
        """Calls a function when the update is done; at once where it has one batch."""
        if self._is_one_of_several:
            self._writes.append(partial(write, *values))
        else:
            write(*values)

    def end_update(self, parameters: Iterable[Tensor]) -> None:
        """Ends an update, before the weights move.

        Gradients become those of the mean over the images of all batches and processes, and what
        was kept back is written.

        Args:
            parameters: With gradients.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self._is_one_of_several and gradients:
            torch._foreach_mul_(gradients, self._share(gradients[0].device))
        writes = self._writes
        self._reset()
        for write in writes:
            write()

    def _share(self, device: torch.device) -> Any:
        """What makes a sum of weighed batches a mean over images."""
        if not is_distributed():
            return self.batch_size / self._of_update
        # Images that cannot be read make processes unequal.
        number = torch.tensor(float(self._of_update), device=device)
        dist.all_reduce(number)
        return self.batch_size * world_size() / number
