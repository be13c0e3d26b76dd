from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from super_selfish.data import ImageSource, StreamSource, as_source
from super_selfish.data.stream_reader import nothing_for
from super_selfish.data.stream_source import PROBED
from super_selfish.data.streams import Share, is_stream
from tests.data.streamed import (
    Numbers,
    Shards,
    Stateful,
    epoch_of,
    flat,
    numbered,
    numbers_in,
    opened,
    resumed,
)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (2, 0), (3, 0), (2, 2)])
def test_every_image_comes_once_an_epoch(world_size: int, workers: int, shuffle: bool) -> None:
    source = StreamSource(Numbers(96), 96, split="samples", shuffle_buffer=20)
    of_ranks = [
        epoch_of(opened(source, workers=workers, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert sorted(flat([batch for rank in of_ranks for batch in rank])) == list(range(96))
    assert {len(batch) for rank in of_ranks for batch in rank} == {4}
    assert {len(rank) for rank in of_ranks} == {96 // 4 // world_size}


@pytest.mark.parametrize("total", [1, 2, 3, 5, 7, 8, 9, 11, 17])
@pytest.mark.parametrize("workers", [0, 3])
def test_rests_are_put_together_and_none_is_of_one_image(total: int, workers: int) -> None:
    loader = opened(StreamSource(Numbers(total), total), workers=workers)
    batches = epoch_of(loader)
    assert sorted(flat(batches)) == list(range(total))
    assert len(batches) == len(loader)
    assert total == 1 or min(map(len, batches)) > 1


def test_without_shuffling_the_order_is_that_of_the_stream() -> None:
    assert flat(epoch_of(opened(StreamSource(Numbers(10), 10)))) == list(range(10))


def test_epochs_differ_in_order_and_repeat_from_their_seed() -> None:
    source = StreamSource(Numbers(40), 40, shuffle_buffer=20)
    loader = opened(source, shuffle=True)
    orders = [flat(epoch_of(loader, epoch)) for epoch in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert flat(epoch_of(opened(source, shuffle=True), 2)) == orders[2]


def test_images_are_shuffled_within_the_buffer_and_no_further() -> None:
    source = StreamSource(Numbers(400), 400, shuffle_buffer=100)
    order = torch.tensor(flat(epoch_of(opened(source, shuffle=True))))
    moved = (order - torch.arange(400)).abs()
    assert 10 < moved.float().mean() < 40  # a third of a block of fifty would be 16.7
    assert moved.max() < 50


def test_at_most_the_buffer_is_read_ahead() -> None:
    stream = Numbers(1000)
    source = StreamSource(stream, 1000, shuffle_buffer=40)
    stream.given = 0
    loader = iter(opened(source, shuffle=True))
    for _ in range(10):
        next(loader)
    assert stream.given == 20 + 40  # a block, and one for each that was given


def test_memory_does_not_grow_with_the_stream() -> None:
    class Counted(Numbers):
        def item(self, number: int) -> Any:
            image = numbered(number).numpy()
            alive.add(number)
            weakref.finalize(image, alive.discard, number)
            most.append(len(alive))
            return image

    alive: set[int] = set()
    most: list[int] = []
    loader = iter(opened(StreamSource(Counted(1500), 1500, shuffle_buffer=40), shuffle=True))
    most.clear()
    for _ in loader:
        pass
    assert len(most) == 1500
    assert max(most) <= 40 + 2 * 4 + 1  # the buffer, and a batch on its way
    assert max(most[1000:]) <= max(most[:500])


def test_a_stream_that_knows_torchs_workers_is_not_split_twice() -> None:
    loader = opened(StreamSource(Shards([6, 6]), 6, split="samples"), workers=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(flat(epoch_of(loader))) == list(range(6))  # all see reader 0 of 1


@pytest.mark.parametrize("lengths", [[9, 3], [3, 9], [12, 0], [1, 11], [5, 7]])
def test_workers_with_unequal_shards_show_all_of_them(lengths: list[int]) -> None:
    loader = opened(StreamSource(Shards(lengths), 12, 32, split="own"), workers=2)
    for epoch in range(2):
        batches = epoch_of(loader, epoch)
        assert sorted(flat(batches)) == list(range(12))
        assert [len(batch) for batch in batches] == [4, 4, 4]


def test_processes_with_unequal_shards_do_the_same_steps() -> None:
    steps = []
    for rank in range(2):
        source = StreamSource(Shards([10, 6], rank), 16, split="own")
        loader = opened(source, rank=rank, world_size=2)
        if rank == 0:
            with pytest.warns(UserWarning, match="more than the 16 images .* process 0 of 2"):
                batches = epoch_of(loader)
        else:
            said = "ended after 6 images in process 1 of 2, where 8 were expected"
            with pytest.warns(UserWarning, match=said):
                batches = epoch_of(loader)
            assert flat(batches) == [10, 11, 12, 13, 14, 15, 10, 11]
        assert [len(batch) for batch in batches] == [4, 4]
        steps.append(len(batches))
    assert steps == [2, 2]


def test_a_process_without_a_shard_is_told() -> None:
    shards = Shards([4, 0])
    source = StreamSource(shards, 8, split="own")
    shards.rank = 1
    loader = opened(source, rank=1, world_size=2)
    with pytest.raises(ValueError, match="process 1 gets no image of the stream, which has fewer"):
        epoch_of(loader)
    assert "(1 process with 3 workers each)" in nothing_for(Share(workers=3))


def test_a_stream_that_ends_early_is_told_with_the_numbers_and_begins_again() -> None:
    loader = opened(StreamSource(Numbers(10), 25), workers=2)
    said = r"ended after 10 images, where 25 were expected \(num_images=25\). It begins again"
    with pytest.warns(UserWarning, match=said):
        batches = epoch_of(loader)
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 5]
    counts = torch.tensor(flat(batches)).bincount()
    assert sorted(set(counts.tolist())) == [2, 3]
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        assert len(epoch_of(loader, 1)) == 6


def test_a_longer_stream_is_told_and_cut() -> None:
    with pytest.warns(UserWarning, match="more than the 8 images of num_images"):
        batches = epoch_of(opened(StreamSource(Numbers(10), 8)))
    assert flat(batches) == list(range(8))


def test_with_steps_of_its_own_an_epoch_goes_on_where_the_last_one_ended() -> None:
    loader = opened(StreamSource(Numbers(20)), steps=3)
    shown = [flat(epoch_of(loader, epoch)) for epoch in range(4)]
    assert flat(shown) == [number % 20 for number in range(48)]


@pytest.mark.parametrize("workers", [2, 3])
def test_with_steps_of_its_own_workers_go_on_as_well(workers: int) -> None:
    loader = opened(StreamSource(Numbers(72)), steps=6, workers=workers)
    shown = flat([flat(epoch_of(loader, epoch)) for epoch in range(3)])
    assert sorted(shown) == list(range(72))


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize("total", [35, 36])
def test_a_stream_that_says_where_it_is_goes_on_exactly(
    workers: int, shuffle: bool, steps: int | None, total: int
) -> None:
    def loader() -> Any:
        source = StreamSource(Stateful(total), total, shuffle_buffer=10)
        return opened(source, workers=workers, shuffle=shuffle, steps=steps)

    whole, broken_off = loader(), loader()
    undisturbed = [epoch_of(whole, epoch) for epoch in range(3)]
    epoch_of(broken_off, 0)
    for done in (1, 2, 5, 8):
        broken_off.order.start_at(1)
        if steps is not None:
            broken_off = loader()
            epoch_of(broken_off, 0)
            broken_off.order.start_at(1)
        begun = iter(broken_off)
        for _ in range(done):
            next(begun)
        again = resumed(loader(), broken_off, 1, done)
        assert again.position.remark is None
        assert epoch_of(again, 1, done) == undisturbed[1][done:]
        assert epoch_of(again, 2) == undisturbed[2]


def test_what_was_seen_is_not_read_again_by_a_stream_that_says_where_it_is() -> None:
    def loader() -> Any:
        source = StreamSource(Stateful(2000), 2000, shuffle_buffer=20)
        return opened(source, shuffle=True)

    first = loader()
    begun = iter(first)
    for _ in range(200):
        next(begun)
    again = resumed(loader(), first, 0, 200)
    again.order.start_at(0, 200)
    begun = iter(again)
    next(begun)
    read = again.pieces._reader
    assert read is not None and 0 < read.stream.dataset.given <= 40 + PROBED


def test_a_stream_that_repeats_itself_by_its_owners_word_is_skipped_to_its_place() -> None:
    def loader(**options: Any) -> Any:
        source = StreamSource(Numbers(36), 36, shuffle_buffer=10, **options)
        return opened(source, shuffle=True, workers=2)

    first = loader()
    undisturbed = epoch_of(first)
    again = resumed(loader(deterministic=True), first, 0, 8)
    assert again.position.remark is None
    assert epoch_of(again, 0, 8) == undisturbed[8:]
    unknown = resumed(loader(), first, 0, 8)
    assert unknown.position.remark is not None
    assert "StreamSource(deterministic=True)): the next pass" in unknown.position.remark
    assert "for the 1 step left" in unknown.position.remark
    assert epoch_of(unknown, 0, 8) == epoch_of(first, 1)[:1]


def test_several_processes_skip_what_they_have_seen() -> None:
    for rank in range(2):

        def loader(rank: int = rank) -> Any:
            source = StreamSource(
                Numbers(48), 48, shuffle_buffer=10, split="samples", deterministic=True
            )
            return opened(source, shuffle=True, workers=2, rank=rank, world_size=2)

        first = loader()
        undisturbed = [epoch_of(first, epoch) for epoch in range(2)]
        other = loader()
        other.position.load_state_dict(first.position.state_dict(9, 9), 0, 4)  # of no step here
        assert epoch_of(other, 0, 4) == undisturbed[0][4:]
        assert epoch_of(other, 1) == undisturbed[1]


@pytest.mark.parametrize("steps", [None, 9])
def test_workers_of_torch_do_as_those_of_the_tests(steps: int | None) -> None:
    source = StreamSource(Stateful(35), 35, shuffle_buffer=10)
    real = opened(source, shuffle=True, num_workers=2, steps=steps)
    simulated = opened(source, shuffle=True, workers=2, steps=steps)
    assert [epoch_of(real, e) for e in range(2)] == [epoch_of(simulated, e) for e in range(2)]


def test_another_number_of_workers_begins_anew_and_says_so() -> None:
    first = opened(StreamSource(Stateful(36), 36), workers=2)
    epoch_of(first)
    again = resumed(opened(StreamSource(Stateful(36), 36), workers=3), first, 0, 8)
    assert again.position.remark is not None
    assert "read its stream by 2 workers and this one does by 3" in again.position.remark
    assert len(epoch_of(again, 0, 8)) == 1


class Broken(Numbers):
    """Every fifth image is none."""

    def item(self, number: int) -> Any:
        return b"no image" if number % 5 == 3 else numbered(number)


class Failing(IterableDataset[Any]):
    """Raises for some images, and goes on."""

    def __init__(self, total: int) -> None:
        self.total = total

    def __iter__(self) -> Iterator[Any]:
        return FailingIterator(self.total)


class FailingIterator:
    def __init__(self, total: int) -> None:
        self.total, self.number = total, -1

    def __iter__(self) -> FailingIterator:
        return self

    def __next__(self) -> Tensor:
        self.number += 1
        if self.number == self.total:
            raise StopIteration
        if self.number % 5 == 3:
            raise OSError(f"disk error at {self.number}")
        return numbered(self.number)


@pytest.mark.parametrize("kind", [Broken, Failing])
def test_unreadable_images_are_told_and_skipped(kind: Any) -> None:
    loader = opened(StreamSource(kind(40), 40, on_error="skip"))
    loader.order.start_at(0)
    batches = list(loader)
    good = [number for number in range(40) if number % 5 != 3]
    assert sorted(flat([numbers_in(batch) for batch in batches])) == good
    names = [name for batch in batches for name in batch.unreadable]
    assert len(names) == 8
    assert names[0].startswith("image 3 of the stream: ")
    with pytest.raises((ValueError, OSError), match=r"cannot read image 3 of the stream"):
        epoch_of(opened(StreamSource(kind(40), 40, 32)))


def test_a_batch_is_never_left_with_one_image() -> None:
    class Rare(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number) if number % 4 == 0 else None

    batches = epoch_of(opened(StreamSource(Rare(64), 64, on_error="skip")))
    assert min(map(len, batches)) == 2
    assert len(batches) == 16


def test_processes_have_full_batches_though_images_cannot_be_read() -> None:
    source = StreamSource(Broken(40), 40, on_error="skip", split="samples")
    batches = epoch_of(opened(source, rank=1, world_size=2))
    assert [len(batch) for batch in batches] == [4] * 5


def test_a_generator_that_breaks_off_is_told() -> None:
    class Breaking(Numbers):
        def item(self, number: int) -> Any:
            if number == 37:
                raise OSError("truncated")
            return numbered(number)

    from super_selfish.data.samples import DatasetError

    loader = opened(StreamSource(Breaking(40), 40, on_error="skip"))
    with pytest.raises(
        DatasetError, match=r"image 37 .* a generator does not go on after an error"
    ):
        epoch_of(loader)


def test_a_fault_of_the_stream_is_told_with_its_place() -> None:
    class Faulty(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number) if number < 33 else self.missing  # type: ignore[attr-defined]

    from super_selfish.data.samples import DatasetError

    with pytest.raises(DatasetError, match="Faulty fails at image 33 of the stream: Attribute"):
        epoch_of(opened(StreamSource(Faulty(40), 40)))


def test_a_function_of_the_users_own_gets_the_items_as_they_are() -> None:
    class Pairs(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number), str(number)

    def collate(items: list[Any]) -> list[int]:
        return [int(text) for _, text in items]

    loader = opened(StreamSource(Pairs(22), 22), workers=2, collate_fn=collate)
    loader.order.start_at(0)
    batches: list[Any] = list(loader)
    assert sorted(flat(batches)) == list(range(22))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 2]


def test_of_one_that_cannot_be_begun_again_nothing_is_read_before_training() -> None:
    generator = (numbered(number) for number in range(20))
    with pytest.raises(ValueError, match=r"would use them up.*: give image_size="):
        StreamSource(generator, 20)
    source = StreamSource(generator, 20, 32)
    assert source.at_hand == 0
    loader = opened(source)
    with pytest.raises(ValueError, match="this stream cannot be begun again"):
        source.first(4)
    assert flat(epoch_of(loader)) == list(range(20))
    with pytest.raises(ValueError, match="ended after 20 images, and cannot be begun again"):
        epoch_of(loader, 1)
    with pytest.raises(ValueError, match="num_workers=2 would read copies"):
        opened(source, num_workers=2)


def test_processes_ask_who_splits_a_stream() -> None:
    with pytest.raises(ValueError, match="2 processes read this Numbers, and nobody has said"):
        opened(StreamSource(Numbers(8), 8), world_size=2)


def test_what_a_stream_is() -> None:
    assert is_stream(Numbers(3))
    assert not is_stream([numbered(1)])
    assert not is_stream("folder")
    assert not is_stream(iter([1]))
    assert isinstance(as_source(Numbers(3)), StreamSource)
    with pytest.raises(TypeError, match="expected a stream, such as an IterableDataset, got a int"):
        StreamSource(3)


def test_sizes_are_looked_at_where_it_begins_again() -> None:
    source = StreamSource(Numbers(50), 50)
    assert (source.image_size, source.in_channels, len(source)) == ((32, 32), 3, 50)

    class Sizes(Numbers):
        def item(self, number: int) -> Any:
            return torch.zeros(3, 40 + number, 50, dtype=torch.uint8)

    various = StreamSource(Sizes(50))
    assert various.image_size == (225, 225)
    assert various.num_images is None
    with pytest.raises(TypeError, match="nobody knows how many images this stream has"):
        len(various)


def test_the_first_images_are_a_source_of_their_own() -> None:
    class Labelled(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number), number % 3

    source = StreamSource(Labelled(50), 50)
    first = source.first(20)
    assert isinstance(first, ImageSource) and not isinstance(first, StreamSource)
    assert len(first) == 20
    labels = first.known_labels()
    assert isinstance(labels, Tensor) and labels.tolist() == [n % 3 for n in range(20)]
    assert numbers_in(first.__getitems__([3, 7])) == [3, 7]
    assert source.at_hand == 50
    assert source[4].label == 1  # type: ignore[union-attr]
    assert numbers_in([sample.image for sample in source.subset([2, 8])]) == [2, 8]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="only the first 50 are at hand"):
        source.subset([50])


def test_images_keep_the_range_of_their_numbers() -> None:
    class Deep(Numbers):
        def item(self, number: int) -> Any:
            return torch.full((3, 32, 32), 40.0 + number)

    source = StreamSource(Deep(50), 50, value_range=(0, 100))
    loader = opened(source)
    loader.order.start_at(0)
    assert next(iter(loader)).images[1, 0, 0, 0].item() == pytest.approx(0.41)
    assert source.first(3)[1].image[0, 0, 0].item() == pytest.approx(0.41)  # type: ignore[union-attr]


def test_images_may_have_numbers_of_their_own() -> None:
    class Indexed(Numbers):
        def item(self, number: int) -> Any:
            return {"image": numbered(number), "id": self.total - 1 - number}

    source = StreamSource(Indexed(40), 40, index="id")
    assert source.has_index
    loader = opened(source, shuffle=True)
    loader.order.start_at(0)
    for batch in loader:
        assert batch.index.tolist() == [39 - number for number in numbers_in(batch)]
    with pytest.raises(ValueError, match="number 39, but num_images=20: they count from 0"):
        epoch_of(opened(StreamSource(Indexed(40), 20, 32, index="id")))
    with pytest.raises(ValueError, match="give num_images= as well"):
        StreamSource(Indexed(40), index="id")


def test_what_needs_every_image_is_refused_in_words() -> None:
    source = StreamSource(Numbers(50), 50)
    for use in (lambda: source.cached("somewhere"), lambda: source.with_labels([0] * 50)):
        with pytest.raises(ValueError, match=r"StreamSource\(\.\.\.\)\.first\(5000\)"):
            use()
