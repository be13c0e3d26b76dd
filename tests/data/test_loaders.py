from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from super_selfish.data.collate import LabelCollator
from super_selfish.data.loaders import EpochBatches, RawItems, build_loader
from super_selfish.data.sources import ImageSource, Unreadable


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
