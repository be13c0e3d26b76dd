"""What one reader gives, piece by piece, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from super_selfish.data import StreamSource
from super_selfish.data.samples import DatasetError, Sample, Unreadable
from super_selfish.data.stream_reader import Piece, StreamReader, nothing_for
from super_selfish.data.streams import Share
from tests.data.streamed import Numbers, Stateful, numbered


def reader(
    source: StreamSource,
    share: Share = Share(),  # noqa: B008
    *,
    batch_size: int = 4,
    start: bool = True,
    **options: Any,
) -> StreamReader:
    made = StreamReader(
        source, share, batch_size=batch_size, **{"shuffle": False, "seed": 3, **options}
    )
    if start:
        made.start(0)
    return made


def shown(piece: Piece) -> list[int | None]:
    """The numbers that the images of a piece show; None of those that cannot be read."""
    images = [entry.image if isinstance(entry, Sample) else None for entry in piece.data]
    return [None if i is None else int(i[0, 0, 0]) + 256 * int(i[1, 0, 0]) for i in images]


def indices(piece: Piece) -> list[int]:
    return [entry.index for entry in piece.data]


def place(taken: int, offset: int = 0, state: Any = None, number: int = 0) -> dict[str, Any]:
    return {"number": number, "taken": taken, "state": state, "offset": offset}


class Rare(Numbers):
    """From some number on none can be read."""

    first = 4

    def item(self, number: int) -> Any:
        return numbered(number) if number < self.first else None


def test_pieces_say_who_reads_and_where_the_next_one_begins() -> None:
    read = reader(StreamSource(Numbers(13), 13), Share(0, 1, 1, 2))
    pieces = [read.piece(size) for size in (2, 2, 1, 1)]
    assert [shown(piece) for piece in pieces] == [[1, 3], [5, 7], [9], [11]]
    assert [indices(piece) for piece in pieces] == [[1, 3], [5, 7], [9], [11]]
    assert [piece.place for piece in pieces[:3]] == [place(0, 2), place(4), place(4, 1)]
    assert {piece.worker for piece in pieces} == {1}
    assert [piece.items for piece in pieces] == [2, 2, 1, 1]
    assert [piece.is_last for piece in pieces] == [False, False, False, True]


@pytest.mark.parametrize(
    ("total", "size", "given"),
    [
        *((8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 1, [1, 1, 1]), (0, 4, [0])),
        *((1, 4, [1]), (2, 2, [2]), (3, 2, [3])),
    ],
)
def test_one_image_is_not_left_for_a_piece_of_its_own(
    total: int, size: int, given: list[int]
) -> None:
    source = StreamSource(Numbers(max(total, 1)), 20)
    source.stream.dataset.total = total
    read = reader(source, batch_size=size)
    for number in given:
        piece = read.piece(size)
        assert (piece.items, len(piece.data)) == (number, number)
    assert piece.is_last


def test_a_place_is_where_a_reader_begins_again() -> None:
    source = StreamSource(Stateful(40), 40, shuffle_buffer=10)
    read = reader(source, shuffle=True)
    pieces = [read.piece(4) for _ in range(6)]
    assert pieces[1].place == place(5, 3, {"place": 5})  # blocks of five
    for done in range(5):
        again = reader(source, shuffle=True, start=False)
        again.start(0, pieces[done].place)
        assert again.place == pieces[done].place
        assert shown(again.piece(4)) == shown(pieces[done + 1])
        assert again.has_begun


def test_what_was_seen_is_not_decoded_again() -> None:
    class Counting(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number), number

    source = StreamSource(Counting(40), 40)
    read = reader(source, start=False)
    decoded: list[int] = []
    original = read.passing.read

    def noting(item: Any, number: int) -> Any:
        decoded.append(number)
        return original(item, number)

    read.passing.read = noting  # type: ignore[method-assign]
    read.start(0, None, 8)
    assert [read.piece(4).data for _ in range(2)] == [[None] * 4] * 2
    assert shown(read.piece(4)) == [8, 9, 10, 11]
    assert decoded[0] == 8
    read.start(1, None, 9)  # the block in which the ninth lies is decoded whole
    read.piece(4)
    read.piece(4)
    assert shown(read.piece(4)) == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("buffer", "batch_size", "shuffle", "block"),
    [
        *((100, 4, True, 50), (101, 4, True, 50), (3, 4, True, 2), (5, 4, True, 2)),
        *((100, 4, False, 4), (0, 4, True, 4), (100, 1, False, 2)),
    ],
)
def test_a_block_is_half_of_the_buffer_or_a_batch(
    buffer: int, batch_size: int, shuffle: bool, block: int
) -> None:
    source = StreamSource(Numbers(400), 400, shuffle_buffer=buffer)
    read = reader(source, batch_size=batch_size, shuffle=shuffle, start=False)
    assert read.block_size == block
    assert read.shuffles == (shuffle and buffer > 0)


@pytest.mark.parametrize(("size", "processes", "tried"), [(1, 1, 100), (2, 1, 200), (3, 2, 300)])
def test_images_are_looked_for_a_hundred_times_as_long_as_a_batch(
    size: int, processes: int, tried: int
) -> None:
    source = StreamSource(Rare(2000), 2000, on_error="skip", split="samples")
    read = reader(source, Share(0, processes), batch_size=size)
    readable = 4 // processes
    while readable > 0:
        readable -= read.piece(min(size, readable)).items
    piece = read.piece(size)
    assert piece.items == len(piece.data) == tried
    assert all(isinstance(entry, Unreadable) for entry in piece.data)


def test_processes_look_for_as_many_images_as_a_batch_has() -> None:
    class Every(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number) if number % 4 == 0 else None

    source = StreamSource(Every(96), 96, on_error="skip", split="own")
    assert shown(reader(source).piece(4)) == [0, None, None, None, 4]
    alone = shown(reader(source, Share(0, 2)).piece(4))
    assert [number for number in alone if number is not None] == [0, 4, 8, 12]


def test_a_stream_begins_again_for_a_reader_without_end() -> None:
    source = StreamSource(Stateful(6), 6)
    read = reader(source, endless=True)
    first, second = [], []
    for _ in range(3):
        first += shown(read.piece(2))
    for _ in range(3):
        piece = read.piece(2)
        assert not piece.is_last
        second += shown(piece)
    assert sorted(first) == sorted(second) == list(range(6))  # type: ignore[type-var]
    assert first != second  # of the next pass
    assert read.number == 2


def test_a_reader_without_images_says_so() -> None:
    source = StreamSource(Numbers(2), 2)
    source.stream.dataset.total = 0
    with pytest.raises(ValueError, match="the stream gives no image"):
        reader(source, endless=True)
    once = StreamSource(iter([numbered(0)] * 3), 3, 32)
    read = reader(once, endless=True)
    read.piece(3)
    with pytest.raises(ValueError, match="the stream ended after 3 images, and cannot be begun"):
        read.piece(1)


def test_a_stream_without_a_state_is_noted_as_such_at_its_beginning() -> None:
    told = reader(StreamSource(Stateful(8), 8), start=False)
    told.start(0)
    assert told.place == place(0, 0, {"place": 0})
    for repeatable, dataset in ((True, Stateful(8)), (False, Numbers(8))):
        read = reader(StreamSource(dataset, 8, deterministic=repeatable))
        assert read.place == place(0)


@pytest.mark.parametrize("raw", [False, True])
def test_items_are_read_or_given_as_they_are(raw: bool) -> None:
    class Pairs(Numbers):
        def item(self, number: int) -> Any:
            return numbered(number), number

    piece = reader(StreamSource(Pairs(9), 9), raw=raw).piece(2)
    if raw:
        assert [number for _, number in piece.data] == [0, 1]
    else:
        assert [entry.label for entry in piece.data] == [0, 1]


class Failing(Numbers):
    """Raises in place of each fifth, and goes on."""

    def __iter__(self) -> Iterator[Any]:
        return _Failing(self.total)


class _Failing(Iterator[Any]):
    def __init__(self, total: int) -> None:
        self.total, self.number = total, -1

    def __next__(self) -> Any:
        self.number += 1
        if self.number >= self.total:
            raise StopIteration
        if self.number % 5 == 3:
            raise OSError("disk error")
        return numbered(self.number)


def test_what_a_stream_cannot_read_is_named_by_its_number_among_all() -> None:
    source = StreamSource(Failing(60), 60, on_error="skip", split="samples")
    read = reader(source, Share(1, 2, 1, 2))  # the last of four readers
    piece = read.piece(4)
    assert indices(piece) == [3, 7, 11, 15, 19]  # until four can be read
    unreadable = [entry for entry in piece.data if isinstance(entry, Unreadable)]
    assert [entry.name for entry in unreadable] == ["image 3 of the stream"]
    assert unreadable[0].reason == "OSError: disk error"


def test_what_a_stream_cannot_read_ends_a_run_that_skips_nothing() -> None:
    class Late(Failing):
        is_good = True

        def __iter__(self) -> Iterator[Any]:
            return iter([numbered(0)]) if self.is_good else _Failing(self.total)

    source = StreamSource(Late(60), 60)
    source.stream.dataset.is_good = False
    with pytest.raises(OSError, match="cannot read image 3 of the stream"):
        reader(source)


def test_nobody_has_no_image_without_a_name() -> None:
    assert nothing_for(Share()) == "the stream gives no image"
    text = nothing_for(Share(1, 2, 0, 1))
    assert text.startswith("process 1 gets no image of the stream")
    assert "(2 processes with 1 worker each)" in text
    text = nothing_for(Share(0, 1, 2, 3))
    assert text.startswith("worker 2 of process 0 gets no image")
    assert "(1 process with 3 workers each)" in text


def test_a_fault_of_the_stream_is_told_by_its_kind() -> None:
    class Faulty(Numbers):
        def item(self, number: int) -> Any:
            if number == 40:
                raise KeyError("gone")
            return numbered(number)

    read = reader(StreamSource(Faulty(80), 80, on_error="skip"))
    with pytest.raises(DatasetError, match="Faulty fails at image 40 of the stream: KeyError: "):
        for _ in range(11):
            read.piece(4)
