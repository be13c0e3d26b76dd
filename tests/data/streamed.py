"""Streams of small images, each of which shows its number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.data._utils.worker as torch_worker_module
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from super_selfish.data.collate import Batch, LabelCollator
from super_selfish.data.stream_loader import StreamLoader
from super_selfish.data.stream_order import StreamBatches, order_of
from super_selfish.data.stream_source import StreamSource

torch_worker: Any = torch_worker_module


def numbered(number: int) -> Tensor:
    """An image that shows a number below 65536."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0], image[1] = number % 256, number // 256
    image[2] = torch.arange(0, 256, 8)  # from black to white
    return image


def numbers_in(batch: Any) -> list[int]:
    """The numbers that the images of a batch show."""
    images = batch.images if isinstance(batch, Batch) else torch.stack(list(batch))
    return (images[:, 0, 0, 0].int() + 256 * images[:, 1, 0, 0].int()).tolist()


class Numbers(IterableDataset[Any]):
    """Gives numbered images in order, to whoever asks."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.given = 0

    def item(self, number: int) -> Any:
        return numbered(number)

    def __iter__(self) -> Iterator[Any]:
        for number in range(self.total):
            self.given += 1
            yield self.item(number)


class Stateful(Numbers):
    """Says where it stands, and has another order in every epoch."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.epoch = self.place = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["place"]

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(self.total, generator=torch.Generator().manual_seed(self.epoch))
        while self.place < self.total:
            self.place += 1
            self.given += 1
            yield self.item(int(order[self.place - 1]))
        self.place = 0


class Shards(Numbers):
    """Splits itself: reader r of all has `lengths[r]` images."""

    def __init__(self, lengths: list[int], rank: int = 0) -> None:
        super().__init__(sum(lengths))
        self.lengths, self.rank = lengths, rank

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        reader = self.rank * workers + worker
        start = sum(self.lengths[:reader])
        yield from (numbered(start + place) for place in range(self.lengths[reader]))


class Simulated(StreamLoader):
    """A loader with workers that live in this process, which start a hundred times faster."""

    def __init__(self, source: StreamSource, order: StreamBatches, collate: Any, workers: int):
        super().__init__(source, order, collate)
        self.pieces.num_workers = self.position.workers = workers
        self.parts: list[Any] = []

    def iterate(self) -> Iterator[Any]:
        if not self.parts:  # what torch copies to a worker when it begins
            self.parts = [copy.deepcopy(self.pieces) for _ in range(self.position.workers)]
        for part in self.parts:
            part.told = self.pieces.told
        return self._in_turns()

    def _in_turns(self) -> Iterator[Any]:
        ready = [(worker, iter(part)) for worker, part in enumerate(self.parts)]
        while ready:
            for worker, part in list(ready):
                with worker_of(worker, len(self.parts)):
                    piece = next(part, None)
                if piece is None:
                    ready.remove((worker, part))
                else:
                    yield piece


@contextmanager
def worker_of(worker: int, workers: int) -> Iterator[None]:
    info = torch_worker.WorkerInfo(id=worker, num_workers=workers, seed=0, dataset=None)
    torch_worker._worker_info = info
    try:
        yield
    finally:
        torch_worker._worker_info = None


def opened(
    source: StreamSource,
    batch_size: int = 4,
    *,
    workers: int = 0,
    num_workers: int = 0,
    shuffle: bool = False,
    steps: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    collate_fn: Any = None,
) -> StreamLoader:
    order = order_of(
        source,
        batch_size,
        steps=steps,
        shuffle=shuffle,
        seed=3,
        rank=rank,
        world_size=world_size,
    )
    assert isinstance(order, StreamBatches)
    collate_fn = LabelCollator() if collate_fn is None else collate_fn
    if workers:
        return Simulated(source, order, collate_fn, workers)
    return StreamLoader(source, order, collate_fn, num_workers=num_workers)


def epoch_of(loader: StreamLoader, epoch: int = 0, step: int = 0) -> list[list[int]]:
    """The numbers in the batches of an epoch."""
    loader.order.start_at(epoch, step)
    return [numbers_in(batch) for batch in loader]


def resumed(loader: StreamLoader, after: StreamLoader, epoch: int, step: int) -> StreamLoader:
    """A loader that goes on where another one has stood after so many steps."""
    state = copy.deepcopy(after.position.state_dict(epoch, step))
    loader.position.load_state_dict(state, epoch, step)
    return loader


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]
