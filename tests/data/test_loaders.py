from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from super_selfish.data.collate import LabelCollator
from super_selfish.data.filling import FilledBatches
from super_selfish.data.loaders import EpochBatches, RawItems, build_loader
from super_selfish.data.sources import ImageSource, Unreadable
from super_selfish.training.randomness import step_generator


def flat(batches: EpochBatches) -> list[int]:
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize("number", [1, 2, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_an_epoch_shows_every_image_once(number: int, size: int) -> None:
    batches = EpochBatches(number, size)
    assert sorted(flat(batches)) == list(range(number))
    assert len(list(batches)) == len(batches)


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    assert [len(batch) for batch in EpochBatches(9, 4)] == [4, 5]
    assert [len(batch) for batch in EpochBatches(10, 4)] == [4, 4, 2]
    assert [len(batch) for batch in EpochBatches(3, 4)] == [3]
    assert [len(batch) for batch in EpochBatches(3, 1)] == [1, 1, 1]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first, second = EpochBatches(50, 8, seed=1), EpochBatches(50, 8, seed=1)
    orders = []
    for epoch in range(3):
        first.start_at(epoch)
        orders.append(flat(first))
    second.start_at(2)
    assert flat(second) == orders[2]
    assert orders[0] != orders[1] != orders[2]
    assert flat(EpochBatches(50, 8, seed=2)) != orders[0]
    assert flat(EpochBatches(50, 8, shuffle=False)) == list(range(50))


def test_an_epoch_goes_on_in_its_middle() -> None:
    batches = EpochBatches(50, 8)
    whole = list(batches)
    batches.start_at(0, 3)
    assert list(batches) == whole[3:]


def test_processes_share_every_global_batch() -> None:
    alone = list(EpochBatches(48, 8))
    ranks = [list(EpochBatches(48, 4, rank=rank, world_size=2)) for rank in range(2)]
    for whole, first, second in zip(alone, *ranks, strict=True):
        assert sorted(whole) == sorted(first + second)


def test_processes_have_equally_many_images_if_they_do_not_divide() -> None:
    ranks = [flat(EpochBatches(50, 4, rank=rank, world_size=3)) for rank in range(3)]
    assert [len(rank) for rank in ranks] == [17, 17, 17]
    assert {index for rank in ranks for index in rank} == set(range(50))
    # Fewer images than processes: each has one.
    ranks = [flat(EpochBatches(2, 4, rank=rank, world_size=5)) for rank in range(5)]
    assert [len(rank) for rank in ranks] == [1] * 5
    assert {index for rank in ranks for index in rank} == {0, 1}


def test_an_empty_dataset_and_an_empty_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="the dataset is empty"):
        EpochBatches(0, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        EpochBatches(4, 0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_change_nothing_and_leave_the_global_stream_alone(num_workers: int) -> None:
    images = torch.randint(256, (10, 3, 32, 32), dtype=torch.uint8)
    batches = EpochBatches(10, 4)
    state = torch.get_rng_state()
    loader = build_loader(ImageSource(images), batches, LabelCollator(), num_workers=num_workers)
    for epoch in range(2):
        batches.start_at(epoch)
        expected = list(batches)
        found = list(loader)
        assert [batch.index.tolist() for batch in found] == expected
        for batch in found:
            assert torch.equal(batch.images, images[batch.index])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_plain_function_gets_the_items_of_the_dataset() -> None:
    items = [(torch.zeros(3, 32, 32, dtype=torch.uint8), "name") for _ in range(4)]
    loader = build_loader(ImageSource(items), EpochBatches(4, 2), lambda batch: batch)
    assert [len(batch) for batch in loader] == [2, 2]
    assert next(iter(loader))[0][1] == "name"


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_item_that_cannot_be_read_ends_the_run_or_is_left_out(on_error: Any) -> None:
    class Failing(Dataset[Any]):
        is_broken = False

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Tensor:
            if self.is_broken:
                raise OSError("gone")
            return torch.full((3, 32, 32), 60 * index, dtype=torch.uint8)

    dataset = Failing()
    items = RawItems(ImageSource(dataset, on_error=on_error))
    dataset.is_broken = True
    if on_error == "raise":
        with pytest.raises(OSError, match="item 2"):
            items[2]
    else:
        assert items[2] == Unreadable(2, "item 2", "OSError: gone")


@pytest.mark.parametrize(("size", "processes"), [(4, 1), (4, 2), (1, 1), (1, 3)])
@pytest.mark.parametrize("number", [7, 16, 17, 40])
def test_an_epoch_that_others_began_goes_on_after_what_they_have_seen(
    number: int, size: int, processes: int
) -> None:
    def made(rank: int = 0) -> EpochBatches:
        return EpochBatches(number, size, seed=1, rank=rank, world_size=processes)

    order = flat(EpochBatches(number, number, seed=1))
    fewest = processes * min(2, size)
    for seen in range(number + 2):
        step = made().step_after(seen)
        if seen >= number:
            assert step == len(made())
            continue
        natural = min(seen // (size * processes), len(made()) - 1)
        is_small = (natural + 1) * size * processes - seen < fewest
        assert step == natural + (is_small and natural < len(made()) - 1)
        ranks = [made(rank) for rank in range(processes)]
        for each in ranks:
            each.enter(0, step, seen)
            each.start_at(0, step)
        first = [next(iter(each)) for each in ranks]
        assert {len(batch) for batch in first} == {len(first[0])}
        assert len(first[0]) >= min(2, size)
        together = [index for group in zip(*first, strict=True) for index in group]
        end = number if step == len(made()) - 1 else (step + 1) * size * processes
        assert together[: end - seen] == order[seen:end]
        whole = list(made())
        assert list(ranks[0])[1:] == whole[step + 1 :]  # those after it are as ever
        ranks[0].start_at(1, step)
        assert list(ranks[0]) == list(_of_epoch(made(), 1))[step:]


def _of_epoch(order: EpochBatches, epoch: int) -> EpochBatches:
    order.start_at(epoch)
    return order


def test_a_batch_begins_where_it_always_does_until_it_is_entered() -> None:
    order = EpochBatches(12, 4, shuffle=False)
    assert next(iter(order)) == [0, 1, 2, 3]
    order.enter(0, 1, 5)
    assert list(order) == [[0, 1, 2, 3], [5, 6, 7], [8, 9, 10, 11]]
    assert (order.epoch, order.first_step, order.seed, order.rank, order.world_size) == (0,) * 4 + (
        1,
    )
    assert EpochBatches(12, 4).shuffle


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_loader_keeps_its_workers_and_seeds_them_by_run_and_epoch(num_workers: int) -> None:
    source = ImageSource(torch.zeros(8, 3, 32, 32, dtype=torch.uint8))
    order = EpochBatches(8, 4, seed=6)
    order.start_at(3)
    loader = build_loader(source, order, LabelCollator(), num_workers=num_workers, timeout=5)
    assert loader.persistent_workers == (num_workers > 0)
    assert loader.timeout == (5 if num_workers else 0)
    assert loader.generator is not None
    assert loader.generator.initial_seed() == step_generator(6, 3).initial_seed()
    assert not loader.pin_memory
    plain = build_loader(source, order, LabelCollator())
    assert (plain.num_workers, plain.timeout) == (0, 0)
    assert build_loader(source, order, LabelCollator(), pin_memory=True).pin_memory


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_are_filled_where_images_may_be_skipped(
    on_error: Any, fills: bool, processes: int
) -> None:
    source = ImageSource(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), on_error=on_error)
    order = EpochBatches(8, 4, world_size=processes)
    items: Any = build_loader(source, order, LabelCollator(), fills=fills).dataset
    if fills and on_error == "skip":
        assert isinstance(items, FilledBatches)
        assert items.items is source
        assert items.to_full_size == (processes > 1)
    else:
        assert items is source
