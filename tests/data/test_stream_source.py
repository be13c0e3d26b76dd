"""What is known of a stream, and the first of its images for who asks for some by number."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.data import StreamSource
from super_selfish.data.samples import DatasetError, Sample, Unreadable
from super_selfish.data.stream_source import MOST_AT_HAND, PROBED
from tests.data.streamed import Numbers, numbered, numbers_in


class Items(Numbers):
    """Gives what a function makes of each number, and counts how many were asked for."""

    def __init__(self, total: int, make: Any = None) -> None:
        super().__init__(total)
        self.make = make or (lambda number: (numbered(number), number % 3))

    def item(self, number: int) -> Any:
        return self.make(number)


def asked(source: StreamSource, use: Any) -> int:
    """How many items of a stream a use reads."""
    source.dataset.given = 0
    use()
    return int(source.dataset.given)


def test_the_first_images_are_read_twice_as_far_as_is_asked_and_kept() -> None:
    source = StreamSource(Items(2000), 2000)
    assert asked(source, lambda: source[0]) == 16
    assert asked(source, lambda: source[15]) == 0
    assert asked(source, lambda: source[16]) == 34
    assert asked(source, lambda: source[33]) == 0
    assert asked(source, lambda: source.__getitems__([3, 299])) == MOST_AT_HAND == 512
    assert asked(source, lambda: source[511]) == 0
    for position in (512, 1000):
        with pytest.raises(IndexError, match=f"image {position} is asked for by .*the first 512 "):
            source[position]
    assert source.at_hand == 512
    assert asked(StreamSource(Items(2000)), lambda: None) == 0


def test_what_a_short_stream_lacks_is_not_looked_for_again() -> None:
    source = StreamSource(Items(20), 20)
    assert source.at_hand == 20
    assert asked(source, lambda: source.at_hand) == 0
    with pytest.raises(IndexError):
        source[20]
    assert asked(source, lambda: source.__getitems__([])) == 0


def test_the_first_images_are_the_source_of_labels_items_and_names() -> None:
    source = StreamSource(Items(40), 40)
    assert [int(source.label(number)) for number in (0, 5, 17)] == [0, 2, 2]  # type: ignore[arg-type]
    image, label = source.item(17)
    assert (numbers_in([image]), int(label)) == ([17], 2)
    sample = source.decode(9)
    assert isinstance(sample, Sample)
    assert (sample.index, numbers_in([sample.image])) == (9, [9])
    assert source.name(9) == "image 9 of the stream"
    assert numbers_in(source.__getitems__([4, 2])) == [4, 2]
    assert source.known_labels() is None  # type: ignore[func-returns-value]
    with pytest.raises(IndexError, match="a stream has no item 3"):
        source.items[3]
    assert len(source.items) == 0


def test_a_copy_in_another_process_has_none_of_the_images() -> None:
    source = StreamSource(Numbers(40), 40)
    before = len(pickle.dumps(source))
    source[30]
    assert source._first is not None
    assert len(pickle.dumps(source)) == before


def test_as_many_are_read_as_are_asked_or_there() -> None:
    source = StreamSource(Items(40), 30)
    for number, there in ((1, 1), (7, 7), (30, 30), (35, 30)):
        first = source.first(number)
        assert len(first) == there
        assert numbers_in(first.__getitems__(range(there))) == list(range(there))
    unknown = StreamSource(Items(40))
    assert len(unknown.first(35)) == 35
    assert len(unknown.first(45)) == 40
    with pytest.raises(ValueError, match="number"):
        source.first(0)


def test_images_that_cannot_be_read_are_passed_over_and_counted_out() -> None:
    def make(number: int) -> Any:
        return numbered(number) if number % 2 else None

    source = StreamSource(Items(40, make), 40, on_error="skip")
    first = source.first(5)
    assert numbers_in(first.__getitems__(range(5))) == [1, 3, 5, 7, 9]
    assert first[2].index == 2
    assert len(source.first(40)) == 20
    unknown = StreamSource(Items(40, make), on_error="skip")
    assert len(unknown.first(10)) == 5  # of ten items
    worse = StreamSource(Items(40, make), 40, on_error="skip")
    worse.dataset.make = lambda number: None
    with pytest.raises(ValueError, match="none can be read of the first images of Items"):
        worse.first(3)


def test_a_part_of_the_first_images_is_in_memory() -> None:
    source = StreamSource(Items(600), 600)
    assert numbers_in([sample.image for sample in source.subset([2, 511])]) == [2, 511]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"image 512 is asked for by .* only the first 512 are at"):
        source.subset([2, 512])


def test_all_images_with_numbers_of_their_own_are_the_whole() -> None:
    def make(number: int) -> Any:
        return {"image": numbered(number), "id": number}

    source = StreamSource(Items(40, make), 40, index="id")
    whole = source.subset(range(40))
    assert isinstance(whole, StreamSource)
    assert whole.whole is source
    assert source.whole is None
    for indices in ([1, 0, *range(2, 40)], range(39), range(1, 40)):
        assert not isinstance(source.subset(indices), StreamSource)
    assert not isinstance(StreamSource(Items(40), 40).subset(range(40)), StreamSource)


def test_how_many_there_are_is_said_by_the_user_or_the_stream() -> None:
    class Counted(Items):
        def __len__(self) -> int:
            return self.total

    assert StreamSource(Counted(20)).num_images == 20
    assert StreamSource(Counted(20), 15).num_images == 15
    assert StreamSource(Items(20)).num_images is None
    for wrong in (0, -1, 2.5, "4"):
        with pytest.raises((ValueError, TypeError), match="num_images"):
            StreamSource(Items(20), wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("buffer", [-1, 1.5, "9", None])
def test_a_buffer_is_a_number_of_images(buffer: Any) -> None:
    assert StreamSource(Items(4), shuffle_buffer=0).shuffle_buffer == 0
    assert StreamSource(Items(4)).shuffle_buffer == 1000
    with pytest.raises(ValueError, match="shuffle_buffer is a number of images, or 0, got "):
        StreamSource(Items(4), shuffle_buffer=buffer)


def test_what_decides_which_images_a_step_sees_is_told() -> None:
    source = StreamSource(Items(4), shuffle_buffer=7)
    assert source.settings == {"shuffle_buffer": 7, "split": "samples"}
    assert StreamSource(Items(4), split="own").settings["split"] == "own"
    assert not source.has_random_access
    assert not source.has_index


def test_whether_it_repeats_itself_is_its_owners_word() -> None:
    assert not StreamSource(Items(4)).is_repeatable
    assert StreamSource(Items(4), deterministic=True).is_repeatable
    assert not StreamSource(Items(4), deterministic=False).is_repeatable


def test_thirty_two_items_are_looked_at() -> None:
    stream = Items(100)
    StreamSource(stream, 100)
    assert stream.given == PROBED == 32


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_item_that_the_stream_cannot_read_is_told_at_once_or_skipped(on_error: Any) -> None:
    def make(number: int) -> Any:
        if number == 3:
            raise OSError("disk error")
        return numbered(number)

    if on_error == "raise":
        with pytest.raises(ValueError, match="cannot read image 3 of the stream: OSError: disk"):
            StreamSource(Items(9, make), 9)
        return
    source = StreamSource(Items(9, make), 9, on_error="skip")  # a generator, which ends there
    assert source.image_size == (32, 32)
    assert len(source.first(9)) == 3


def test_what_goes_on_after_an_error_is_read_on() -> None:
    class On:
        def __init__(self) -> None:
            self.number = -1

        def __next__(self) -> Any:
            self.number += 1
            if self.number == 9:
                raise StopIteration
            if self.number == 3:
                raise OSError("disk error")
            return numbered(self.number)

        def __iter__(self) -> On:
            return self

    class Stream:
        def __iter__(self) -> Iterator[Any]:
            return On()

    source = StreamSource(Stream(), 9, on_error="skip")
    assert numbers_in(source.first(9).__getitems__(range(8))) == [0, 1, 2, 4, 5, 6, 7, 8]


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one image, got an empty Items"):
        StreamSource(Items(0))


def test_of_what_is_given_once_the_user_says_what_it_holds() -> None:
    def given(**options: Any) -> StreamSource:
        return StreamSource((numbered(number) for number in range(3)), 3, **options)

    source = given(image_size=(40, 48))
    assert (source.image_size, source.in_channels, source.at_hand) == ((40, 48), 3, 0)
    assert given(image_size=32, in_channels=1).in_channels == 1
    assert given(image_size=32, in_channels=5).in_channels == 5
    assert given(image_size=32, value_range=(0, 100)).value_range == (0.0, 100.0)
    assert given(image_size=32).value_range is None
    for word in ("bits", "percentile"):
        with pytest.raises(ValueError, match=f"value_range='{word}' looks at images, which this"):
            given(image_size=32, value_range=word)


# One item that passes


def passing(source: StreamSource) -> Any:
    return source.passing()


def test_an_item_is_read_under_its_number() -> None:
    reader = passing(StreamSource(Items(40), 40))
    sample = reader.read((numbered(7), 1), 5)
    assert (sample.index, int(sample.label), numbers_in([sample.image])) == (5, 1, [7])
    assert reader.name(0) == "image 5 of the stream"
    assert len(reader) == 40
    assert len(passing(StreamSource(Items(40)))) == 0
    with pytest.raises((OSError, ValueError), match="cannot read image 6 of the stream"):
        reader.read(b"no image", 6)
    tar = {"__key__": "a", "__url__": "b.tar", "png": b"no image"}
    with pytest.raises((OSError, ValueError), match=r"cannot read image b\.tar: a: "):
        reader.read(tar, 6)


def test_what_the_stream_could_not_read_is_raised_or_stands_for_itself() -> None:
    error = OSError("disk error")
    skipping = passing(StreamSource(Items(40), 40, on_error="skip"))
    assert skipping.failed(7, error) == Unreadable(
        7, "image 7 of the stream", "OSError: disk error"
    )
    with pytest.raises(OSError, match="cannot read image 7 of the stream"):
        passing(StreamSource(Items(40), 40)).failed(7, error)


@pytest.mark.parametrize("index", ["id", lambda item: item["id"]])
def test_an_image_has_the_number_that_it_says(index: Any) -> None:
    def item(number: Any) -> dict[str, Any]:
        return {"image": numbered(1), "id": number}

    reader = passing(StreamSource(Items(40, item), 40, index=index))
    for number in (0, 39, torch.tensor(7)):
        assert reader.read(item(number), 3).index == int(number)
    for number in (-1, 40):
        with pytest.raises(ValueError, match=f"is number {number}, but num_images=40: they count"):
            reader.read(item(number), 3)
    with pytest.raises(DatasetError, match="finds no number in an item of the stream, a dict: Key"):
        reader.read({"image": numbered(1)}, 3)


def test_pairs_have_no_key() -> None:
    source = StreamSource(Items(40), 40, index="id")
    with pytest.raises(DatasetError, match=r"index='id' finds no number .* a tuple: TypeError"):
        passing(source).read((numbered(1), 2), 0)


def test_tensors_are_not_taken_for_several_images() -> None:
    def make(number: int) -> Tensor:
        return torch.zeros(1, 32, 40, dtype=torch.uint8) + 200 * (number % 2)

    source = StreamSource(Items(4, make))
    assert (source.in_channels, source.image_size) == (1, (32, 40))
