"""What the loader of a stream says, tells its workers and puts together."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.data import StreamSource
from super_selfish.data.collate import LabelCollator
from super_selfish.data.samples import Batch
from super_selfish.data.stream_loader import (
    REPEATED,
    StreamLoader,
    StreamPieces,
    _after,
    _cut,
    _joined,
    _parted,
)
from super_selfish.training.randomness import step_generator
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
    worker_of,
)


def batch(*numbers: int, labels: Tensor | None = None, unreadable: tuple[str, ...] = ()) -> Batch:
    images = torch.stack([numbered(number) for number in numbers])
    return Batch(images, torch.tensor(numbers), labels, unreadable)


@pytest.mark.parametrize(
    ("workers", "shuffle", "buffer", "told"),
    [
        (0, True, 40, "Images are shuffled among 40 at a time, drawn from the seed"),
        (1, True, 40, "Images are shuffled among 40 at a time, drawn from the seed"),
        (2, True, 40, "Images are shuffled among 40 at a time in each of 2 workers, drawn from"),
        (0, False, 40, "Images come in the order of the stream"),
        (0, True, 0, "Images come in the order of the stream"),
    ],
)
def test_what_order_images_have_is_said(
    workers: int, shuffle: bool, buffer: int, told: str
) -> None:
    source = StreamSource(Numbers(20), 20, shuffle_buffer=buffer)
    (remark,) = opened(source, shuffle=shuffle, num_workers=workers).remarks
    assert remark.startswith(told)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_stay_and_have_a_time_and_seeds_of_the_run(workers: int) -> None:
    order: Any = opened(StreamSource(Numbers(20), 20)).order
    order.start_at(2)
    source = StreamSource(Numbers(20), 20)
    loader = StreamLoader(
        source, order, LabelCollator(), num_workers=workers, pin_memory=True, timeout=7
    )
    assert loader.num_workers == workers
    assert loader.persistent_workers == (workers > 0)
    assert loader.timeout == (7 if workers else 0)
    assert loader.pin_memory
    assert len(loader) == 5
    expected = step_generator(order.seed, 2).initial_seed()
    assert loader.generator is not None and loader.generator.initial_seed() == expected
    assert loader.position.workers == max(1, workers)
    default = StreamLoader(source, order, LabelCollator())
    assert (default.num_workers, default.pin_memory, default.timeout) == (0, False, 0)


def test_one_worker_may_not_read_a_stream_that_is_given_once() -> None:
    source = StreamSource(iter([numbered(0)]), 1, 32)
    assert opened(source, num_workers=0).num_workers == 0
    with pytest.raises(ValueError, match="num_workers=1 would read copies of a stream"):
        opened(source, num_workers=1)


def test_workers_are_told_which_pass_and_step_begin() -> None:
    loader = opened(StreamSource(Numbers(20), 20))
    loader.order.start_at(3, 2)
    loader.read(5, 1)
    assert loader.pieces.told.tolist() == [5, 1, 3, 2]
    assert loader.pieces.told.dtype == torch.int64
    assert loader.pieces.told.is_shared()


@pytest.mark.parametrize(("again", "seen"), [(0, 2 * 4 * 3), (1, 0)])
def test_what_counts_for_all_is_told_how_many_images_all_have_seen(again: int, seen: int) -> None:
    source = StreamSource(Numbers(60), 60, split="samples")
    loader = opened(source, rank=1, world_size=3)
    loader.order.start_at(3, 2)
    placed: list[Any] = []
    stream: Any = source.stream
    stream.counts_for_all, stream.place = True, lambda *place: placed.append(place)
    loader.read(7, again)
    assert placed == [(7, seen)]


def test_a_length_is_told_once() -> None:
    loader = opened(StreamSource(Numbers(20), 20))
    with pytest.warns(UserWarning, match="first"):
        loader.tell_of_length("first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader.tell_of_length("second")


def test_a_stream_that_is_as_long_as_was_said_is_not_told_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for total in (7, 8, 9):
            for workers in (0, 2, 3):
                epoch_of(opened(StreamSource(Numbers(total), total), workers=workers))
    for total in (9, 10, 12, 13):  # of which eight are wanted
        for workers in (0, 2, 3):
            with pytest.warns(UserWarning, match="more than the 8 images of num_images: the rest"):
                epoch_of(opened(StreamSource(Numbers(total), 8), workers=workers))


def test_a_stream_that_is_a_little_too_short_is_told_of_without_a_repetition() -> None:
    loader = opened(StreamSource(Numbers(7), 8), batch_size=4)
    with pytest.warns(UserWarning, match="ended after 7 images, where 8 were expected") as told:
        batches = epoch_of(loader)
    assert flat(batches) == list(range(7))
    assert "begins again" not in str(told[0].message)


def test_a_pass_that_is_begun_again_has_a_number_of_its_own() -> None:
    loader = opened(StreamSource(Stateful(5), 12), shuffle=False)
    with pytest.warns(UserWarning, match="It begins again for the rest of the epoch"):
        batches = epoch_of(loader)
    assert [len(each) for each in batches] == [4, 4, 4]
    orders = [
        torch.randperm(5, generator=torch.Generator().manual_seed(number)).tolist()
        for number in (0, REPEATED, 2 * REPEATED)
    ]
    assert flat(batches) == flat(orders)[:12]
    assert loader.position.state_dict(0, 3)["again"] == 2
    assert loader.position.state_dict(0, 1)["again"] == 1


def test_a_stream_of_which_nothing_can_be_read_ends_the_run() -> None:
    class Worse(Numbers):
        is_good = True

        def item(self, number: int) -> Any:
            return numbered(number) if self.is_good else None

    source = StreamSource(Worse(6), 20, on_error="skip")
    source.stream.dataset.is_good = False
    with (
        pytest.warns(UserWarning, match="ended after 6 images"),
        pytest.raises(ValueError, match="none can be read of 12 images of the stream"),
    ):
        epoch_of(opened(source))


def test_a_stream_that_gives_nothing_ends_the_run() -> None:
    source = StreamSource(Numbers(6), 20)
    source.stream.dataset.total = 0
    with pytest.raises(ValueError, match="the stream gives no image"):
        epoch_of(opened(source))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("done", [2, 3, 4])  # the last four are known
def test_what_is_left_goes_on_where_it_was(workers: int, done: int) -> None:
    def loader() -> Any:
        return opened(StreamSource(Stateful(18), 18), workers=workers)

    first = loader()
    whole = epoch_of(first)
    assert len(whole) == 5
    again = resumed(loader(), first, 0, done)
    assert epoch_of(again, 0, done) == whole[done:]


# A worker's pieces


def pieces_of(
    source: StreamSource, worker: int = 0, workers: int = 1, collate: Any = None, **options: Any
) -> Any:
    order: Any = opened(source, **options).order
    made = StreamPieces(source, order, collate or LabelCollator(), workers)
    with worker_of(worker, workers):
        return made, list(made)


def test_a_worker_gives_batches_and_what_is_left() -> None:
    made, pieces = pieces_of(StreamSource(Numbers(20), 20), 1, 2)
    assert [numbers_in(piece.data) for piece in pieces] == [[1, 3, 5, 7], [9, 11, 13, 15], [17, 19]]
    assert [piece.is_last for piece in pieces] == [False, False, True]
    assert made.decodes_files is False
    assert not made.is_raw


def test_a_worker_whose_images_were_seen_gives_pieces_without_them() -> None:
    source = StreamSource(Numbers(20), 20)
    order: Any = opened(source).order
    made = StreamPieces(source, order, LabelCollator(), 2)
    made.seen = {0: 3, 1: 1}
    with worker_of(1, 2):
        pieces = list(made)
        again = list(made)
    assert [piece.data is None for piece in pieces] == [True, False, False]
    assert [piece.data is None for piece in again] == [False] * 3  # of the next pass
    assert numbers_in(pieces[1].data) == [9, 11, 13, 15]


def test_workers_take_the_steps_in_turns_where_epochs_go_on() -> None:
    source = StreamSource(Numbers(200))
    order: Any = opened(source, steps=5).order
    given = []
    for worker in range(2):
        made = StreamPieces(source, order, LabelCollator(), 2)
        with worker_of(worker, 2):
            order.start_at(0)
            first = list(made)
            made.told.copy_(torch.tensor([0, 0, 1, 1]))
            given.append((len(first), len(list(made))))
    assert given == [(3, 2), (2, 2)]  # steps 0 to 4, and 6 to 9


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_function_of_the_users_own_is_kept_from_what_cannot_be_read(on_error: Any) -> None:
    source = StreamSource(Numbers(9), 9, on_error=on_error)
    made, pieces = pieces_of(source, collate=len)
    assert made.is_raw
    assert [piece.data for piece in pieces[:-1]] == [4]
    assert len(pieces[-1].data) == 5  # as items: they are put together with those of others
    assert (made.collate is len) == (on_error == "raise")


# What is put together


def test_batches_are_joined_with_their_names_and_labels() -> None:
    first = batch(1, 2, labels=torch.tensor([5, 6]), unreadable=("a",))
    second = batch(3, labels=torch.tensor([7]), unreadable=("b",))
    both = _joined([first, None, second])
    assert numbers_in(both) == [1, 2, 3]
    assert both.index.tolist() == [1, 2, 3]
    assert both.labels.tolist() == [5, 6, 7]
    assert both.unreadable == ("a", "b")
    assert _joined([first, batch(3)]).labels is None
    several = batch(3, labels=torch.tensor([[7, 8]]))
    assert _joined([first, several]).labels is None
    assert _joined([batch(3), batch(4)]).labels is None
    why = Batch(first.images, first.index, None, (), "no labels")
    assert _joined([first, why, Batch(first.images, first.index, None, (), "x")]).no_labels == (
        "no labels"
    )


def test_batches_without_images_leave_their_names() -> None:
    empty = Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), None, ("a",))
    nothing = Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), None, ())
    assert _joined([nothing, None]) is None
    assert _joined([]) is None
    assert _joined([empty, nothing]).unreadable == ("a",)
    assert len(_joined([empty])) == 0
    both = _joined([empty, batch(4)])
    assert (numbers_in(both), both.unreadable) == ([4], ("a",))
    assert _joined([["a"], [], ["b", "c"]]) == ["a", "b", "c"]


def test_a_batch_is_parted_and_names_are_told_with_the_first_part() -> None:
    labels = torch.tensor([5, 6, 7])
    whole = Batch(batch(1, 2, 3).images, torch.tensor([1, 2, 3]), labels, ("a",), "why")
    head, rest = _parted(whole, 2)
    assert (numbers_in(head), numbers_in(rest)) == ([1, 2], [3])
    assert (head.labels.tolist(), head.index.tolist()) == ([5, 6], [1, 2])
    assert (head.unreadable, head.no_labels) == (("a",), "why")
    assert _parted([1, 2, 3], 1) == ([1], [2, 3])
    assert numbers_in(_after(whole, 1)) == [2, 3]
    assert _after(whole, 0) is whole
    assert _after(None, 0) is None


def test_a_piece_that_is_too_large_is_cut_and_a_users_batch_is_not() -> None:
    whole = batch(1, 2, 3)
    assert numbers_in(_cut(whole, 2)) == [1, 2]
    for size in (3, 4):
        assert _cut(whole, size) is whole
    assert _cut([1, 2, 3], 2) == [1, 2, 3]


def test_workers_without_images_are_passed_over() -> None:
    source = StreamSource(Shards([8, 0, 8]), 16, 32, split="own")
    batches = epoch_of(opened(source, workers=3))
    assert batches == [[0, 1, 2, 3], [8, 9, 10, 11], [4, 5, 6, 7], [12, 13, 14, 15]]
