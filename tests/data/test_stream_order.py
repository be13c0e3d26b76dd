"""How long an epoch of a stream is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from super_selfish.data import ImageSource, StreamSource
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.stream_order import StreamBatches, images_of_epoch, order_of
from tests.data.streamed import Numbers


def batches(total: int, size: int, rank: int = 0, processes: int = 1) -> StreamBatches:
    return StreamBatches(total, size, shuffle=False, seed=0, rank=rank, world_size=processes)


@pytest.mark.parametrize(
    ("total", "size", "processes", "sizes"),
    [
        *((12, 4, 1, [4, 4, 4]), (14, 4, 1, [4, 4, 4, 2]), (13, 4, 1, [4, 4, 5]), (3, 4, 1, [3])),
        *((13, 4, 2, [4, 3]), (3, 1, 1, [1, 1, 1]), (10, 2, 3, [2, 2])),
    ],
)
def test_the_last_step_has_what_is_left(
    total: int, size: int, processes: int, sizes: list[int]
) -> None:
    of = batches(total, size, 0, processes)
    assert [of.size(step) for step in range(len(of))] == sizes
    assert [len(batch) for batch in of] == sizes


def test_the_numbers_of_a_batch_are_those_of_its_process() -> None:
    of = batches(16, 4, 1, 2)
    assert list(of) == [[1, 3, 5, 7], [9, 11, 13, 15]]
    of.start_at(0, 1)
    assert list(of) == [[9, 11, 13, 15]]
    assert list(batches(9, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]


def test_images_of_an_epoch_are_those_of_the_stream_or_of_its_steps() -> None:
    known, unknown = StreamSource(Numbers(20), 20), StreamSource(Numbers(20))
    assert images_of_epoch(known, None, 4, 3) == 20
    for source in (known, unknown):
        assert images_of_epoch(source, 5, 4, 3) == 60
    with pytest.raises(ValueError, match="nobody knows how many images this Numbers has"):
        images_of_epoch(unknown, None, 4, 1)
    images = ImageSource(torch.zeros(7, 3, 32, 32, dtype=torch.uint8))
    assert images_of_epoch(images, None, 4, 1) == 7
    with pytest.raises(ValueError, match=r"steps_per_epoch=5 says .* a pass over the 7 images"):
        images_of_epoch(images, 5, 4, 1)
    known.stream.counts_for_all = True  # type: ignore[misc]  # as mosaicml's
    assert images_of_epoch(known, None, 4, 1) == 20
    with pytest.raises(ValueError, match="steps_per_epoch=5 cannot be counted in a Numbers, whose"):
        images_of_epoch(known, 5, 4, 1)


def test_an_epoch_goes_on_where_steps_were_said_or_the_stream_is_given_once() -> None:
    def made(source: Any, steps: int | None = None) -> Any:
        return order_of(source, 4, steps=steps, shuffle=True, seed=6, rank=1, world_size=2)

    order = made(StreamSource(Numbers(20), 20))
    assert type(order) is StreamBatches
    assert (order.num_images, order.batch_size, order.seed) == (20, 4, 6)
    assert (order.rank, order.world_size, order.shuffle) == (1, 2, True)
    assert not order.goes_on
    assert not order.is_one_order
    assert made(StreamSource(Numbers(20), 20), 3).goes_on
    assert made(StreamSource(iter([1]), 20, 32)).goes_on
    images = made(ImageSource(torch.zeros(7, 3, 32, 32, dtype=torch.uint8)))
    assert type(images) is EpochBatches
    assert images.num_images == 7
