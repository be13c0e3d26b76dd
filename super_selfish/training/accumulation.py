"""Batches that make one update of the weights, as the one batch would that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from super_selfish.training.distributed import is_distributed, share_of_images, world_size

Losses = Tensor | dict[str, Tensor]
Number = Tensor | float  # of what a loss is a mean over; a scalar where the losses are


class Part(NamedTuple):
    """A term of a loss that is a mean over something else than the rest of it."""

    term: Tensor  # scalar, with gradient
    number: Number  # of what it is a mean over
    player: str | None  # to whose loss it belongs, where there are several


class Accumulation:
    """Weighs the batches of an update, and keeps back what is written once an update.

    Each weighs by what its loss is a mean over: images, unless the algorithm says otherwise. So do
    the batches of several processes.

    Queues and memory banks are written when all batches are through: else those that come later
    would be told from what those before them left, which in one batch they are not.

    Entered while a run trains; outside, everything happens at once.
    """

    def __init__(self, batch_size: int) -> None:
        """Args: batch_size: Images of a full batch."""
        self.batch_size = batch_size
        self._shown: dict[str | None, Tensor] = {}  # of the present batch; see `shown`
        self._reset()

    def _reset(self) -> None:
        self._is_one_of_several = False
        self._numbers: list[Number] = []  # of each batch of the update so far
        self._counts_images = True
        self._part: Part | None = None  # of the present batch
        self._part_numbers: list[Number] = []
        self._apart: dict[Tensor, Tensor] = {}  # gradients of parts, by parameter
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
        self._shown = {}

    def begin(self, images: int, batches_in_update: int) -> None:
        """Notes a batch.

        Args:
            images: In it, of this process.
            batches_in_update: Of which it is one.
        """
        self._is_one_of_several = batches_in_update > 1
        self._numbers.append(images)
        self._part = None
        self._shown = {}

    def count(self, number: Number, part: Tensor | None = None, player: str | None = None) -> None:
        """Notes what the loss of the present batch is a mean over; see `Supervisor._counts`."""
        if not self._numbers:  # called outside of a step
            return
        if isinstance(number, Tensor):
            number = number.detach()
        if part is None:
            self._numbers[-1] = number
            self._counts_images = False
        else:
            self._part = Part(part, number, player)
            self._part_numbers.append(number)

    def set_apart(
        self,
        loss: Tensor,
        parameters: Iterable[Tensor],
        scale: Callable[[Tensor], Tensor],
        player: str | None = None,
    ) -> Tensor:
        """Takes care of the part of a loss that is a mean over something else.

        How much it counts is known when all batches are through, and is another share than that of
        the rest: its gradients lie apart until then.

        Args:
            loss: Of the batch.
            parameters: That it moves.
            scale: As the loss will be before its way back.
            player: Whose loss it is, where there are several.

        Returns:
            What is left to `weigh`.
        """
        part = self._part
        if part is None or part.player != player:
            return loss
        if not self._is_one_of_several:
            if not is_distributed():
                return loss
            return loss + part.term * (_share_of(part.number, loss) - 1)
        if is_distributed():
            self._shown[player] = part.term.detach() * _share_of(part.number, loss)
        own = list(parameters)
        weighed = part.term * (part.number / self.batch_size)
        # No `backward`: what averages over processes waits for one of each parameter.
        gradients = torch.autograd.grad(scale(weighed), own, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(own, gradients, strict=True):
            if gradient is not None and parameter in self._apart:
                self._apart[parameter] += gradient
            elif gradient is not None:
                self._apart[parameter] = gradient
        return loss - part.term

    def weigh(self, loss: Tensor, player: str | None = None) -> Tensor:
        """A batch's mean over what counts in it, by as much as it counts before `end_update`.

        Args:
            loss: What `set_apart` has left of it.
            player: Whose it is, where there are several.
        """
        if is_distributed():
            value = loss.detach()
            number = self._numbers[-1] if self._numbers else 0
            by_images = self._counts_images or not self._numbers
            share = share_of_images() if by_images else _share_of(number, loss)
            self._shown[player] = value * share + self._shown.get(player, 0.0)
            # Of a loss that is not finite, no gradient is: all processes see it.
            loss = loss * (1 + (value - value))
            if not self._is_one_of_several:
                return loss * share
        if self._is_one_of_several:
            return loss * (self._numbers[-1] / self.batch_size)
        return loss

    def shown(self, loss: Losses) -> Losses:
        """The losses of the present batch, for the mean over processes that `History` takes.

        Args:
            loss: Of this process, before it was weighed.
        """
        if not self._shown:
            return loss
        share = share_of_images()  # by which all that is measured is weighed there
        if isinstance(loss, dict):
            return {name: self._shown[name] / share for name in loss}
        return self._shown[None] / share

    def write(self, write: Callable[..., object], *values: Tensor) -> None:
        """Calls a function when the update is done; at once where it has one batch."""
        if self._is_one_of_several:
            self._writes.append(partial(write, *values))
        else:
            write(*values)

    @torch.no_grad()
    def end_update(self, parameters: Iterable[Tensor]) -> None:
        """Ends an update, before the weights move.

        Gradients become those of the mean over what counts in all batches and processes, and what
        was kept back is written.

        Args:
            parameters: With gradients.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self._is_one_of_several and gradients:
            device = gradients[0].device
            # Over processes, gradients are averaged already.
            share = self.batch_size * world_size() / _of_all_processes(sum(self._numbers), device)
            torch._foreach_mul_(gradients, share)
        if self._apart:
            self._join()
        writes = self._writes
        self._reset()
        for write in writes:
            write()

    def _join(self) -> None:
        """Adds the gradients of parts to those of the rest."""
        device = next(iter(self._apart)).device
        share = self.batch_size / _of_all_processes(sum(self._part_numbers), device)
        for parameter, apart in self._apart.items():
            gradient = apart.contiguous()
            if is_distributed():
                dist.all_reduce(gradient)
            gradient = gradient * share
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _share_of(number: Number, loss: Tensor) -> Tensor:
    """What a process weighs in a mean over all, by how much counts in its batch."""
    share = number * world_size() / _of_all_processes(number, loss.device)
    return torch.as_tensor(share, device=loss.device).to(loss.dtype)


def _of_all_processes(number: Number, device: torch.device) -> Any:
    """The sum over all processes that train together."""
    if not is_distributed():
        return number
    total = torch.as_tensor(number, dtype=torch.float64, device=device).clone()
    dist.all_reduce(total)
    return total
