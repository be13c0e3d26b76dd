"""Several sources in turns, of which some are streams: each has a loader of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader

from super_selfish.data.joined import JoinedBatch, JoinedBatches
from super_selfish.data.stream_loader import StreamLoader
from super_selfish.data.stream_position import StreamPosition


class JoinedStreamLoader:
    """Gives what a loader of joined sources gives, from a loader for each source.

    Attributes:
        order: The turns.
        parts: A loader of each source.
        position: Where each stream stands.
        remarks: What is to be said before the first step.
    """

    collate_fn = None
    dataset = None

    def __init__(self, parts: Sequence[DataLoader[Any]], order: JoinedBatches) -> None:
        """Takes the loaders.

        Args:
            parts: One of each source, in the order of their turns.
            order: The turns.
        """
        self.parts, self.order = list(parts), order
        self.num_workers = sum(part.num_workers for part in parts)
        streams = [part for part in parts if isinstance(part, StreamLoader)]
        self.remarks = list(dict.fromkeys(remark for part in streams for remark in part.remarks))
        positions = [part.position if isinstance(part, StreamLoader) else None for part in parts]
        self.position = JoinedPosition(positions, order)
        self._running: dict[int, tuple[Iterator[Any], int]] = {}

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[JoinedBatch]:
        """The batches of an epoch, from the first step that the order says."""
        order, number = self.order, len(self.parts)
        for step in range(order.first_step, len(order)):
            if order.together:
                yield JoinedBatch(tuple((n, self._next(n, step)) for n in range(number)))
            else:
                yield JoinedBatch(((step % number, self._next(step % number, step)),))

    def _next(self, number: int, step: int) -> Any:
        """The next batch of one source; where it was asked before, its loader goes on."""
        done = done_by(self.order, number, self.order.epoch, step)
        batches, following = self._running.get(number, (iter(()), -1))
        if following != done:
            batches = self._from(number, done)
        self._running[number] = (batches, done + 1)
        return next(batches)

    def _from(self, number: int, done: int) -> Iterator[Any]:
        part, order = self.parts[number], self.order.orders[number]
        epoch, step = divmod(done, len(order))
        while True:
            order.start_at(epoch, step)
            yield from part
            epoch, step = epoch + 1, 0

    @property
    def _iterator(self) -> _Workers:
        return _Workers(self.parts)

    @_iterator.setter
    def _iterator(self, value: None) -> None:
        self._running.clear()
        for part in self.parts:
            part._iterator = value


class _Workers:
    """The workers of all parts, for who ends them or asks how they ended."""

    def __init__(self, parts: Sequence[DataLoader[Any]]) -> None:
        self._iterators = [part._iterator for part in parts if part._iterator is not None]
        self._workers = [
            worker for each in self._iterators for worker in getattr(each, "_workers", [])
        ]

    def _shutdown_workers(self) -> None:
        for each in self._iterators:
            if hasattr(each, "_shutdown_workers"):
                each._shutdown_workers()


class JoinedPosition:
    """Where several streams stand after a step; None for what is no stream."""

    def __init__(self, parts: Sequence[StreamPosition | None], order: JoinedBatches) -> None:
        """Takes the position of each."""
        self._parts, self._order = list(parts), order

    @property
    def remark(self) -> str | None:
        """Why a run cannot go on exactly, if it cannot."""
        return next((part.remark for part in self._parts if part and part.remark), None)

    def state_dict(self, epoch: int, step: int) -> dict[str, Any]:
        """Where they stood after some steps of an epoch of all runs."""
        return {
            str(number): part.state_dict(*self._place(number, epoch, step))
            for number, part in enumerate(self._parts)
            if part is not None
        }

    def load_state_dict(self, state: dict[str, Any] | None, epoch: int, step: int) -> None:
        """Goes on from a stored position."""
        for number, part in enumerate(self._parts):
            if part is not None:
                own = None if state is None else state.get(str(number))
                part.load_state_dict(own, *self._place(number, epoch, step))

    def _place(self, number: int, epoch: int, step: int) -> tuple[int, int]:
        done = done_by(self._order, number, epoch, step)
        return divmod(done, len(self._order.orders[number]))


def done_by(order: JoinedBatches, number: int, epoch: int, step: int) -> int:
    """How many batches of one source there were before a step.

    Args:
        order: The turns.
        number: Of the source.
        epoch: Of all runs, from 0.
        step: Of the epoch.
    """
    turn, place = divmod(step, 1 if order.together else len(order.orders))
    return epoch * order.turns + turn + (number < place)
