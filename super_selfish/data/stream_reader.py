"""What one reader of a stream does: read, shuffle within bounds, put batches together.

Images are shuffled in blocks: while one is given in the order that was drawn for it, the next one
fills. So the memory that is taken is bounded, and a block can be read again from where it began,
after which all is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from super_selfish.data.decoding import DECODING_ERRORS
from super_selfish.data.samples import DatasetError, ReadingError, Unreadable
from super_selfish.data.stream_source import StreamSource
from super_selfish.data.streams import Portion, Share
from super_selfish.training.counting import plural
from super_selfish.training.randomness import step_generator

_MOST_TRIED = 100  # items for an image, where none can be read
Place = dict[str, Any]  # where a reader stands: plain values


class Piece(NamedTuple):
    """A batch that one reader has put together, or what is left at its end.

    Attributes:
        worker: Who has.
        data: What the loader's function made of it; of the last piece too.
        items: How many items of the stream are in it, the unreadable ones included.
        is_last: Whether the pass of this reader is over with it.
        place: Where the reader stands after it.
    """

    worker: int
    data: Any
    items: int
    is_last: bool
    place: Place


class _Block:
    """Some items that follow each other, and where the stream stood before them."""

    def __init__(self, place: Place, *, is_seen: bool) -> None:
        self.place = place
        self.is_seen = is_seen  # all of it, before the run was interrupted
        self.entries: list[Any] = []


class StreamReader:
    """Reads its share of a stream."""

    def __init__(
        self,
        source: StreamSource,
        share: Share,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        raw: bool = False,
        endless: bool = False,
    ) -> None:
        """Takes what there is to read; nothing is read yet.

        Args:
            source: The stream.
            share: Which of its readers this one is.
            batch_size: Images of a piece.
            shuffle: Whether their order is drawn.
            seed: Of the run.
            raw: Whether items are given as they are, for a plain `collate_fn`.
            endless: Whether the stream is begun again, by each reader for itself, where it ends.
        """
        self.stream, self.passing = source.stream.copied(), source.passing()
        self.share, self.batch_size, self.seed = share, batch_size, seed
        self.raw, self.endless = raw, endless
        self.restarts, self.is_repeatable = source.restarts, source.is_repeatable
        self.skips = source.on_error == "skip"
        self.shuffles = shuffle and source.shuffle_buffer > 0
        # Two blocks are in memory; the last batch wants to know whether one image follows it.
        self.block_size = max(2, source.shuffle_buffer // 2 if self.shuffles else batch_size)
        self.stream.settle(seed, shuffle=shuffle)
        self.has_begun = False
        self.number = self.taken = self.seen = 0
        self._items: Portion
        self._is_over = False

    def start(self, number: int, place: Place | None = None, seen: int = 0) -> None:
        """Begins a pass.

        Args:
            number: Of the pass.
            place: Where to begin in it, as a piece has told.
            seen: Images at its beginning that were seen before, and need not be decoded again.
        """
        place = place or {"number": number, "taken": 0, "state": None, "offset": 0}
        offset = place["offset"]
        self.has_begun, self.seen, self._is_over = True, seen, False
        self._begin(place["number"], place["taken"], place["state"])
        self._filled = self.block_size
        place = {name: place[name] for name in ("number", "taken", "state")}
        if place["state"] is None and not self.taken and not self.is_repeatable:
            place["state"] = self.stream.state()
        self._next = _Block(place, is_seen=self._filled <= self.seen)
        self._advance()
        for _ in range(offset):
            self._take()

    def piece(self, size: int) -> Piece:
        """The next batch, or what is left; its `data` are samples, which nobody has stacked yet.

        Args:
            size: How many images it shall have.

        Raises:
            DatasetError: The stream fails.
            ValueError: It gives no image at all, or one that cannot be read.
        """
        if self.endless and not self._left:
            raise ValueError(
                f"the stream ended after {plural(self.taken, 'image')}, and cannot be begun "
                "again: give fewer epochs or steps, or a dataset whose __iter__ begins again"
            )
        entries = self._some(size)
        wanted = size if self.share.world_size > 1 else min(2, size)
        while self._left and _readable(entries) < wanted and len(entries) < _MOST_TRIED * size:
            entries += self._some(1)
        is_last = not self.endless and self._left <= min(1, size - 1)
        if is_last:
            entries += self._some(self._left)
        return Piece(self.share.worker, entries, len(entries), is_last, self.place)

    @property
    def place(self) -> Place:
        """Where the next image comes from."""
        if self._offset == len(self._order):
            return {**self._next.place, "offset": 0}
        return {**self._current.place, "offset": self._offset}

    @property
    def _left(self) -> int:
        """Items in memory: fewer than a block only at the end."""
        return len(self._order) - self._offset + len(self._next.entries)

    def _some(self, number: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < number and self._left:
            found.append(self._take())
        return found

    def _take(self) -> Any:
        """The next item, in whose place another one is read."""
        if self._offset == len(self._order):
            self._advance()
        place = self._order[self._offset]
        entry, self._current.entries[place] = self._current.entries[place], None
        self._offset += 1
        self._fill(1)
        return entry

    def _advance(self) -> None:
        """Goes to the next block, all of which is read."""
        self._fill(self.block_size)
        self._current = block = self._next
        number = len(block.entries)
        if self.shuffles:
            place = block.place
            generator = step_generator(
                self.seed, 3, place["number"], self.share.number, place["taken"]
            )
            self._order = torch.randperm(number, generator=generator).tolist()
        else:
            self._order = list(range(number))
        self._offset = 0
        self._next = self._opened()

    def _opened(self) -> _Block:
        state = self.stream.state() if self.taken else None
        place = {"number": self.number, "taken": self.taken, "state": state}
        self._filled += self.block_size
        return _Block(place, is_seen=self._filled <= self.seen)

    def _fill(self, number: int) -> None:
        """Reads so many items into the next block, at most until it is full."""
        block = self._next
        while number > 0 and len(block.entries) < self.block_size and not self._is_over:
            number -= 1
            pulled = self._pull()
            if pulled is not None:
                block.entries.append(None if block.is_seen else self._decoded(*pulled))

    def _decoded(self, number: int, item: Any, error: Exception | None) -> Any:
        if error is not None:
            return self.passing.failed(number, error)
        return item if self.raw else self.passing.read(item, number)

    def _pull(self) -> tuple[int, Any, Exception | None] | None:
        """The next item with its number, and what was raised in its place; None at the end."""
        while True:
            number = self.taken * self.share.total + self.share.number
            error: Exception | None = None
            item = None
            try:
                item = next(self._items)
            except StopIteration:
                self.stream.ended()
                if self.endless and not self.taken:
                    raise ValueError(nothing_for(self.share)) from None
                if not self.endless or not self.restarts:
                    self._is_over = True
                    return None
                self._begin(self.number + 1)
                continue
            except DECODING_ERRORS as failure:
                error = failure
                if self.skips and not self._items.goes_on:
                    raise DatasetError(self._broken(number, failure)) from failure
            except Exception as failure:
                raise DatasetError(
                    f"{self.passing.dataset} fails at {self._named(number)}: "
                    f"{type(failure).__name__}: {failure}"
                ) from failure
            self.taken += 1
            return number, item, error

    def _begin(self, number: int, taken: int = 0, state: Any = None) -> None:
        self.number, self.taken = number, taken
        self._items = self.stream.begin(number, self.share, taken, state)

    def _named(self, number: int) -> str:
        return f"image {number} of the stream"

    def _broken(self, number: int, error: Exception) -> str:
        return (
            f"{self._named(number)} cannot be read ({ReadingError(error).reason}), and a generator "
            "does not go on after an error, so that it cannot be skipped: have the stream give "
            "paths, bytes of files, or None where it cannot read an image (webdataset: "
            "handler=webdataset.warn_and_continue)"
        )


def nothing_for(share: Share) -> str:
    """A sentence on a reader that gets no image."""
    if share.total == 1:
        return "the stream gives no image"
    who = f"worker {share.worker} of process {share.rank}" if share.workers > 1 else ""
    who = who or f"process {share.rank}"
    processes = "1 process" if share.world_size == 1 else f"{share.world_size} processes"
    return (
        f"{who} gets no image of the stream, which has fewer shards than there are readers "
        f"({processes} with {plural(share.workers, 'worker')} each): give "
        'fewer num_workers, or StreamSource(split="samples")'
    )


def _readable(entries: Sequence[Any]) -> int:
    return sum(not isinstance(entry, Unreadable) for entry in entries)
