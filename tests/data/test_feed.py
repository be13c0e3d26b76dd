"""Batches on their way to the networks: which come, what they draw, and what is measured."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.data.collate import Collator, LabelCollator
from super_selfish.data.feed import Feed, count_images, order_of
from super_selfish.data.filling import ReadableItems
from super_selfish.data.loaders import EpochBatches, build_loader
from super_selfish.data.samples import Batch
from super_selfish.data.sources import ImageSource
from super_selfish.data.workers import WorkerError
from super_selfish.training.randomness import derive_seed, step_generator

CPU = torch.device("cpu")


class Drawing(Collator):
    """Gives the positions of a batch, and a number that was drawn."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Any:
        return batch.index.tolist(), float(torch.rand((), generator=generator))


def images(number: int) -> Tensor:
    made = torch.zeros(number, 3, 32, 32, dtype=torch.uint8)
    made[..., 0] = 255
    return made


def fed(number: int = 10, collate_fn: Any = None, rank: int = 0, processes: int = 1) -> Feed:
    collate_fn = collate_fn or Drawing()
    order = EpochBatches(number, 4, shuffle=False, rank=rank, world_size=processes)
    loader = build_loader(ImageSource(images(number)), order, collate_fn)
    return Feed(loader, collate_fn, CPU, seed=7, rank=rank)


@pytest.mark.parametrize(("epoch", "first"), [(0, 0), (2, 1), (1, 2)])
@pytest.mark.parametrize("rank", [0, 1])
def test_an_epoch_begins_at_its_step_and_draws_by_its_place(
    epoch: int, first: int, rank: int
) -> None:
    feed = fed(24, rank=rank, processes=2)
    given = []
    for step, (indices, drawn) in enumerate(feed.epoch(epoch, first), start=first):
        given.append(indices)
        assert drawn == float(torch.rand((), generator=step_generator(7, epoch, step, rank, 1)))
        # What the networks draw, such as dropout, and not what came before.
        assert torch.initial_seed() == derive_seed(7, epoch, step, rank, 0)
        assert feed.images == 4
    assert given == [[8 * step + 2 * n + rank for n in range(4)] for step in range(first, 3)]


def test_what_reads_in_this_process_draws_from_the_place_where_a_run_goes_on() -> None:
    class Seeing(list[Tensor]):
        seeds: list[int]

        def __getitem__(self, index: Any) -> Any:
            self.seeds.append(torch.initial_seed())
            return super().__getitem__(index)

    items = Seeing(images(8))
    items.seeds = []
    source = ImageSource(items, 32, 3)

    def began(feed: Feed, epoch: int, first: int) -> int:
        items.seeds.clear()
        torch.manual_seed(123)
        next(iter(feed.epoch(epoch, first)))
        return items.seeds[0]

    def new(rank: int = 0) -> Feed:
        collate_fn = Drawing()
        loader = build_loader(source, EpochBatches(8, 4, shuffle=False), collate_fn)
        return Feed(loader, collate_fn, CPU, 7, rank)

    assert began(new(), 0, 0) == 123  # a run begins where its user's stream stands
    feed = new(1)
    assert began(feed, 3, 1) == derive_seed(7, 3, 1, 1, 2)
    assert began(feed, 4, 0) == 123  # and goes on from there
    assert began(new(), 1, 0) == derive_seed(7, 1, 0, 0, 2)


def test_images_of_all_processes_are_known_before_they_are_read() -> None:
    feed = fed(24, rank=1, processes=2)
    assert feed.indices(0, 1) == [8, 10, 12, 14, 9, 11, 13, 15]
    assert feed.indices(0, 9) == []
    assert order_of(feed.loader).rank == 1
    loader = torch.utils.data.DataLoader([1, 2], batch_size=2)  # type: ignore[arg-type, var-annotated]
    assert Feed(loader, len, CPU, 0).indices(0, 0) == []


def test_a_loader_may_have_its_order_beside_its_sampler() -> None:
    class Ordered:
        order, batch_sampler = "order", "sampler"

    assert order_of(Ordered()) == "order"  # type: ignore[arg-type]
    del Ordered.order
    assert order_of(Ordered()) == "sampler"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "first", "said"),
    [
        (4, 0, "the items 4, 5, 6, 7 of the dataset"),
        (4, 1, "the items 8, 9, 10, 11 of the dataset"),
        (8, 0, "the items 8, 9, 10, 11, 12, 13, 14, 15 of the dataset"),
        (9, 0, "the items 9, 10, 11, 12, 13, 14, 15, 16, ... of the dataset"),
        (24, 0, "batch 2"),
        (24, 3, "batch 5"),
    ],
)
def test_a_batch_that_is_not_given_is_named(size: int, first: int, said: str) -> None:
    class Loader:
        order = EpochBatches(24, size, shuffle=False)
        collate_fn = None

        def __iter__(self) -> Any:
            for number in range(2):
                if number:
                    raise RuntimeError("DataLoader timed out after 5 seconds")
                yield Batch(images(4), torch.arange(4))

    feed = Feed(Loader(), Drawing(), CPU, 0)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match=rf"It was to give {said}\.$"):
        list(feed.epoch(0, first))


def test_the_wait_for_data_is_measured_with_the_part_of_the_loader() -> None:
    class Slow(Drawing):
        def augment(self, batch: Batch, generator: torch.Generator) -> Any:
            time.sleep(0.02)

    class Reader(list[Tensor]):
        def __getitem__(self, index: Any) -> Any:
            if self.is_slow:
                time.sleep(0.01)
            return super().__getitem__(index)

        is_slow = False

    items = Reader(images(8))
    collate_fn = Slow()
    loader = build_loader(ImageSource(items, 32, 3), EpochBatches(8, 4), collate_fn)
    feed = Feed(loader, collate_fn, CPU, 0)
    items.is_slow = True
    assert (feed.images, feed.waited, feed.read, feed.compiles) == (0, 0.0, 0.0, False)
    began = time.perf_counter()
    epoch = feed.epoch(0, 0)
    next(epoch)
    assert 0.04 <= feed.read <= feed.waited - 0.02
    assert feed.waited <= time.perf_counter() - began
    assert 0.06 <= feed.lap() <= time.perf_counter() - began
    time.sleep(0.05)
    between = time.perf_counter()
    next(epoch)
    assert feed.waited <= time.perf_counter() - between  # without what the networks took
    assert feed.waited >= 0.06
    assert 0.11 <= feed.lap() <= time.perf_counter() - began


def test_a_users_own_function_gives_batches_of_any_form() -> None:
    def collate(items: list[Any]) -> Any:
        return {"x": (torch.zeros(len(items), 2), "name")}

    feed = fed(10, collate)
    sizes = []
    for batch in feed.epoch(0, 0):
        sizes.append(feed.images)
        assert batch["x"][1] == "name"
        assert feed.unreadable == ()
    assert sizes == [4, 4, 2]
    assert count_images([[torch.zeros(5, 1)], torch.zeros(3)]) == 5


def test_images_that_cannot_be_read_are_told_once_and_counted() -> None:
    broken = [b"no image" if number == 2 else image for number, image in enumerate(images(8))]
    collate_fn = Drawing()
    source = ImageSource(broken, 32, 3, on_error="skip")
    loader = build_loader(source, EpochBatches(8, 4, shuffle=False), collate_fn)
    feed = Feed(loader, collate_fn, CPU, 0)
    with pytest.warns(UserWarning, match="left out: item 2: "):
        next(feed.epoch(0, 0))
    assert feed.images == 3
    assert len(feed.unreadable) == len(feed.left_out) == 1
    assert len(list(feed.epoch(1, 0))) == 2  # not told again
    assert feed.unreadable == ()  # type: ignore[comparison-overlap]


def test_who_reads_for_a_users_function_counts_what_is_left_out() -> None:
    collate_fn = ReadableItems(len)
    source = ImageSource(list(images(4)), 32, 3, on_error="skip")
    loader = build_loader(source, EpochBatches(4, 2), len)
    feed = Feed(loader, collate_fn, CPU, 0)
    assert isinstance(loader.collate_fn, ReadableItems)
    assert feed.left_out is loader.collate_fn.left_out


def test_a_batch_without_any_image_ends_the_run_with_the_first_three() -> None:
    class Loader:
        order = EpochBatches(8, 4)
        collate_fn = None

        def __iter__(self) -> Any:
            names = ("a: x", "b: x", "c: x", "d: x")
            yield Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), None, names)

    feed = Feed(Loader(), LabelCollator(), CPU, 0)  # type: ignore[arg-type]
    with (
        pytest.warns(UserWarning, match="left out: a: x; b: x; c: x; d: x"),
        pytest.raises(ValueError, match=r"can be read: a: x, b: x, c: x$"),
    ):
        list(feed.epoch(0, 0))
