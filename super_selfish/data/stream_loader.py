"""The loader of a stream: workers read their shares, here their pieces become steps.

Workers hand over whole batches in turns. What is left at the end of each is put together here, so
that an epoch shows every image once, however unequal the shares are. The position after every step
is kept, for checkpoints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from super_selfish.data.collate import Batch, Collator
from super_selfish.data.conversion import stack_images
from super_selfish.data.filling import ReadableItems
from super_selfish.data.stream_order import StreamBatches
from super_selfish.data.stream_position import StreamPosition
from super_selfish.data.stream_reader import Piece, StreamReader, nothing_for
from super_selfish.data.stream_source import StreamSource
from super_selfish.data.streams import Share
from super_selfish.training.counting import plural
from super_selfish.training.randomness import step_generator
from super_selfish.training.telling import warn

REPEATED = 1_000_000  # added to the number of a pass that is begun again within an epoch


class StreamPieces(IterableDataset[Piece]):
    """What a worker iterates over: its share of the stream, piece by piece.

    Attributes:
        told: `[4]` int64 in memory that all workers see: number of the pass, how often it was begun
            again, the epoch, and its first step.
        places: Where each worker begins, in its first pass.
        seen: Pieces of each worker before, whose images need not be decoded.
    """

    def __init__(
        self,
        source: StreamSource,
        order: StreamBatches,
        collate_fn: Collator | Callable[[list[Any]], Any],
        num_workers: int,
    ) -> None:
        super().__init__()
        self.source, self.order, self.num_workers = source, order, num_workers
        self.is_raw = not isinstance(collate_fn, Collator)
        self.collate: Callable[[list[Any]], Any]
        self.collate = collate_fn.stack if isinstance(collate_fn, Collator) else collate_fn
        if self.is_raw and source.on_error == "skip":
            self.collate = ReadableItems(collate_fn)
        self.decodes_files = False  # no cache would help
        self.told = torch.zeros(4, dtype=torch.int64).share_memory_()
        self.places: dict[int, Any] = {}
        self.seen: dict[int, int] = {}
        self._reader: StreamReader | None = None

    def __iter__(self) -> Iterator[Piece]:
        """The pieces of this worker, of one epoch."""
        number, again, epoch, first = self.told.tolist()
        reader, is_first = self._reader, self._reader is None
        if reader is None:
            reader = self._reader = self._opened()
        worker, workers = reader.share.worker, reader.share.workers
        own = self.seen.get(worker, 0) if is_first else 0
        if not self.order.goes_on:
            place = self.places.get(worker) if is_first else None
            reader.start(number + REPEATED * again, place, own * reader.batch_size)
            yield from self._whole(reader, own, keeps_apart=again > 0)
            return
        if not reader.has_begun:
            reader.start(number, self.places.get(worker), own * reader.batch_size)
            for _ in range(own):
                reader.piece(reader.batch_size)
        steps = len(self.order)
        for step in range(first, steps):
            if (epoch * steps + step) % workers != worker:
                continue
            piece = reader.piece(self.order.size(step))
            yield piece._replace(data=self.collate(piece.data))

    def _whole(self, reader: StreamReader, seen: int, *, keeps_apart: bool) -> Iterator[Piece]:
        """The pieces of a pass, the first ones without their images where those were seen."""
        is_last = False
        while not is_last:
            piece = reader.piece(reader.batch_size)
            is_last = piece.is_last
            seen -= 1
            if seen >= 0 and not is_last:
                yield piece._replace(data=None)
            elif (self.is_raw and (is_last or keeps_apart)) or not piece.data:
                yield piece
            else:
                yield piece._replace(data=self.collate(piece.data))

    def _opened(self) -> StreamReader:
        info = get_worker_info()
        worker = 0 if info is None else info.id
        order = self.order
        share = Share(order.rank, order.world_size, worker, max(1, self.num_workers))
        return StreamReader(
            self.source,
            share,
            batch_size=order.batch_size,
            shuffle=order.shuffle,
            seed=order.seed,
            raw=self.is_raw,
            endless=order.goes_on,
        )


class StreamLoader(DataLoader[Any]):
    """Gives the batches of a stream, as a loader gives those of a source.

    Attributes:
        order: Number and sizes of the steps.
        position: Where the stream stands after a step.
        remarks: What is to be said before the first step.
    """

    def __init__(
        self,
        source: StreamSource,
        order: StreamBatches,
        collate_fn: Collator | Callable[[list[Any]], Any],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        timeout: float = 0,
    ) -> None:
        """Builds a loader.

        Args:
            source: The stream.
            order: How long an epoch is.
            collate_fn: As for `build_loader`.
            num_workers: Processes that read images; 0 reads in this one.
            pin_memory: Whether batches are put where an accelerator reads them faster.
            timeout: Seconds that workers have for a batch; 0 lets them have all time.

        Raises:
            ValueError: Nobody has said how several processes, or workers, share the stream.
        """
        _require_shareable(source, order, num_workers)
        self.order = order
        self.pieces = StreamPieces(source, order, collate_fn, num_workers)
        self.position = StreamPosition(source, order, max(1, num_workers))
        self.remarks = [_told(source, order, num_workers)]
        self.has_told = False
        super().__init__(
            self.pieces,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            timeout=timeout if num_workers > 0 else 0,
            generator=step_generator(order.seed, order.epoch),
        )

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.order)

    def __iter__(self) -> Any:
        """The batches of an epoch, from the first step that the order says."""
        return StreamEpoch(self)

    def read(self, number: int, again: int) -> Iterator[Piece]:
        """Has the workers read a pass, or their parts of an epoch."""
        order = self.order
        told = torch.tensor([number, again, order.epoch, order.first_step])
        self.pieces.told.copy_(told)
        stream = self.pieces.source.stream
        if stream.counts_for_all:
            seen = order.first_step * order.batch_size * order.world_size if not again else 0
            stream.place(number, seen)  # type: ignore[attr-defined]
        return self.iterate()

    def iterate(self) -> Any:
        """The workers' pieces, in any order."""
        return super().__iter__()

    def tell_of_length(self, text: str) -> None:
        """Warns, once, that the stream has another length than was said."""
        if not self.has_told:
            self.has_told = True
            warn(text)


class StreamEpoch:
    """The steps of one epoch."""

    def __init__(self, loader: StreamLoader) -> None:
        """Has the workers begin."""
        self.loader, self.order = loader, loader.order
        self._iterator: Any = None  # of the workers, for who ends them
        start = loader.position.begin(self.order)
        self._number, self._again = start.number, 0
        self._pointer, self._given = start.pointer, start.given
        self._skipped = start.skipped  # steps that are read and not wanted
        loader.pieces.places, loader.pieces.seen = start.places, start.pieces
        # Of the stream, in this epoch and by this process, whether they could be read or not.
        self._items = (self.order.first_step - self._skipped) * self.order.batch_size
        self._read = self._read_before = 0  # images
        self._workers = range(loader.position.workers)
        self._open(0)
        self._stock: Any = None  # what is left of the workers, put together
        self._steps = self._gone_on() if self.order.goes_on else self._of_a_pass()

    def __iter__(self) -> StreamEpoch:
        """Itself."""
        return self

    def __next__(self) -> Any:
        """The next batch."""
        return next(self._steps)

    def _open(self, again: int) -> None:
        self._again = again
        self._alive = set(self._workers)
        self._held: dict[int, deque[Piece]] = {worker: deque() for worker in self._workers}
        self._tails: dict[int, Piece] = {}
        self._iterator = self.loader.read(self._number, again)

    def _from(self, worker: int) -> Piece:
        """The next piece of a worker; those of others that come before wait."""
        while not self._held[worker]:
            piece = next(self._iterator)
            self._held[piece.worker].append(piece)
        return self._held[worker].popleft()

    def _gone_on(self) -> Iterator[Any]:
        for step in range(self.order.first_step, len(self.order)):
            done = self.order.epoch * len(self.order) + step
            piece = self._from(done % len(self._workers))
            self.loader.position.note(step + 1, piece)
            yield piece.data

    def _of_a_pass(self) -> Iterator[Any]:
        order, position = self.order, self.loader.position
        first = order.first_step - self._skipped
        for step in range(first, len(order)):
            data = self._batch(step)
            if step < order.first_step:
                continue
            position.note(step + 1, None, self._pointer, self._given, self._again)
            if step == len(order) - 1:
                self._compare_length()
            yield data

    def _batch(self, step: int) -> Any:
        """The images of a step: whole ones of the workers, then what is left of all of them."""
        size = self.order.size(step)
        while self._alive and not self._again:
            piece = self._next_piece()
            if not piece.is_last:
                self.loader.position.keep(piece)
                return _cut(piece.data, size)
        left = len(self.order) - step  # steps, this one included
        order, least = self.order, min(2, self.order.batch_size)
        needed = least * left
        if order.world_size > 1:  # what processes gather is of one size
            least, needed = size, order.images_per_process - step * order.batch_size
        if self._stock is None:
            self._stock = _joined([self._tails[w].data for w in sorted(self._tails)])
            self._stock = _after(self._stock, self._given)
        if not self._again and _length(self._stock) < needed:
            self._begin_again()
        while self._again and self._alive and _length(self._stock) < size:
            self._stock = _joined([self._stock, self._next_piece().data])
        while self._again and not self._alive and _length(self._stock) < size:
            self._begin_again()
            while self._alive and _length(self._stock) < size:
                self._stock = _joined([self._stock, self._next_piece().data])
        number = size
        if not self._again and order.world_size == 1:  # rather small batches than none
            number = min(size, max(least, _length(self._stock) - least * (left - 1)))
        data, self._stock = _parted(self._stock, number)
        self._given += number
        return self._collated(data)

    def _next_piece(self) -> Piece:
        """The next piece, of the workers that have one in turns."""
        worker = next(w for w in self._turns() if w in self._alive)
        piece = self._from(worker)
        self._items += piece.items
        self._read += len(piece.data) if isinstance(piece.data, Batch | list) else piece.items
        if piece.is_last:
            self._alive.discard(worker)
            self._tails[worker] = piece
        self._pointer = (worker + 1) % len(self._workers)
        return piece

    def _turns(self) -> Iterator[int]:
        return ((self._pointer + place) % len(self._workers) for place in self._workers)

    def _collated(self, data: Any) -> Any:
        return self.loader.pieces.collate(data) if isinstance(data, list) else data

    def _begin_again(self) -> None:
        """Begins the stream again, which has too few images for the epoch."""
        order = self.order
        if not self._items:
            raise ValueError(nothing_for(Share(order.rank, order.world_size)))
        if self._again and self._read == self._read_before:
            raise ValueError(f"none can be read of {plural(self._items, 'image')} of the stream")
        self._read_before = self._read
        if self._again == 0 and self._items < self._expected:
            self._tell_of_end(" It begins again for the rest of the epoch.")
        self._open(self._again + 1)

    @property
    def _expected(self) -> int:
        order = self.order
        return len(range(order.rank, order.num_images, order.world_size))

    def _compare_length(self) -> None:
        """Says where the stream had more or fewer images than was said."""
        begins = self.order.first_step == 0 and not self._again
        if not begins:
            return
        if not self._alive and self._items < self._expected and not _length(self._stock):
            self._tell_of_end("")
        elif (self._alive and self._is_longer()) or _length(self._stock):
            order = self.order
            self.loader.tell_of_length(
                f"the stream has more than the {plural(order.num_images, 'image')} of num_images"
                f"{self._whose()}: the rest of it is not seen in an epoch. Say how many it has, or "
                "give steps_per_epoch=, with which every epoch goes on where the last one ended"
            )

    def _is_longer(self) -> bool:
        """Whether a worker that is not at its end has images: its last piece may be empty."""
        return any(self._next_piece().items for _ in list(self._alive))

    def _tell_of_end(self, consequence: str) -> None:
        order = self.order
        self.loader.tell_of_length(
            f"the stream ended after {plural(self._items, 'image')}{self._whose()}, where "
            f"{self._expected} were expected (num_images={order.num_images}).{consequence} Say how "
            "many images it has"
        )

    def _whose(self) -> str:
        order = self.order
        if order.world_size == 1:
            return ""
        return f" in process {order.rank} of {order.world_size}"


def _as_it_is(piece: Any) -> Any:
    return piece


def _require_shareable(source: StreamSource, order: StreamBatches, num_workers: int) -> None:
    """Refuses to read a stream by several where nobody knows how to split it."""
    if order.world_size > 1 and source.stream.split is None:
        raise ValueError(
            f"{order.world_size} processes read this {type(source.dataset).__name__}, and nobody "
            'has said who splits it: StreamSource(dataset, split="own") if it gives each process '
            'images of its own, split="samples" if all would get the same ones, so that each '
            "takes every n-th"
        )
    if num_workers > 0 and not source.restarts:
        raise ValueError(
            f"num_workers={num_workers} would read copies of a stream that cannot be begun again: "
            "give num_workers=0, or a dataset whose __iter__ begins anew"
        )


def _told(source: StreamSource, order: StreamBatches, num_workers: int) -> str:
    """A line on the order of a stream."""
    if not order.shuffle or not source.shuffle_buffer:
        return "Images come in the order of the stream"
    each = f" in each of {num_workers} workers" if num_workers > 1 else ""
    return (
        f"Images are shuffled among {source.shuffle_buffer} at a time{each}, drawn from the seed "
        "and the epoch; beyond that their order is that of the stream (shuffle_buffer= of "
        "StreamSource)"
    )


def _length(stock: Any) -> int:
    return 0 if stock is None else len(stock)


def _joined(parts: list[Any]) -> Any:
    """Batches or lists of items, one after the other; None where there is nothing."""
    there = [part for part in parts if part is not None and (len(part) or _names(part))]
    if not there:
        return None
    if all(isinstance(part, Batch) for part in there):
        return _joined_batches(there)
    return [item for part in there for item in part]


def _names(part: Any) -> tuple[str, ...]:
    return part.unreadable if isinstance(part, Batch) else ()


def _joined_batches(parts: list[Batch]) -> Batch:
    unreadable = tuple(name for part in parts for name in part.unreadable)
    parts = [part for part in parts if len(part)]
    if not parts:
        return Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), None, unreadable)
    labels: Tensor | None = None
    if all(part.labels is not None for part in parts):
        known = [part.labels for part in parts if part.labels is not None]
        if len({label.shape[1:] for label in known}) == 1:
            labels = torch.cat(known)
    return Batch(
        stack_images([image for part in parts for image in part.images]),
        torch.cat([part.index for part in parts]),
        labels,
        unreadable,
        next((part.no_labels for part in parts if part.no_labels), ""),
    )


def _cut(data: Any, number: int) -> Any:
    """At most so many images of a whole piece; a user's batch is as it is."""
    if not isinstance(data, Batch) or len(data) <= number:
        return data
    return _parted(data, number)[0]


def _after(stock: Any, number: int) -> Any:
    return stock if not number else _parted(stock, number)[1]


def _parted(stock: Any, number: int) -> tuple[Any, Any]:
    """The first images, with the names of those that could not be read, and the rest."""
    if not isinstance(stock, Batch):
        return stock[:number], stock[number:]
    head, rest = stock[:number], stock[number:]
    return Batch(head.images, head.index, head.labels, stock.unreadable, stock.no_labels), rest
