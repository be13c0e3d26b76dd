"""Several sources in turns or side by side, each with batches and a collator of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.collate import Collator
from super_selfish.data.joined import (
    JoinedBatch,
    JoinedBatches,
    JoinedCollator,
    JoinedSource,
)
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.samples import Batch, Sample, Unreadable
from super_selfish.data.sources import ImageSource


def source(number: int, shade: int, *, listed: bool = False) -> ImageSource:
    """Images of which each is a little brighter than the one before, with labels."""
    images = torch.zeros(number, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 16:] = 255
    images[:, 0, :16] = shade + torch.arange(number).view(-1, 1, 1).to(torch.uint8)
    labels = torch.arange(number) + 100 * shade
    if listed:
        return ImageSource(list(zip(images, labels.tolist(), strict=True)))
    return ImageSource((images, labels))


@pytest.fixture
def joined() -> JoinedSource:
    return JoinedSource([source(4, 10), source(3, 20, listed=True), source(5, 30)])


def shade_of(sample: Any) -> int:
    return int(sample.image[0, 0, 0])


def test_positions_count_on_from_source_to_source(joined: JoinedSource) -> None:
    assert len(joined) == 12
    assert joined.starts == [0, 4, 7, 12]
    assert [joined.placed(index) for index in (0, 3, 4, 6, 7, 11, -1)] == [
        *((0, 0), (0, 3), (1, 0), (1, 2), (2, 0), (2, 4), (2, 4))
    ]
    shades = [10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 33, 34]
    for index, shade in enumerate(shades):
        sample = joined[index]
        assert (shade_of(sample), sample.index) == (shade, index)
        assert joined.label(index) == sample.label  # type: ignore[union-attr]
        assert joined.name(index) == f"item {joined.placed(index)[1]}"
    assert int(joined.item(5)[0][0, 0, 0]) == 21
    assert joined.known_labels() is None  # type: ignore[func-returns-value]
    with pytest.raises(IndexError):
        joined[12]


def test_samples_of_one_source_come_at_once(joined: JoinedSource) -> None:
    for indices, shades in (([7, 11, 9], [30, 34, 32]), ([0, 3], [10, 13])):
        batch = joined.select(torch.tensor(indices))
        assert batch is not None and batch.labels is not None
        assert batch.images[:, 0, 0, 0].tolist() == shades
        assert batch.index.tolist() == indices
        assert batch.labels.tolist() == [joined.label(index) for index in indices]
    for several in ([3, 4], [7, 6], [11, 0], [4, 5], []):  # or of a list, or of none
        assert joined.select(torch.tensor(several, dtype=torch.int64)) is None
    mixed = joined.__getitems__([11, 0, 5])
    assert [shade_of(sample) for sample in mixed] == [34, 10, 21]


def test_files_are_decoded_where_one_of_the_sources_has_some(
    joined: JoinedSource, tmp_path: Path
) -> None:
    assert not joined.decodes_files
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    files = ImageSource(tmp_path)
    assert JoinedSource([source(4, 10), files]).decodes_files
    cached = JoinedSource([files, files]).cached(tmp_path / "cache", progress=False)
    assert not cached.decodes_files
    assert isinstance(cached, JoinedSource)
    assert torch.equal(cached[1].image, files[0].image)  # type: ignore[union-attr]


# The order


def orders(*numbers: int, size: int = 2, **options: Any) -> list[EpochBatches]:
    return [EpochBatches(number, size, seed=5, **options) for number in numbers]


def alone(order: EpochBatches, start: int, done: int) -> list[int]:
    """The batch of one source after so many, written anew."""
    order.start_at(done // len(order))
    return [start + index for index in list(order)[done % len(order)]]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_each_source_goes_on_in_turns_or_at_once(together: bool, epoch: int) -> None:
    batches = JoinedBatches(orders(8, 6, 2), together=together)  # of four, three and one
    assert batches.turns == 4
    assert len(batches) == (4 if together else 12)
    assert batches.starts == [0, 8, 14, 16]
    expected = []
    for turn in range(4):
        done = 4 * epoch + turn
        starts = zip(orders(8, 6, 2), (0, 8, 14), strict=True)
        parts = [alone(order, start, done) for order, start in starts]
        expected += [[index for part in parts for index in part]] if together else parts
    for first in range(len(batches)):
        batches.start_at(epoch, first)
        assert list(batches) == expected[first:]


def test_images_of_an_epoch_are_counted_with_what_is_repeated() -> None:
    batches = JoinedBatches(orders(8, 6, 2), together=True)
    assert batches.num_images == 8 + 8 + 8
    assert JoinedBatches(orders(8, 5), together=True).num_images == 8 + 10  # five in two batches
    assert batches.batch_size == 2
    assert not batches.is_one_order
    assert batches.seed == 5


def test_each_process_has_its_own_part_of_every_source() -> None:
    batches = JoinedBatches(orders(8, 12, rank=0, world_size=2, shuffle=False), together=True)
    assert (batches.rank, batches.world_size, batches.shuffle) == (0, 2, False)
    other = batches.of(1)
    assert (other.rank, batches.rank) == (1, 0)
    assert next(iter(batches)) == [0, 2, 8, 10]
    assert next(iter(other)) == [1, 3, 9, 11]


# What becomes of a batch


class Named(Collator):
    """Says who it is and what it was given."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def augment(self, batch: Batch, generator: torch.Generator) -> Any:
        return self.name, batch.index.tolist(), float(torch.rand((), generator=generator))


COLLATOR = JoinedCollator([Named("a"), Named("b"), Named("c")], [0, 4, 7])


def views(batch: Any) -> list[Any]:
    made = COLLATOR.augment(batch, torch.Generator().manual_seed(0))
    return [(number, *view[:2]) for number, view in made.parts]


def test_samples_go_to_the_collator_of_their_source(joined: JoinedSource) -> None:
    batch = COLLATOR.stack([joined[index] for index in (7, 0, 11, 1, 4, 5)])
    assert views(batch) == [(0, "a", [0, 1]), (1, "b", [0, 1]), (2, "c", [0, 4])]
    assert batch.index.tolist() == [0, 1, 0, 1, 0, 4]
    whole = COLLATOR.stack(joined.select(torch.tensor([8, 10])))  # type: ignore[arg-type]
    assert views(whole) == [(2, "c", [1, 3])]


def test_one_sample_of_another_source_took_a_place_and_is_left_out(joined: JoinedSource) -> None:
    batch = COLLATOR.stack([joined[index] for index in (0, 1, 4)])
    assert views(batch) == [(0, "a", [0, 1])]
    assert views(COLLATOR.stack([joined[0], joined[4]])) == [(0, "a", [0]), (1, "b", [0])]
    assert views(COLLATOR.stack([joined[4]])) == [(1, "b", [0])]


def test_what_cannot_be_read_is_told_by_its_source(joined: JoinedSource) -> None:
    samples: list[Any] = [Unreadable(5, "x", "broken"), joined[6], joined[0], joined[1]]
    batch = COLLATOR.stack(samples)
    assert batch.unreadable == ("x: broken",)
    assert batch.index.tolist() == [0, 1, 2]
    empty = JoinedBatch(())
    assert (empty.unreadable, empty.index.tolist(), empty.index.dtype) == ((), [], torch.int64)


def test_a_batch_of_no_source_is_given_to_all() -> None:
    sample = Sample(torch.zeros(3, 4, 4), 9, None)
    whole = Batch(sample.image[None], torch.tensor([9]))
    assert views(whole) == [(0, "a", [9]), (1, "b", [9]), (2, "c", [9])]
