"""Several sources read in turns by one loader, each for a collator of its own.

Positions count on from one source to the next, so that a batch says by its positions whose it is.
"""

from __future__ import annotations

import copy
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.data.collate import Collator
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.samples import Batch, Sample, Unreadable
from super_selfish.data.sources import ImageSource


class JoinedSource(ImageSource):
    """The images of several sources, one source after the other; they may be of several sizes.

    It says of itself what the first one says, and asks each for its own images.
    """

    def __init__(self, parts: Sequence[ImageSource]) -> None:
        """Joins sources, of which there is at least one."""
        vars(self).update(vars(parts[0]))
        self.parts = list(parts)
        self.starts = [0, *accumulate(part.num_images or 0 for part in parts)]  # of a stream none

    def __len__(self) -> int:
        """Images of all."""
        return self.starts[-1]

    @property
    def decodes_files(self) -> bool:
        """Whether one of them does."""
        return any(part.decodes_files for part in self.parts)

    def decode(self, index: int) -> Sample | Unreadable:
        """One image, as its source gives it."""
        number, own = self.placed(index)
        return self.parts[number][own]._replace(index=index)

    def select(self, indices: Tensor) -> Batch | None:
        """Some samples at once, if they are of one source which gives them so."""
        number = self.placed(int(indices[0]))[0] if len(indices) else 0
        own = indices - self.starts[number]
        if not len(indices) or own.min() < 0 or own.max() >= len(self.parts[number]):
            return None  # of several sources: one by one
        batch = self.parts[number].select(own)
        return None if batch is None else Batch(batch.images, indices, batch.labels)

    def cached(self, path: str | os.PathLike[str], *, progress: bool = True) -> ImageSource:
        """The same of cached sources, which must show the same images."""
        joined = copy.copy(self)
        joined.parts = [part.cached(path, progress=progress) for part in self.parts]
        return joined

    def placed(self, index: int) -> tuple[int, int]:
        """Which source has a position, and at which of its own."""
        index = self._checked(index)
        number = bisect_right(self.starts, index) - 1
        return number, index - self.starts[number]

    def item(self, index: int) -> Any:
        """The item as its dataset gives it."""
        number, own = self.placed(index)
        return self.parts[number].item(own)

    def name(self, index: int) -> str:
        """The name that its source has for it."""
        number, own = self.placed(index)
        return self.parts[number].name(own)

    def label(self, index: int) -> Tensor | None:
        """Its label."""
        number, own = self.placed(index)
        return self.parts[number].label(own)

    def known_labels(self) -> None:
        """Nothing: each source has its own."""


class JoinedBatches(EpochBatches):
    """Batches of several sources, in turns or side by side.

    An epoch has as many turns as the source with most batches; one with fewer begins anew, in an
    order of its next epoch, which may be amid this one.
    """

    is_one_order = False

    def __init__(self, orders: Sequence[EpochBatches], *, together: bool) -> None:
        """Takes the orders.

        Args:
            orders: Of each source, all of one batch size, seed and process.
            together: Whether a batch holds one of each source, instead of one at a time.
        """
        first = orders[0]
        self.turns = max(map(len, orders))
        images = sum(order.num_images * self.turns / len(order) for order in orders)
        super().__init__(
            round(images),
            first.batch_size,
            shuffle=first.shuffle,
            seed=first.seed,
            rank=first.rank,
            world_size=first.world_size,
        )
        self.orders = list(orders)
        self.together = together
        self.starts = [0, *accumulate(order.num_images for order in orders)]

    def of(self, rank: int) -> JoinedBatches:
        """The batches of another process of the run.

        Args:
            rank: Its number.
        """
        other = copy.copy(self)
        other.rank, other.orders = rank, [order.of(rank) for order in self.orders]
        return other

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.turns if self.together else self.turns * len(self.orders)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the batches of `epoch`, from `first_step` on."""
        number = len(self.orders)
        at_once = 1 if self.together else number
        turn, place = divmod(self.first_step, at_once)
        done = self.epoch * self.turns + turn
        # Who has had its turn in this round already goes on with the next one.
        following = [self._from(n, done + (n < place)) for n in range(number)]
        for step in range(self.first_step, len(self)):
            if self.together:
                yield [index for batches in following for index in next(batches)]
            else:
                yield next(following[step % number])

    def _from(self, number: int, done: int) -> Iterator[list[int]]:
        """Batches of one source without end, after so many."""
        order = copy.copy(self.orders[number])
        epoch, step = divmod(done, len(order))
        start = self.starts[number]
        while True:
            order.start_at(epoch, step)
            for batch in order:
                yield [start + index for index in batch]
            epoch, step = epoch + 1, 0


class JoinedBatch(NamedTuple):
    """Batches of several sources, on their way to the collator of each."""

    parts: tuple[tuple[int, Batch], ...]  # number of the source, and its batch

    @property
    def index(self) -> Tensor:  # type: ignore[override]  # hides tuple.index
        """`[B]`, positions of all, each in its own source."""
        empty = torch.empty(0, dtype=torch.int64)
        return torch.cat([empty, *(batch.index for _, batch in self.parts)])

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of images that were left out, and why."""
        return tuple(name for _, batch in self.parts for name in batch.unreadable)


class Views(NamedTuple):
    """What each collator makes of its batch."""

    parts: tuple[tuple[int, Any], ...]  # number of the source, and what its `_forward` eats


class JoinedCollator(Collator):
    """Gives every source's images to its own collator."""

    def __init__(self, collators: Sequence[Collator], starts: Sequence[int]) -> None:
        """Takes the collators.

        Args:
            collators: One of each source.
            starts: First position of each source, from 0.
        """
        super().__init__()
        self.collators = list(collators)
        self.starts = list(starts)

    def stack(self, samples: Batch | Sequence[Any]) -> Any:
        """Parts samples by their sources, and has each collator stack its own."""
        if isinstance(samples, Batch):  # lies in one piece, so it is of one source
            number = self._source_of(int(samples.index[0]))
            own = replace(samples, index=samples.index - self.starts[number])
            return JoinedBatch(((number, self.collators[number].stack(own)),))
        of: dict[int, list[Any]] = {}
        for sample in samples:
            number = self._source_of(sample.index)
            own_place = sample.index - self.starts[number]
            of.setdefault(number, []).append(sample._replace(index=own_place))
        if len(of) > 1:  # without who took the place of one that cannot be read, of the next source
            of = {number: those for number, those in of.items() if len(those) > 1} or of
        return JoinedBatch(tuple((n, self.collators[n].stack(of[n])) for n in sorted(of)))

    def augment(self, batch: Any, generator: torch.Generator) -> Views:
        """Has each collator augment its own; a batch of no source is given to all of them."""
        if isinstance(batch, Batch):
            return Views(
                tuple((n, each.augment(batch, generator)) for n, each in enumerate(self.collators))
            )
        return Views(
            tuple((n, self.collators[n].augment(part, generator)) for n, part in batch.parts)
        )

    def _source_of(self, position: int) -> int:
        return bisect_right(self.starts, position) - 1
