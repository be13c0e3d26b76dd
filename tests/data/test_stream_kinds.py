"""The streams of libraries, by classes of their names that stand for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from torch.utils.data import IterableDataset, get_worker_info

from super_selfish.data.streams import (
    HuggingFaceStream,
    MosaicStream,
    Portion,
    Share,
    Stream,
    WebStream,
    stream_of,
)
from tests.data.streamed import Numbers, Stateful, worker_of


class StreamingDataset(IterableDataset[Any]):
    """As mosaicml's: counts for all, and has its items by number as well."""

    def __init__(self, size: int, epoch_size: int | None = None) -> None:
        self.size, self.epoch_size = size, epoch_size
        self.position = {"epoch": 0, "sample_in_epoch": 0, "num_canonical_nodes": 2}
        self.asked: list[Any] = []

    def __len__(self) -> int:
        return self.size // 2  # of a process

    def __getitem__(self, number: int) -> str:
        return f"item {number}"

    def __iter__(self) -> Iterator[str]:
        info = get_worker_info()
        reader = 0 if info is None else info.id
        begin = self.position["sample_in_epoch"]
        return iter([f"{reader}: {number}" for number in range(begin, self.size)])

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, int]:
        self.asked.append((num_samples, from_beginning))
        return dict(self.position)

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state


StreamingDataset.__module__ = "streaming.base.dataset"


def test_mosaics_length_is_that_of_an_epoch_of_all() -> None:
    assert stream_of(StreamingDataset(12)).length == 12
    assert stream_of(StreamingDataset(12, 8)).length == 8


def test_mosaics_place_is_said_to_all_and_kept_besides() -> None:
    dataset = StreamingDataset(5)
    stream = stream_of(dataset)
    assert isinstance(stream, MosaicStream)
    assert (stream.split, stream.is_repeatable, stream.counts_for_all) == ("own", True, True)
    assert stream.copied() is stream
    stream.place(4, 3)
    assert dataset.position == {"epoch": 4, "sample_in_epoch": 3, "num_canonical_nodes": 2}
    assert dataset.asked == [(0, True)]  # nothing was asked before
    with worker_of(1, 2):  # which its own iterator must know
        portion = stream.begin(9, Share(0, 2, 1, 2), 7)
        assert list(portion) == ["1: 3", "1: 4"]
    assert stream.state() is None  # type: ignore[func-returns-value]
    assert list(stream.look()) == [f"item {number}" for number in range(5)]


class Image:
    """As the feature of Hugging Face's `datasets`."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class HuggingFaceDataset:
    """Splits itself over processes where it is asked."""

    def __init__(self, features: Any = None) -> None:
        self.features = features
        self.cast: dict[str, bool] = {}
        self.splits: list[tuple[int, int]] = []
        self.epochs: list[int] = []
        self._distributed: Any = None

    def cast_column(self, name: str, feature: Image) -> HuggingFaceDataset:
        self.cast[name] = feature.decode
        return self

    def set_epoch(self, number: int) -> None:
        self.epochs.append(number)

    def __iter__(self) -> Iterator[int]:
        return iter(range(10, 15))


HuggingFaceDataset.__name__ = "IterableDataset"
HuggingFaceDataset.__module__ = "datasets.iterable_dataset"


@pytest.fixture
def splitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's function that splits a set, which notes what it is asked."""

    def split(dataset: HuggingFaceDataset, rank: int, world_size: int) -> HuggingFaceDataset:
        dataset.splits.append((rank, world_size))
        return dataset

    module: Any = ModuleType("datasets.distributed")
    module.split_dataset_by_node = split
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    monkeypatch.setitem(sys.modules, "datasets.distributed", module)


@pytest.mark.usefixtures("splitter")
def test_hugging_faces_sets_are_split_over_processes_once() -> None:
    dataset = HuggingFaceDataset()
    stream = stream_of(dataset)
    assert isinstance(stream, HuggingFaceStream)
    assert (stream.split, stream.is_repeatable, stream.counts_for_all) == ("own", True, False)
    assert list(stream.begin(3, Share())) == [10, 11, 12, 13, 14]
    assert dataset.splits == []  # one process has all
    assert list(stream.begin(4, Share(1, 2), taken=2)) == [12, 13, 14]
    assert list(stream.begin(5, Share(1, 2))) == [10, 11, 12, 13, 14]
    assert dataset.splits == [(1, 2)]
    assert dataset.epochs == [3, 4, 5]
    split_before = HuggingFaceDataset()
    split_before._distributed = (1, 2)
    list(stream_of(split_before).begin(0, Share(1, 2)))
    assert split_before.splits == []


def test_hugging_faces_images_come_as_the_bytes_of_their_files() -> None:
    dataset = HuggingFaceDataset({"a": Image(), "b": Image(decode=False), "c": object()})
    stream_of(dataset)
    assert dataset.cast == {"a": False}


def test_a_pipeline_splits_its_shards_itself() -> None:
    class Pipeline:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

    Pipeline.__name__, Pipeline.__module__ = "DataPipeline", "webdataset.pipeline"
    stream = stream_of(Pipeline())
    assert isinstance(stream, WebStream)
    assert (stream.split, stream.is_repeatable, stream.counts_for_all) == ("own", False, False)
    assert stream_of(Pipeline(), "samples").split == "samples"
    Pipeline.__module__ = "webdatasets.pipeline"
    assert type(stream_of(Pipeline())) is Stream


def test_who_reads_what_is_counted_over_processes_and_workers() -> None:
    assert Share() == (0, 1, 0, 1)
    shares = [Share(rank, 3, worker, 4) for rank in range(3) for worker in range(4)]
    assert [share.number for share in shares] == list(range(12))
    assert {share.total for share in shares} == {12}


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_part_of_a_stream_is_each_nth_item_without_those_that_were_seen(taken: int) -> None:
    for number in range(6):
        share = Share(number // 2, 3, number % 2, 2)
        portion = Stream(list(range(40))).begin(0, share, taken)
        assert list(portion) == list(range(40))[number::6][taken:]
    own = Stream(list(range(9)), "own").begin(0, Share(1, 3), taken)
    assert list(own) == list(range(taken, 9))


@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize("number", [0, 2])
def test_a_part_that_says_where_it_is_goes_on_there(taken: int, number: int) -> None:
    def begun(*place: Any) -> tuple[Stream, Portion]:
        stream = Stream(Stateful(24))
        return stream, stream.begin(5, Share(number, 3), *place)

    stream, portion = begun()
    assert stream.dataset.epoch == 5
    items = [item[0, 0, 0].item() for item in portion]
    stream, portion = begun()
    for _ in range(taken):
        next(portion)
    state = stream.state()
    assert state == {"place": number + 3 * (taken - 1) + 1 if taken else 0}
    stream, portion = begun(taken, state)
    assert [item[0, 0, 0].item() for item in portion] == items[taken:]
    assert stream.dataset.given == 24 - state["place"]  # none is read again


def test_a_pass_that_was_broken_off_is_begun_anew_at_its_beginning() -> None:
    stream = Stream(Stateful(6))
    next(stream.begin(0, Share()))
    assert len(list(stream.begin(0, Share()))) == 6
    stream.ended()
    stream.dataset.place = 2  # as its owner may have it begin, once it has ended
    assert len(list(stream.begin(0, Share()))) == 4


def test_a_look_leaves_a_pass_alone() -> None:
    stream = Stream(Stateful(6))
    portion = stream.begin(0, Share())
    next(portion)
    assert len(list(stream.look())) == 6
    assert len(list(portion)) == 5
    plain = Stream([1, 2])
    assert plain.copied().dataset is plain.dataset  # which has nothing to be left alone


def test_what_stands_for_itself_says_where_it_is_or_nothing() -> None:
    class Telling:
        """An iterator that tells, of a set that does not."""

        def __init__(self) -> None:
            self.number = 0

        def __iter__(self) -> Telling:
            return self

        def __next__(self) -> int:
            self.number += 1
            return self.number

        def state_dict(self) -> dict[str, Any]:
            return {"number": self.number}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.number = state["number"]

    class Set:
        def __iter__(self) -> Telling:
            return Telling()

    stream = Stream(Set())
    assert next(stream.begin(0, Share())) == 1
    assert stream.state() == {"number": 1}
    assert next(stream.begin(0, Share(), 5, {"number": 5})) == 6
    assert Stream(Telling()).restarts is False
    assert stream.restarts is True

    class Odd(Telling):
        def state_dict(self) -> dict[str, Any]:
            return {"number": object()}  # no checkpoint holds it

    odd = Stream(Odd())
    odd.begin(0, Share())
    assert odd.state() is None
    untold = Stream([1])
    untold.begin(0, Share())
    assert untold.state() is None


def test_a_length_is_told_where_there_is_one() -> None:
    class Refusing(Numbers):
        def __len__(self) -> int:
            raise NotImplementedError

    assert Stream([1, 2, 3]).length == 3
    assert Stream(Numbers(3)).length is None
    assert Stream(Refusing(3)).length is None


def test_torchs_workers_are_hidden_where_each_reader_reads_all() -> None:
    class Asking(Numbers):
        def item(self, number: int) -> Any:
            info = get_worker_info()
            return None if info is None else info.id

    with worker_of(1, 2):
        assert list(stream_of(Asking(2)).begin(0, Share())) == [None, None]
        assert get_worker_info() is not None
        assert list(stream_of(Asking(2), "own").begin(0, Share())) == [1, 1]


def test_items_before_the_first_that_cannot_be_read_are_left_out_as_well() -> None:
    class Items:
        def __init__(self) -> None:
            self.number = -1

        def __iter__(self) -> Items:
            return self

        def __next__(self) -> int:
            self.number += 1
            if self.number == 1:
                raise OSError("broken")
            return self.number

    portion = Portion(Items(), 2, 3)
    assert portion.goes_on
    assert [next(portion) for _ in range(3)] == [2, 5, 8]

    def broken() -> Iterator[int]:
        yield 0
        raise OSError("broken")

    of_generator = Portion(broken(), 2)
    assert not of_generator.goes_on
    with pytest.raises(OSError, match="broken"):
        next(of_generator)
    assert [next(Portion([7, 8], 0)), *Portion([1, 2, 3, 4, 5], 1)] == [7, 2, 3, 4, 5]


def test_a_split_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match='split is "samples" or "own", got \'all\''):
        stream_of([1], "all")  # type: ignore[arg-type]
